"""The audit log of one spool: who did what, one JSON object per line, in a file for each day and host.

    audit/2026-11-25.HOST.jsonl     only ever appended to, mode 0600; gone after BUCKETLINE_AUDIT_DAYS

Never a secret: keys and tokens stand there by their ids.
"""

from __future__ import annotations

import heapq
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import structlog

log = structlog.get_logger("bucketline.audit")

LOOKED_AT = 100_000  # lines that one search may read
_BLOCK = 1 << 16
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.[A-Za-z0-9._-]+\.jsonl")

Line = dict[str, Any]


class Audit:
    """Appends to the log, and reads it. `days` of 0: nothing is written down."""

    def __init__(self, spool: Path, days: int, clock: Callable[[], float] = time.time) -> None:
        self.directory = spool / "audit"
        self._days = days
        self._clock = clock
        self._host = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())[:64] or "host"
        self._day = ""
        self._file = -1

    def note(self, action: str, **fields: str) -> None:
        """Writes one line: what happened now. Empty fields are left out. A log that cannot be written is told, not
        raised: what is noted has happened already.
        """
        if self._days == 0:
            return
        at = datetime.fromtimestamp(self._clock(), UTC)
        line = {"at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "action": action}
        line |= {name: value for name, value in fields.items() if value}
        try:
            self._open(f"{at:%Y-%m-%d}")
            # One write for one line: with O_APPEND the lines of several processes never mix.
            os.write(self._file, msgspec.json.encode(line) + b"\n")
        except OSError as error:
            self.close()
            log.error("the audit log cannot be written", error=error.strerror, action=action, job=fields.get("job", ""))

    def _open(self, day: str) -> None:
        if self._file >= 0 and day == self._day:
            return
        self.close()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / f"{day}.{self._host}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._day = day
        self._forget()

    def _forget(self) -> None:
        oldest = f"{datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=self._days):%Y-%m-%d}"
        for day, path in self._files():
            if day < oldest:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def read(self, *, limit: int, key: str | None = None, job: str | None = None) -> list[Line]:
        """The newest lines first, at most `limit` of them; of one key, or about one job."""
        lines = islice(self._newest_first(), LOOKED_AT)
        fits = (
            one for one in lines if (key is None or one.get("key") == key) and (job is None or one.get("job") == job)
        )
        return list(islice(fits, limit))

    def _newest_first(self) -> Iterator[Line]:
        days: dict[str, list[Path]] = {}
        for day, path in self._files():
            days.setdefault(day, []).append(path)
        for day in sorted(days, reverse=True):
            hosts = (_lines(path) for path in days[day])
            yield from heapq.merge(*hosts, key=lambda one: str(one.get("at")), reverse=True)

    def _files(self) -> Iterator[tuple[str, Path]]:
        if not self.directory.is_dir():
            return
        for path in self.directory.iterdir():
            if match := _NAME.fullmatch(path.name):
                yield match[1], path


def _lines(path: Path) -> Iterator[Line]:
    """The lines of a file, the last one first; what is no line of ours (a power cut) is passed over."""
    for raw in _raw_lines(path):
        try:
            yield msgspec.json.decode(raw, type=dict)
        except msgspec.MsgspecError:
            continue


def _raw_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        at, rest = file.seek(0, os.SEEK_END), b""
        while at > 0:
            size = min(_BLOCK, at)
            at -= size
            file.seek(at)
            rest, *found = (file.read(size) + rest).split(b"\n")
            yield from (one for one in reversed(found) if one)
        if rest:
            yield rest
