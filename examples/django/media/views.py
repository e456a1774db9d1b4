"""The page, the two views that hand a file over, and what the page asks for while it uploads."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET, require_POST

from bucketline.client import ClientError, Refused
from media import handover
from media.models import MediaFile

View = Callable[..., HttpResponse]


def answers_for_bucketline(view: View) -> View:
    """A refusal is passed on with its reason; a Bucketline that does not answer is a 503."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Refused as error:
            return JsonResponse({"error": str(error)}, status=error.status if error.status in (413, 422, 429) else 502)
        except ClientError as error:
            return JsonResponse({"error": str(error)}, status=503, headers={"Retry-After": "5"})

    return answer


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    page = {"bucketline": settings.PAGE_BUCKETLINE_URL, "maxSize": settings.MAX_SIZE, "csrf": get_token(request)}
    return render(request, "media/index.html", {"files": MediaFile.objects.all()[:50], "page": page})


@require_POST
@answers_for_bucketline
def upload_by_path(request: HttpRequest) -> HttpResponse:
    return _hand_over(request, handover.submit_by_path)


@require_POST
@answers_for_bucketline
def upload_by_http(request: HttpRequest) -> HttpResponse:
    return _hand_over(request, handover.submit_by_http)


def _hand_over(request: HttpRequest, submit: Callable[[UploadedFile[Any]], MediaFile]) -> HttpResponse:
    upload = request.FILES.get("file")
    if upload is None:
        return JsonResponse({"error": "Send a form with a field `file`."}, status=400)
    media = submit(upload)
    return JsonResponse({"id": str(media.pk), "events": handover.events_url(media)}, status=202)


@require_POST
@answers_for_bucketline
def begin_upload(request: HttpRequest) -> HttpResponse:
    """The page is going to upload a file: its row, and a token for this file alone."""
    try:
        wish = json.loads(request.body)
        name, size = PurePath(wish["name"]).name, int(wish["size"])
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"error": "Tell the file's name and size."}, status=400)
    if not name or len(name) > 255:
        return JsonResponse({"error": "A name has 1 to 255 characters."}, status=400)
    if not 0 <= size <= settings.MAX_SIZE:
        return JsonResponse({"error": f"A file has at most {settings.MAX_SIZE} bytes."}, status=413)
    media = MediaFile.objects.create(name=name, size=size)
    return _with_token(media, 201)


@require_POST
@answers_for_bucketline
def go_on_with_upload(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Another token, for an upload that takes longer than the first one lives."""
    return _with_token(get_object_or_404(MediaFile, pk=pk, run=0), 200)


def _with_token(media: MediaFile, status: int) -> HttpResponse:
    token = handover.token_for(media)
    answer = {"id": str(media.pk), "key": media.key, "token": token.token, "expires": token.expires_at}
    return JsonResponse(answer, status=status, headers={"Cache-Control": "no-store"})


@require_GET
def show(request: HttpRequest, pk: UUID) -> HttpResponse:
    media = get_object_or_404(MediaFile, pk=pk)
    fields = ("name", "size", "job_id", "state", "url", "error")
    return JsonResponse({"id": str(media.pk), **{name: getattr(media, name) for name in fields}})
