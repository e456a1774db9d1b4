"""The access log: one JSON object per request, on one line, and never a secret in it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from api.access import SECRET
from api.asgi_types import Scope
from api.tracing import trace_id_of

Write = Callable[[bytes], object]

_JOB = re.compile(r"/v1/jobs/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:/.*)?")
_PATH_MOST = 2000
_NAMES_MOST = 20
_ENCODED_MOST = 5
_HIDDEN = "***"


@dataclass(slots=True)
class Entry:
    """One request while it is served."""

    method: str
    path: str
    query: bytes
    began: float
    remote: str = ""
    request_id: str = ""
    traceparent: str = ""
    key: str | None = None
    token: str | None = None
    jobs: list[str] = field(default_factory=list)
    received: int = 0

    def seen(self, job: str) -> None:
        """This request made the job, or was about it."""
        if job and job not in self.jobs:
            self.jobs.append(job)


def entry_of(scope: Scope, request_id: str) -> Entry:
    """The beginning of a line. The path is the one that was sent, still percent-encoded."""
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    shown = path.partition(b"?")[0].decode("latin-1")
    client = scope.get("client") or ("",)
    entry = Entry(scope["method"], shown, scope["query_string"], time.perf_counter(), str(client[0]), request_id)
    if named := _JOB.fullmatch(scope["path"]):
        entry.seen(named[1])
    return entry


class AccessLog:
    """Writes lines. `secret` is the bootstrap key; keys and tokens of ours are known by their form."""

    def __init__(self, secret: str | None = None, write: Write | None = None) -> None:
        self._secret = secret
        self._write = write or _to_stderr

    def tell(self, entry: Entry, status: int, sent: int) -> None:
        """The request is over. A status of 0: its client left before there was an answer."""
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": "request",
            "method": self._clean(entry.method),
            "path": self._clean(entry.path)[:_PATH_MOST],
            "query": self._names(entry.query),
            "status": status,
            "bytes_received": entry.received,
            "bytes_sent": sent,
            "duration_ms": round((time.perf_counter() - entry.began) * 1000, 1),
            "request_id": self._clean(entry.request_id),
            "trace_id": trace_id_of(entry.traceparent),
            "remote": entry.remote,
            "key": entry.key,
            "token": entry.token,
            "jobs": entry.jobs,
        }
        self._write(
            msgspec.json.encode({name: value for name, value in line.items() if value not in ("", None, [])}) + b"\n"
        )

    def _names(self, query: bytes) -> list[str]:
        """Names of parameters; their values stay out, whatever they are."""
        if not query:
            return []
        names = [item.partition("=")[0] for item in query.decode("latin-1").split("&")[:_NAMES_MOST] if item]
        return list(dict.fromkeys(self._clean(name)[:100] for name in names))

    def _clean(self, text: str) -> str:
        """The text as it came, unless there is a secret in it, however often it was percent-encoded."""
        plain = text
        for _ in range(_ENCODED_MOST):
            further = unquote(plain, errors="replace")
            if further == plain:
                found = SECRET.sub(_HIDDEN, plain)
                found = found.replace(self._secret, _HIDDEN) if self._secret else found
                return text if found == plain else found
            plain = further
        return _HIDDEN


def _to_stderr(line: bytes) -> None:
    """One write for one line, so that the lines of several processes never mix."""
    try:
        os.write(2, line)
    except OSError:
        pass  # who reads the log is gone; requests are served all the same
