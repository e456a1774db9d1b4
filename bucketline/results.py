"""What the client gets back: jobs, transfers, parts and events, as the API's JSON has them, with types."""

from typing import Any

import msgspec

TERMINAL = frozenset({"succeeded", "partially_succeeded", "failed", "cancelled", "expired"})


class Problem(msgspec.Struct, kw_only=True):
    """Why something was refused or failed: the members of RFC 9457 and ours. The same object is a job's `error`."""

    code: str = "unknown"
    title: str = "The server gave no reason"
    detail: str | None = None
    status: int | None = None
    retryable: bool = False
    request_id: str | None = None
    errors: list[dict[str, Any]] = []

    def lines(self) -> list[str]:
        """For a terminal: what is wrong in one line, and one line per option at fault."""
        same = [error.get("pointer") for error in self.errors if error.get("detail") == self.detail]
        option = _option(same[0]) if same and same[0] else ""
        first = ": ".join(text for text in (self.title, option, self.detail) if text)
        if self.request_id and (self.status or 0) >= 500:
            first += f" (request {self.request_id})"
        pointed = [
            f"{_option(error.get('pointer', '')) or 'request'}: {error.get('detail', '')}"
            for error in self.errors
            if error.get("detail") != self.detail
        ]
        return [first, *pointed]


def _option(pointer: str) -> str:
    """`/destinations/0` as users write it."""
    return pointer.strip("/").replace("/", ".")


class PartCounts(msgspec.Struct, kw_only=True):
    total: int | None = None
    sent: int = 0
    in_flight: int = 0
    failing: int = 0


class Transfer(msgspec.Struct, kw_only=True):
    """A job's way to one destination."""

    destination: str
    state: str
    backend: str | None = None
    url: str | None = None
    parts: PartCounts = msgspec.field(default_factory=PartCounts)
    sent: int = 0
    attempts: int = 0
    next_attempt_at: str | None = None
    etag: str | None = None
    checksum: str | None = None
    verified_by: str | None = None
    error: Problem | None = None


class Token(msgspec.Struct, kw_only=True):
    """A short-lived token for a page; `token` is its text. Printing it shows no secret."""

    id: str
    token: str
    expires_at: str

    def __repr__(self) -> str:
        return f"Token(id={self.id!r}, expires_at={self.expires_at!r})"


class Job(msgspec.Struct, kw_only=True):
    """One submitted file. `raw` is the server's whole answer, also what this version of the client does not know."""

    id: str
    state: str
    run: int = 1
    name: str = ""
    key: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    size: int | None = None
    received: int = 0
    sent: int = 0
    rate: float | None = None
    eta_seconds: float | None = None
    checksums: dict[str, str | None] = {}
    transfers: list[Transfer] = []
    error: Problem | None = None
    raw: dict[str, Any] = {}

    @classmethod
    def read(cls, data: dict[str, Any]) -> "Job":
        job = msgspec.convert(data, cls, strict=False)
        job.raw = data
        return job

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"


class Part(msgspec.Struct, kw_only=True):
    number: int
    offset: int
    size: int
    state: str
    attempts: int = 0
    etag: str | None = None
    checksum: str | None = None
    error: Problem | None = None
    next_attempt_at: str | None = None


class FailedAttempt(msgspec.Struct, kw_only=True):
    """An attempt that failed, also when a later one made it good. `part` is None for steps around the parts."""

    at: str
    step: str
    code: str
    title: str
    run: int = 1
    part: int | None = None
    attempt: int = 1
    detail: str = ""
    retryable: bool = True


class Page(msgspec.Struct):
    """Jobs, newest first. `next_cursor` gets the next page, or is None at the end."""

    items: list[Job]
    next_cursor: str | None = None


class Event(msgspec.Struct):
    """One event of a job: `snapshot` and `end` carry the whole job, `progress`, `transfer` and `state` what changed."""

    id: str
    type: str
    data: dict[str, Any]


# Clients are used by threads; why those must not be the first to decode a type stands in backends/structs.py. It is not
# asked here: in a program that has a package `backends` of its own the client has to work all the same.
for _kind in (Problem, Token, Job, Part, FailedAttempt, Page):
    msgspec.json.Decoder(_kind)
