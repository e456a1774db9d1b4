"""What the tests of the spool share: jobs with ids, and a disk that fails or stops at a chosen call."""

from __future__ import annotations

import errno
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.digests import Digest
from engine.disk import Disk, Room
from engine.incoming import Incoming
from engine.spool import Spool

MIB = 1 << 20


def new_id() -> str:
    return str(uuid.uuid4())


def sidecar_of(digest: Digest) -> bytes:
    """A sidecar with the one member that the spool itself reads."""
    return msgspec.json.encode({"version": 1, "spec": {"name": "holiday.mp4"}, "digest": digest})


def commit(incoming: Incoming) -> None:
    incoming.commit(sidecar_of(incoming.digest()))


def accept(spool: Spool, data: bytes, *, size: int | None = -1, job_id: str | None = None) -> str:
    """Receive and accept one file; its announced size is the right one unless told otherwise."""
    incoming = spool.receive(job_id or new_id(), len(data) if size == -1 else size)
    incoming.write(data)
    commit(incoming)
    return incoming.job_id


def packed_in(spool: Spool) -> list[str]:
    """The ids of the jobs that lie in packs."""
    return sorted(record.job_id for record in spool._packs.records())


def left_in(spool: Spool) -> list[str]:
    """The files that stay when the pack in use has ended, and after the time that is given to what is being made."""
    for path in (spool.root / "packs").glob(".*"):
        os.utime(path, (0, 0))
    spool._packs._end(spool._packs._writer)
    spool.tidy()
    return files_in(spool.root)


def files_in(root: Path) -> list[str]:
    """Every file below `root`, relative to it."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@contextmanager
def opened(root: Path, **options: object) -> Iterator[Spool]:
    spool = Spool(root, **options)  # type: ignore[arg-type]
    spool.open()
    try:
        yield spool
    finally:
        spool.close()


class FakeDisk(Disk):
    """A real disk that counts calls, and that fails one of them when told to.

    `fail("sync", EIO)` fails the next sync; `fail("write", ENOSPC, after=2)` lets two writes pass before.
    """

    def __init__(self, *, durable: bool = True) -> None:
        super().__init__(durable=durable)
        self.calls: Counter[str] = Counter()
        self.log: list[str] = []
        self.room_left: Room | None = None
        self._faults: dict[str, tuple[int, int]] = {}

    def fail(self, call: str, code: int = errno.EIO, after: int = 0) -> None:
        self._faults[call] = (self.calls[call] + after, code)

    def forget_calls(self) -> None:
        self.calls.clear()
        self.log.clear()
        self._faults.clear()

    def before(self, call: str) -> None:
        """Every call comes here before it has any effect."""
        at, code = self._faults.get(call, (-1, 0))
        self.log.append(call)
        self.calls[call] += 1
        if self.calls[call] - 1 == at:
            raise OSError(code, os.strerror(code))

    def create(self, path: str) -> int:
        self.before("create")
        return super().create(path)

    def allocate(self, fd: int, size: int) -> bool:
        self.before("allocate")
        return super().allocate(fd, size)

    def write(self, fd: int, buffers: Sequence[bytes]) -> None:
        self.before("write")
        super().write(fd, buffers)

    def sync(self, fd: int) -> None:
        self.before("sync")
        super().sync(fd)

    def rename(self, source: str, target: str) -> None:
        self.before("rename")
        super().rename(source, target)

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        self.before("write_at")
        super().write_at(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        self.before("truncate")
        super().truncate(fd, size)

    def unlink(self, path: str) -> None:
        self.before("unlink")
        super().unlink(path)

    def room(self, path: str) -> Room:
        return self.room_left or super().room(path)
