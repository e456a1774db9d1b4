"""The shapes of answers about jobs, as types; those of all others are in shapes.py."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.shapes import Bytes, Count, JobId, Moment
from engine.models import JobState, OnConflict, Priority, TransferState


class Fault(msgspec.Struct, omit_defaults=True):
    """Why a job, a transfer or a part failed, or what it waits for."""

    code: Annotated[str, Meta(description="One of docs/problems.md: of ours, or of the storage.")]
    title: str
    detail: str
    retryable: bool
    attempt: int | None = None


class Checksums(msgspec.Struct):
    """Of the whole content."""

    crc32c: Annotated[str, Meta(description="Base64 of 4 big-endian bytes.")] | None
    sha256: Annotated[str, Meta(description="Lower-case hexadecimal.")] | None


class SourceView(msgspec.Struct, omit_defaults=True):
    """Where the bytes come from."""

    kind: Literal["body", "path", "destination", "url"]
    available_until: Moment | None
    destination: str | None = None
    key: str | None = None
    url: str | None = None
    credentials: Annotated[str, Meta(description="The name of the header set, never its content.")] | None = None


class PartCounts(msgspec.Struct):
    """The parts of a transfer in numbers."""

    total: Count
    sent: Count
    in_flight: Count
    failing: Count


class TransferView(msgspec.Struct):
    """A job's way to one destination."""

    destination: str
    backend: str
    url: Annotated[str, Meta(description="Where the object is, or will be: the destination's prefix included.")]
    state: TransferState
    parts: PartCounts
    part_size: Bytes
    sent: Bytes
    attempts: Annotated[Count, Meta(description="Of all steps: to begin and to complete an upload in parts are two.")]
    next_attempt_at: Moment | None
    etag: str | None
    version: str | None
    checksum: str | None
    verified_by: str | None
    error: Fault | None


class JobView(msgspec.Struct, omit_defaults=True):
    """One file on its way to one or many destinations."""

    id: JobId
    state: JobState
    run: Annotated[int, Meta(ge=1, description="Begins at 1; each retry starts the next.")]
    created_at: Moment | None
    updated_at: Moment | None
    finished_at: Moment | None
    satisfied_at: Moment | None
    name: str
    key: Annotated[str, Meta(description="Without the destination's prefix.")] | None
    content_type: str | None
    metadata: dict[str, str]
    labels: dict[str, str]
    on_conflict: OnConflict
    priority: Priority
    size: Bytes | None
    received: Bytes
    sent: Annotated[int, Meta(ge=0, description="The least of the transfers that have not failed.")]
    in_flight: Bytes
    rate: Annotated[int, Meta(ge=0, description="Bytes per second, while it runs.")]
    eta_seconds: Count | None
    checksums: Checksums
    source: SourceView
    transfers: list[TransferView]
    error: Fault | None
    links: Annotated[dict[str, str], Meta(description="What can be asked or done now, by name.")]
    content_disposition: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    acl: str | None = None
    encryption: str | None = None
    tags: dict[str, str] | None = None
    request_id: Annotated[str, Meta(description="Of the request that submitted it.")] | None = None
    traceparent: Annotated[str, Meta(description="What that request belonged to.")] | None = None
    webhook: Annotated[str, Meta(description="Who is told of the end; a query is shown as `?…`.")] | None = None
    on_success: Annotated[str, Meta(description="The actor that is told when it succeeds.")] | None = None
    on_failure: Annotated[str, Meta(description="The actor that is told of any other end.")] | None = None


class SeveralJobs(msgspec.Struct):
    """The jobs of one form, in the order of its files."""

    jobs: list[JobView]


class JobPage(msgspec.Struct):
    """Newest first. A page may have few items and a cursor: then the look was bounded, not the result."""

    items: list[JobView]
    next_cursor: str | None


class PartView(msgspec.Struct):
    """One part of a transfer."""

    number: Annotated[int, Meta(ge=1)]
    offset: Bytes
    size: Bytes
    state: Literal["pending", "in_flight", "failing", "sent", "failed", "cancelled"]
    attempts: Count
    etag: str | None
    checksum: str | None
    error: Fault | None
    next_attempt_at: Moment | None


class FailedAttempt(msgspec.Struct):
    """One attempt that failed, also when a later one made it good."""

    at: Moment
    run: Annotated[int, Meta(ge=1)]
    step: Annotated[
        Literal["look", "begin", "whole", "part", "complete", "end"],
        Meta(
            description="`look`: at the source; `begin`, `part`, `complete`: of an upload in parts; `whole`: a small "
            "file in one call; `end`: taking back what was begun."
        ),
    ]
    part: Annotated[int, Meta(ge=1)] | None
    attempt: Annotated[int, Meta(ge=1, description="Of this step or part, in this run.")]
    code: Annotated[str, Meta(description="One of docs/problems.md: of ours, or of the storage.")]
    title: str
    detail: Annotated[str, Meta(description="At most 300 characters.")]
    retryable: bool


class PartList(msgspec.Struct):
    """Every part of one transfer, and what went wrong on its way."""

    items: list[PartView]
    failures: Annotated[
        list[FailedAttempt], Meta(description="The latest 20 failed attempts of all runs, the oldest first.")
    ]


class DeliveryAttempt(msgspec.Struct):
    """One try to tell of an end. `status`: none when there was no answer, and for an actor."""

    at: Moment
    status: int | None
    error: str | None


class DeliveryView(msgspec.Struct):
    """How the telling of one end stands. `status` and `error` are those of the last attempt."""

    id: Annotated[str, Meta(description="The `webhook-id`, or the message's id: the same over all attempts.")]
    type: Annotated[str, Meta(description="`job.` and the state in which the job ended.")]
    actor: Annotated[str, Meta(description="To whom; null: to the webhook.")] | None
    state: Literal["pending", "delivered", "failed", "disabled"]
    created_at: Moment
    next_attempt_at: Moment | None
    status: int | None
    error: str | None
    attempts: list[DeliveryAttempt]


class DeliveryList(msgspec.Struct):
    """Every end of the job that was to be told."""

    items: list[DeliveryView]


class EventFrame(msgspec.Struct):
    """One event of a stream."""

    id: Annotated[str, Meta(description="What `Last-Event-ID` may give back.")]
    event: Literal["snapshot", "progress", "transfer", "state", "end"]
    data: Annotated[
        str, Meta(description="One line of JSON.", extra_json_schema={"contentMediaType": "application/json"})
    ]
