"""The shapes of answers, as types: the reference at /openapi.json is made from them, and tests hold answers to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.models import JobState, OnConflict, Priority, TransferState

Bytes = Annotated[int, Meta(ge=0, description="Bytes.")]
Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[str, Meta(description="RFC 3339, UTC.", extra_json_schema={"format": "date-time"})]
JobId = Annotated[str, Meta(description="A UUIDv7.", extra_json_schema={"format": "uuid"})]


class Pointed(msgspec.Struct):
    """One member of a request that is at fault."""

    pointer: Annotated[str, Meta(description="A JSON pointer; options of headers, queries and forms have one, too.")]
    detail: str


class ProblemDocument(msgspec.Struct):
    """RFC 9457. Every refusal looks like this."""

    type: Annotated[str, Meta(description="`/problems/{code}`, where the code is explained.")]
    title: Annotated[str, Meta(description="Constant for the code.")]
    status: int
    detail: str
    instance: str
    code: str
    request_id: Annotated[str, Meta(description="Stands in the log, too.")]
    retryable: Annotated[bool, Meta(description="Whether the same request may succeed later.")]
    errors: list[Pointed]


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


class PartList(msgspec.Struct):
    """Every part of one transfer."""

    items: list[PartView]


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


class DestinationView(msgspec.Struct, omit_defaults=True):
    """A destination or a route; never a secret."""

    name: str
    kind: Literal["destination", "route"]
    backend: str | None
    capabilities: Annotated[dict[str, Any], Meta(description="What the backend can do, with its limits.")] | None
    health: Annotated[dict[str, Any], Meta(description="The result of the last check.")] | None
    default: bool
    url: str | None = None
    mirror: list[str] | None = None


class CheckedDestination(DestinationView, omit_defaults=True, kw_only=True):
    """A destination, and whether a real write, read and delete there worked just now."""

    ok: bool


class DestinationList(msgspec.Struct):
    """What this caller may write to."""

    items: list[DestinationView]


class TokenView(msgspec.Struct, omit_defaults=True):
    """A new token: for uploads, or to look at one job. Its text is shown this once."""

    id: str
    token: str
    expires_at: Moment
    job: JobId | None = None
    destinations: list[str] | None = None
    prefix: str | None = None
    max_size: Bytes | None = None
    uploads: Count | None = None
    webhook: str | None = None


class AuditLine(msgspec.Struct, omit_defaults=True):
    """Who did what. Keys and tokens stand here by their ids."""

    at: Moment
    action: str
    key: str | None = None
    token: str | None = None
    request: str | None = None
    remote: str | None = None
    forwarded: str | None = None
    job: str | None = None
    destination: str | None = None
    made: str | None = None


class AuditPage(msgspec.Struct):
    """The newest lines first."""

    items: list[AuditLine]


class BytesMoved(msgspec.Struct):
    """Since the ledger began."""

    received: Bytes
    sent: Bytes


class Rates(msgspec.Struct):
    """Bytes per second."""

    sent: Count


class Queues(msgspec.Struct):
    """What is under way."""

    active_transfers: Count


class SpoolUse(msgspec.Struct):
    """Bytes of the staging area."""

    used: Bytes
    limit: Bytes


class WorkerView(msgspec.Struct):
    """A worker that was seen in the last seconds."""

    name: str
    node: str | None
    threads: int | None


class StatsView(msgspec.Struct):
    """The system in numbers."""

    jobs: Annotated[dict[str, int], Meta(description="How many, by state.")]
    bytes: BytesMoved
    rates: Rates
    queues: Queues
    spool: SpoolUse
    workers: list[WorkerView]


class CheckView(msgspec.Struct):
    """One condition of being ready."""

    ok: bool
    detail: str


class ReadyView(msgspec.Struct):
    """Whether jobs can be accepted and carried."""

    ready: bool
    checks: dict[str, CheckView]


class AliveView(msgspec.Struct):
    """This process answers."""

    alive: bool


class ProblemKind(msgspec.Struct):
    """What is constant for one problem code."""

    code: str
    title: str
    status: int
    retryable: bool


class IndexView(msgspec.Struct):
    """Where to begin."""

    service: str
    submit: str
    links: dict[str, str]


class EventFrame(msgspec.Struct):
    """One event of a stream."""

    id: Annotated[str, Meta(description="What `Last-Event-ID` may give back.")]
    event: Literal["snapshot", "progress", "transfer", "state", "end"]
    data: Annotated[
        str, Meta(description="One line of JSON.", extra_json_schema={"contentMediaType": "application/json"})
    ]
