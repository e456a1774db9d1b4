"""One row for each file, made before its bytes go anywhere, and brought up to date by Bucketline's webhook."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models


class MediaFile(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255)
    size = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    job_id = models.CharField(max_length=36, blank=True)
    state = models.CharField(max_length=20, default="new")
    url = models.CharField(max_length=2048, blank=True)
    error = models.TextField(blank=True)
    run = models.PositiveIntegerField(default=0)  # of the job, at the last end that was told
    ended_at = models.DateTimeField(null=True)  # that end

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> str:
        """Below it, and only there, its object may be. That is how the webhook finds the row again: the job's key
        cannot be forged by a page whose token is narrowed to this folder, and is known before there is a job.
        """
        return f"files/{self.pk}"

    @property
    def key(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def handed_over(self) -> Path:
        """Where the file lies for Bucketline, when it is handed over by its path."""
        return Path(settings.HANDOVER_DIR) / str(self.pk)

    @staticmethod
    def id_in(key: str) -> uuid.UUID | None:
        """The inverse of `folder`."""
        match key.split("/"):
            case ["files", text, *_]:
                try:
                    return uuid.UUID(text)
                except ValueError:
                    return None
        return None

    def note_job(self, job_id: str, state: str) -> None:
        """The job was accepted. Its end may have been told already, and is not overwritten."""
        self.job_id = job_id
        MediaFile.objects.filter(pk=self.pk, run=0).update(job_id=job_id, state=state)

    def note_end(self, job: dict[str, Any], ended_at: datetime) -> bool:
        """Whether this end of a job was news. Webhooks come at least once and in any order: an end that is known, or
        older than the one that is known, changes nothing. Call it on a locked row.
        """
        if not self._is_news(job, ended_at):
            return False
        transfers = job["transfers"]
        self.job_id, self.state, self.run, self.ended_at = job["id"], job["state"], job["run"], ended_at
        self.url = next((one["url"] for one in transfers if one["state"] == "succeeded"), "")
        faults = [job["error"], *(one["error"] for one in transfers)]
        self.error = next((f"{one['title']}: {one.get('detail') or ''}" for one in faults if one), "")
        if job["size"] is not None:
            self.size = job["size"]
        self.save()
        return True

    def _is_news(self, job: dict[str, Any], ended_at: datetime) -> bool:
        if job["id"] == self.job_id:
            return bool(job["run"] > self.run)  # a job that is retried has a run more
        return self.ended_at is None or ended_at > self.ended_at
