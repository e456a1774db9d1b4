"""The shapes of answers, as types: the reference at /openapi.json is made from them, and tests hold answers to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

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


class DestinationView(msgspec.Struct, omit_defaults=True):
    """A destination or a route; never a secret."""

    name: str
    kind: Literal["destination", "route"]
    backend: str | None
    capabilities: Annotated[dict[str, Any], Meta(description="What the backend can do, with its limits.")] | None
    health: Annotated[dict[str, Any], Meta(description="The last check: `ok`, `at`, its `steps`.")] | None
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
    """What is under way, and what waits for a worker."""

    active_transfers: Count
    waiting: Annotated[
        dict[str, int],
        Meta(
            description="Messages by queue: `small.NODE` for small files and control steps, `high.NODE`, `parts.NODE` "
            "and `low.NODE` for parts by priority. Few, however large the backlog is."
        ),
    ]


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
