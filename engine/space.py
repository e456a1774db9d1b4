"""How much room the spool has: a count that costs nothing to ask, corrected by walking the directory now and then.

Every process that uses a spool counts what it adds and removes itself, and learns of the others' at the next walk.
Walks happen only while somebody asks, in a thread, and so rarely that they take at most one hundredth of a core.
Between two of them the quota may be overrun by what the other processes received; the disk itself is asked every time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from engine.disk import RETRY_FULL_SECONDS, Room
from engine.errors import SpoolFull
from engine.layout import ID_LENGTH, Layout

DEFAULT_SHARE = 0.9  # of the disk, when no limit is configured
MARGIN = 256 << 20  # left free for sidecars, tombstones and neighbours on the same disk: this, or 1 % of a small disk
MIN_FILES = 64  # inodes left free
WALK_SECONDS = 1.0
WALK_SHARE = 100


class Usage(NamedTuple):
    """In bytes. `used` counts file contents, with what open receptions have announced. `free` is what more is taken:
    what is left of the limit, or less where others have filled the disk.
    """

    used: int
    limit: int
    free: int


class Space:
    """Counts in `used` what is announced or there, and in `promised` the part of it that is not on the disk yet."""

    def __init__(
        self,
        limit: int | None,
        ask: Callable[[], Room],
        walk: Callable[[Collection[str]], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ask` asks the disk; `walk(ids)` adds up all files but those of the receptions `ids`."""
        self._limit = limit
        self._ask = ask
        self._walk = walk
        self._clock = clock
        self._lock = threading.Lock()
        self._walking = threading.Lock()
        self._settled = 0
        self._promised = 0
        self._open: dict[str, int] = {}
        self._announced = 0
        self._due = 0.0

    def usage(self) -> Usage:
        self._refresh()
        room = self._ask()
        used, limit = self._used(), self._limit_of(room)
        return Usage(used, limit, max(0, min(limit - used, self._left_on_disk(room))))

    def check(self, size: int) -> None:
        """Raise SpoolFull unless `size` more bytes fit."""
        room = self._ask()
        used, limit = self._used(), self._limit_of(room)
        if (left := limit - used) < size:
            self._refresh()  # another process may have made room meanwhile: the next attempt will know
            raise _full(f"The spool's limit of {limit} bytes leaves {max(left, 0)}, and {size} are needed.")
        if (left := self._left_on_disk(room)) < size:
            raise _full(f"The spool's disk has {max(left, 0)} bytes left, and {size} are needed.")
        if room.files is not None and room.files < MIN_FILES:
            raise _full(f"The spool's disk has only {room.files} inodes left.")

    def announce(self, job_id: str, size: int) -> None:
        """A reception will take `size` bytes, or that many more. Raises SpoolFull when they do not fit."""
        with self._lock:
            self.check(size)
            self._open[job_id] = self._open.get(job_id, 0) + size
            self._announced += size
            self._promised += size

    def reopen(self, job_id: str, size: int) -> None:
        """A file that was counted, with `size` bytes, grows again: until `close` it counts as one that is open here."""
        with self._lock:
            self._settled = max(0, self._settled - size)
            self._open[job_id] = self._open.get(job_id, 0) + size
            self._announced += size

    def written(self, size: int) -> None:
        """So many of the announced bytes have their blocks on the disk."""
        with self._lock:
            self._promised -= size

    def close(self, job_id: str, *, kept: int, unwritten: int) -> None:
        """A reception ended with `kept` bytes that stay; `unwritten` of what it announced never came."""
        with self._lock:
            self._announced -= self._open.pop(job_id, 0)
            self._promised -= unwritten
            self._settled += kept

    def remove(self, size: int) -> None:
        """Bytes that were counted are gone."""
        with self._lock:
            self._settled = max(0, self._settled - size)

    def doubt(self) -> None:
        """Something changed that was not counted: walk at the next opportunity."""
        self._due = 0.0

    def recount(self) -> None:
        """Walk now. What moves during the walk may be missed or counted twice, until the next one."""
        with self._walking:
            began = self._clock()
            with self._lock:
                mine = set(self._open)
            try:
                found = self._walk(mine)
            except OSError:
                found = self._settled  # the disk is in trouble: whoever writes to it next will say so
            with self._lock:
                self._settled = found
            took = self._clock() - began
            self._due = self._clock() + max(WALK_SECONDS, WALK_SHARE * took)

    def _refresh(self) -> None:
        if self._clock() >= self._due and not self._walking.locked():
            threading.Thread(target=self.recount, name="spool-recount", daemon=True).start()

    def _used(self) -> int:
        return self._settled + self._announced

    def _limit_of(self, room: Room) -> int:
        return self._limit if self._limit is not None else int(room.total * DEFAULT_SHARE)

    def _left_on_disk(self, room: Room) -> int:
        """Bytes that are announced and not there yet are not free, though the disk calls them so."""
        return room.free - self._promised - min(MARGIN, room.total // 100)


def bytes_in_files(layout: Layout, mine: Collection[str]) -> int:
    """Bytes in the spool that have files of their own, but for the receptions that this process counts itself."""
    total = 0
    for directory, suffix in ((layout.incoming, ""), (layout.tus, ""), (layout.jobs, ".data")):
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.endswith(suffix) or entry.name[:ID_LENGTH] in mine:
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                # Blocks may be allocated before the bytes have come: of a reception, and of an upload in chunks.
                total += status.st_size if suffix else max(status.st_size, status.st_blocks * 512)
    return total


def _full(detail: str) -> SpoolFull:
    return SpoolFull(detail, retry_after=RETRY_FULL_SECONDS)
