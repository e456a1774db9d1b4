"""The addresses of the app. That of the view of before is there only where boto3 is, and a bucket for it."""

from django.conf import settings
from django.urls import path

from media import views, webhooks

urlpatterns = [
    path("", views.index, name="index"),
    path("upload/path/", views.upload_by_path, name="upload-by-path"),
    path("upload/http/", views.upload_by_http, name="upload-by-http"),
    path("upload/page/", views.begin_upload, name="begin-upload"),
    path("upload/page/<uuid:pk>/", views.go_on_with_upload, name="go-on-with-upload"),
    path("files/<uuid:pk>/", views.show, name="show"),
    path("hooks/bucketline/", webhooks.webhook, name="webhook"),
]

if settings.AWS_STORAGE_BUCKET_NAME:
    from media import before

    urlpatterns.append(path("upload/before/", before.upload_slowly, name="upload-slowly"))
