"""Every address of the example is one of its only app."""

from django.urls import include, path

urlpatterns = [path("", include("media.urls"))]
