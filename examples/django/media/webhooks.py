"""The view that Bucketline tells of the end of every job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from standardwebhooks import Webhook, WebhookVerificationError

from media.models import MediaFile


@csrf_exempt  # it has a signature instead
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """204 for what was taken, and for what is none of ours: anything else would be sent again for a day."""
    try:
        event = Webhook(settings.WEBHOOK_SECRET).verify(request.body, dict(request.headers.items()))
    except (WebhookVerificationError, ValueError):  # the latter: it does not even look like one
        return HttpResponse("The signature is wrong, or the message is old.", status=401)
    _take(event["data"], datetime.fromisoformat(event["timestamp"]))
    return HttpResponse(status=204)


def _take(job: dict[str, Any], ended_at: datetime) -> None:
    pk = MediaFile.id_in(job["key"] or "")
    with transaction.atomic():
        media = MediaFile.objects.select_for_update().filter(pk=pk).first()
        if media is None or not media.note_end(job, ended_at):
            return
    if job["state"] in ("succeeded", "cancelled"):  # otherwise the job may be retried, and needs its file
        media.handed_over.unlink(missing_ok=True)
