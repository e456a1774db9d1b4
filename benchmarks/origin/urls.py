"""One endpoint."""

from __future__ import annotations

from django.urls import path

from benchmarks.origin.views import UploadView

urlpatterns = [path("upload", UploadView.as_view())]
