"""What the other views replace: the file goes to the bucket while the browser waits. Kept to compare."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_POST

from media.models import MediaFile


@cache
def s3() -> Any:
    return boto3.client("s3", endpoint_url=settings.AWS_S3_ENDPOINT_URL)


@require_POST
def upload_slowly(request: HttpRequest) -> HttpResponse:
    upload = request.FILES["file"]
    media = MediaFile(name=upload.name, size=upload.size)
    s3().upload_fileobj(upload, settings.AWS_STORAGE_BUCKET_NAME, media.key)  # ten seconds, or an error
    media.url, media.state = f"s3://{settings.AWS_STORAGE_BUCKET_NAME}/{media.key}", "succeeded"
    media.save()
    return JsonResponse({"id": str(media.pk)}, status=201)
