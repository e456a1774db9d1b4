"""How jobs ended, on disk beside the spool: what a Redis that comes back from an older state must find.

Each process appends to a file of its own, many ends with one fsync, and begins a new one every hour. Old files are
removed whole.
A line is one `models.Tombstone` as JSON; a line that a power cut has torn is the last of its file, and counts for
nothing.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from engine.disk import Disk, explain
from engine.models import Tombstone

log = structlog.get_logger("bucketline.tombstones")

SEGMENT_SECONDS = 3600.0
KEPT_SECONDS = 86_400.0
_SUFFIX = ".ends"


class Tombstones:
    """Blocking, and safe to use from many threads and processes. Raises EngineError."""

    def __init__(self, folder: Path, *, disk: Disk | None = None, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._disk = disk or Disk()
        self._clock = clock
        self._lock = threading.Lock()
        self._fd = -1
        self._began = 0.0

    def append(self, ends: Sequence[Tombstone]) -> None:
        """When this returns, these ends survive a power cut. A later line of a job rules over an earlier one."""
        data = b"".join(msgspec.json.encode(one) + b"\n" for one in ends)
        with self._lock:
            try:
                self._disk.write(self._segment(), [data])
                self._disk.sync(self._fd)
            except OSError as error:
                # What an fsync could not write is lost to later ones: this file is given up, its good lines stay.
                self._close()
                raise explain(error, "writing down how jobs ended") from error

    def scan(self) -> Iterator[Tombstone]:
        """Every end that is still remembered, oldest file first."""
        for path in self._segments():
            yield from _lines(path)

    def find(self, jobs: Collection[str]) -> dict[str, Tombstone]:
        """The last end of each of these jobs, of those that have one. Reads everything: ask for many at once."""
        wanted = set(jobs)
        found: dict[str, Tombstone] = {}
        for one in self.scan() if wanted else ():
            if one.id in wanted and (one.id not in found or found[one.id].run <= one.run):
                found[one.id] = one
        return found

    def expire(self) -> None:
        """Removes what is older than a day."""
        for path in self._segments():
            try:
                if path.stat().st_mtime < self._clock() - KEPT_SECONDS:
                    self._disk.unlink(os.fspath(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise explain(error, "removing an old file") from error

    def close(self) -> None:
        with self._lock:
            self._close()

    def _segment(self) -> int:
        if self._fd >= 0 and self._clock() - self._began > SEGMENT_SECONDS:
            self._close()
        if self._fd < 0:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._began = self._clock()
            self._fd = self._disk.create(
                os.fspath(self._folder / f"{int(self._began * 1_000_000):016}-{secrets.token_hex(4)}{_SUFFIX}")
            )
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._disk.sync(folder)
            finally:
                os.close(folder)
        return self._fd

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._disk.close(fd)

    def _segments(self) -> list[Path]:
        if not self._folder.exists():
            return []
        return sorted(path for path in self._folder.iterdir() if path.name.endswith(_SUFFIX))


def _lines(path: Path) -> Iterable[Tombstone]:
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    yield msgspec.json.decode(line, type=Tombstone)
                except msgspec.MsgspecError:
                    if line.endswith(b"\n"):
                        log.error("a line in a file of ends cannot be read", file=path.name)
    except FileNotFoundError:
        return
