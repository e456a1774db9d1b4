"""A model of a disk that loses power: what may be found on it afterwards, by what was synced and what was not.

It promises only what POSIX does. A file's bytes are certain after fsync of the file; before, all, half or none of them
may be there. A name is certain after fsync of its directory; before, any subset of the changes to names may have
happened, and only a rename is one change. What a file system does better is not relied upon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeAlias

from engine.disk import Disk

State: TypeAlias = "frozenset[tuple[str, bytes]]"
"""Paths below the root, with the bytes found there."""


@dataclass(eq=False)
class Inode:
    written: bytes = b""
    synced: bytes | None = None

    def may_hold(self) -> set[bytes]:
        if self.synced == self.written:
            return {self.written}
        return {self.written, self.written[: len(self.written) // 2], self.synced or b""}


@dataclass(eq=False)
class Change:
    """A name that appears, disappears, or both."""

    appears: str | None
    disappears: str | None
    inode: Inode

    def touches(self, directory: str) -> bool:
        return any(path and os.path.dirname(path) == directory for path in (self.appears, self.disappears))

    def apply(self, names: dict[str, Inode]) -> None:
        if self.disappears:
            names.pop(self.disappears, None)
        if self.appears:
            names[self.appears] = self.inode


class PowerCuts(Disk):
    """A real disk that notes, before each call and at `note`, every state in which a power cut could leave it."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = str(root)
        self.moments: list[set[State]] = []
        self._now: dict[str, Inode] = {}
        self._certain: dict[str, Inode] = {}
        self._pending: list[Change] = []

    def note(self) -> set[State]:
        self.moments.append(set(self._states()))
        return self.moments[-1]

    def create(self, path: str) -> int:
        self.note()
        self._change(Change(path, None, Inode()))
        return super().create(path)

    def write(self, fd: int, buffers: Sequence[bytes]) -> None:
        self.note()
        self._now[_path_of(fd)].written += b"".join(buffers)
        super().write(fd, buffers)

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        self.note()
        inode = self._now[_path_of(fd)]
        inode.written = inode.written[:offset] + data + inode.written[offset + len(data) :]
        super().write_at(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.note()
        if (path := _path_of(fd)) in self._now:
            self._now[path].synced = self._now[path].written
        else:
            for change in [change for change in self._pending if change.touches(path)]:
                change.apply(self._certain)
                self._pending.remove(change)
        super().sync(fd)

    def rename(self, source: str, target: str) -> None:
        self.note()
        self._change(Change(target, source, self._now[source]))
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.note()
        if path in self._now:
            self._change(Change(None, path, self._now[path]))
        super().unlink(path)

    def _change(self, change: Change) -> None:
        change.apply(self._now)
        self._pending.append(change)

    def _states(self) -> Iterator[State]:
        for happened in product([False, True], repeat=len(self._pending)):
            names = dict(self._certain)
            for change, did in zip(self._pending, happened, strict=True):
                if did:
                    change.apply(names)
            found = [[(os.path.relpath(path, self.root), held) for held in names[path].may_hold()] for path in names]
            yield from map(frozenset, product(*found))


def put_on_disk(state: State, root: Path) -> None:
    """Make the files of a state below `root`."""
    for name, content in state:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def _path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")
