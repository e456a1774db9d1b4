"""Everything that is said to Bucketline."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.urls import reverse

from bucketline import Client
from bucketline.client import ClientError, Refused, Token
from media.models import MediaFile


@cache
def client() -> Client:
    """One for the process: it is safe between threads, and keeps its connections."""
    return Client(settings.BUCKETLINE_URL, settings.BUCKETLINE_API_KEY)


def submit_by_path(upload: UploadedFile[Any]) -> MediaFile:
    """Django has written the upload to a file already: Bucketline is told its path. Costs the same for every size."""
    media = MediaFile.objects.create(name=upload.name, size=upload.size)
    with _noting_errors(media):
        _sync(upload.temporary_file_path())
        # Django removes its temporary file with the request, so it is given another name first.
        os.rename(upload.temporary_file_path(), media.handed_over)
        job = client().submit_source(
            {"path": str(media.handed_over)}, idempotency_key=str(media.pk), **_options(media, upload.content_type)
        )
    media.note_job(job.id, job.state)
    return media


def submit_by_http(upload: UploadedFile[Any]) -> MediaFile:
    """For a Bucketline on another machine: the file is streamed to it, from the disk, without being held in memory."""
    media = MediaFile.objects.create(name=upload.name, size=upload.size)
    with _noting_errors(media):
        job = client().submit(upload.file, idempotency_key=str(media.pk), **_options(media, upload.content_type))
    media.note_job(job.id, job.state)
    return media


def token_for(media: MediaFile) -> Token:
    """What a page needs to upload this one file, and nothing else. Its end is told to our webhook."""
    return client().token(
        destinations=settings.DESTINATIONS,
        prefix=media.folder,
        max_size=max(1, media.size),
        uploads=1,
        webhook=webhook_url(),
        ttl_seconds=900,
    )


def events_url(media: MediaFile) -> str:
    """Where a page may watch this one job, for a while."""
    token = client().token(job=media.job_id).token
    return f"{settings.PAGE_BUCKETLINE_URL}/v1/jobs/{media.job_id}/events?access_token={token}"


def webhook_url() -> str:
    return str(settings.SITE_URL + reverse("webhook"))


def _options(media: MediaFile, content_type: str | None) -> dict[str, Any]:
    return {
        "destinations": settings.DESTINATIONS,
        "name": media.name,
        "key": media.key,
        "content_type": content_type,
        "webhook": webhook_url(),
    }


@contextmanager
def _noting_errors(media: MediaFile) -> Iterator[None]:
    """The row says what went wrong. Without an answer the job may exist nevertheless: then the webhook will tell."""
    try:
        yield
    except ClientError as error:
        refused = isinstance(error, Refused)
        state = "refused" if refused else "unanswered"
        MediaFile.objects.filter(pk=media.pk, run=0).update(state=state, error=str(error))
        if refused:
            media.handed_over.unlink(missing_ok=True)
        raise


def _sync(path: str | Path) -> None:
    """A file that is named, and not sent, is the only copy until it is stored: it must survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
