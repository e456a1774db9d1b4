"""The nouns of the engine: jobs, transfers, their states, and what is written down to make a job again."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from backends.base import FURTHER_PROPERTIES, Properties
from engine.digests import Digest

JobState = Literal[
    "receiving", "queued", "running", "paused", "cancelling",
    "succeeded", "partially_succeeded", "failed", "cancelled", "expired",
]  # fmt: skip
TransferState = Literal["pending", "uploading", "completing", "succeeded", "failed", "cancelled"]

JOB_STATES: tuple[JobState, ...] = (
    "receiving", "queued", "running", "paused", "cancelling",
    "succeeded", "partially_succeeded", "failed", "cancelled", "expired",
)  # fmt: skip
JOB_OVER: frozenset[str] = frozenset({"succeeded", "partially_succeeded", "failed", "cancelled", "expired"})
TRANSFER_OVER: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})

#: Every legal step of a job, and of a transfer, within a run. The next run begins with a step from an end to queued:
#: `retry` starts it from failed and partially_succeeded, a destination that is added from succeeded, too.
JOB_TRANSITIONS: dict[str, frozenset[str]] = {
    "receiving": frozenset({"queued", "running", "cancelling", "expired"}),
    "queued": frozenset({"running", "paused", "cancelling", "succeeded", "partially_succeeded", "failed"}),
    "running": frozenset({"paused", "cancelling", "succeeded", "partially_succeeded", "failed"}),
    "paused": frozenset({"queued", "running", "cancelling", "succeeded", "partially_succeeded", "failed"}),
    "cancelling": frozenset({"cancelled", "succeeded"}),
    "failed": frozenset({"queued"}),
    "partially_succeeded": frozenset({"queued"}),
    "succeeded": frozenset({"queued"}),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
TRANSFER_TRANSITIONS: dict[str, frozenset[str]] = {
    "pending": frozenset({"uploading", "succeeded", "failed", "cancelled"}),
    "uploading": frozenset({"completing", "succeeded", "failed", "cancelled", "pending"}),
    "completing": frozenset({"succeeded", "failed", "cancelled", "pending"}),
    "succeeded": frozenset(),
    "failed": frozenset({"pending"}),
    "cancelled": frozenset({"pending"}),
}

#: Options that are properties of the object.
PROPERTIES = ("content_type", "metadata", *FURTHER_PROPERTIES)

OnConflict = Literal["replace", "fail", "rename", "skip_same"]
Priority = Literal["high", "normal", "low"]


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the bytes are: in the spool (`body`), at a path below an allowed root, at another destination, or at a URL.
    Its pins say which content is meant, wherever something else may take its place.
    """

    kind: Literal["body", "path", "destination", "url"] = "body"
    path: str | None = None
    mtime_ns: int = 0
    inode: int = 0
    destination: str = ""
    key: str = ""
    """At that destination, without its prefix."""
    fingerprint: str = ""
    """Of that destination, when the job was submitted."""
    url: str = ""
    credentials: str = ""
    named: bool = False
    """The client gave the name; otherwise the web server may."""
    modified: str = ""
    held: bool = False
    """It could be read only once, and is in the spool."""
    seen: bool = False
    """A worker has looked at it: size, pins and plans are known. Always so for a body and a path."""
    etag: str = ""
    version: str = ""
    checksum: str = ""
    """Of the whole, as its store tells it."""
    carried: bool = False
    """The stores refused to copy it by themselves: workers carry the bytes."""

    @property
    def spooled(self) -> bool:
        """Whether the bytes are in the spool, and their digests known."""
        return self.kind == "body" or self.held

    @property
    def distant(self) -> bool:
        """Whether the job was accepted before anybody looked at its source."""
        return self.kind in ("destination", "url")

    @property
    def unseen(self) -> bool:
        return self.distant and not self.seen


class Once(msgspec.Struct, frozen=True, omit_defaults=True):
    """The Idempotency-Key of a request, as its jobs carry it: what Redis loses of it is found beside the bytes."""

    name: str
    """Of the key and whose it is, as a hash."""
    fingerprint: str
    """Of the request."""
    fence: str
    of: int = 1
    """How many jobs the request makes."""


class SubmitOptions(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a client may say about a submission; API.md gives each its meaning. Unset is None or empty."""

    destinations: list[str] = msgspec.field(default_factory=list)
    name: str | None = None
    key: str | None = None
    key_template: str | None = None
    content_type: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    content_disposition: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    acl: str | None = None
    encryption: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    on_conflict: OnConflict = "replace"
    checksum: str | None = None
    priority: Priority = "normal"
    retain_seconds: int | None = None
    webhook: str | None = None
    on_success: str | None = None
    on_failure: str | None = None
    source: dict[str, Any] | None = None


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything immutable about a job; with the digest of its bytes it is enough to make the job again."""

    id: str
    created_ms: int
    name: str
    key: str | None
    """The rendered key without the destination's prefix; None until the content is known, when the template asks for
    it.
    """
    key_template: str
    destinations: list[str]
    content_type: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    content_disposition: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    acl: str | None = None
    encryption: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    on_conflict: OnConflict = "replace"
    checksum: str | None = None
    priority: Priority = "normal"
    retain_seconds: int = 604_800
    webhook: str | None = None
    """Who is told when the job has ended."""
    on_success: str | None = None
    """The actor that gets a message when it ends as `succeeded`, by its name in plugins.toml."""
    on_failure: str | None = None
    """The same for every other end."""
    owner: str = ""
    token: str = ""
    """The id of the short-lived token with which it was submitted: that one may look at it."""
    node: str = ""
    request_id: str = ""
    """Of the request that submitted it: what its line in the access log is found by."""
    traceparent: str = ""
    """What that request belongs to, as W3C trace context; '' when it did not say."""
    once: Once | None = None
    """The Idempotency-Key of that request."""
    source: Source = Source()

    @property
    def trace(self) -> dict[str, str]:
        """What log lines about it are found by."""
        found = {"request_id": self.request_id, "trace_id": self.traceparent[3:35]}
        return {name: value for name, value in found.items() if value}

    @property
    def properties(self) -> Properties:
        """What the client asked the object to be stored with."""
        return Properties(**{name: getattr(self, name) for name in PROPERTIES})


class TransferPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer as the accept script takes it. `claim` is the full key that it alone may write; sizes are bytes."""

    destination: str
    backend: str
    key: str
    claim: str
    url: str
    fingerprint: str
    part_size: int
    total: int
    window: int
    whole: bool
    ordered: bool = False
    """Parts go one after the other from the first: none begins before the one before it is recorded."""
    priority: Priority = "normal"


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """The file beside the spool file that makes the job again when Redis has lost it."""

    version: int = 1
    spec: JobSpec
    digest: Digest
    run: int = 1
    accepted_ms: int = 0
    transfers: list[TransferPlan] = msgspec.field(default_factory=list)
    early: bool = False
    """They may have begun while the bytes were coming."""

    @property
    def size(self) -> int | None:
        """None as long as nobody has looked at the source."""
        return None if self.spec.source.unseen else self.digest.size

    @property
    def crc32c(self) -> str:
        """Of the whole, in base64; '' when nobody has read it."""
        return self.digest.crc32c_base64 if self.spec.source.spooled else ""


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run, kept on disk: a Redis that comes back from an older state must find it there.

    `job` and `transfers` are the ledger's own hashes. `forgotten`: the user deleted the record, it must not come back.
    """

    id: str
    run: int
    ended_ms: int
    forgotten: bool = False
    job: dict[str, str] = msgspec.field(default_factory=dict)
    transfers: list[dict[str, str]] = msgspec.field(default_factory=list)


def dumps(value: Any) -> bytes:
    """JSON bytes of any of these values."""
    return msgspec.json.encode(value)
