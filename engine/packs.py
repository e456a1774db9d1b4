"""Packs: files in which small jobs lie one behind the other, so that those of one moment share a file and an fsync.

Each process appends to a pack of its own, and holds a lock on it as long as it may. A record is a header, the job's
bytes and its sidecar; it is accepted when `settle` returns. Whoever is done with a job marks its record, and a pack to
which nobody appends and in which all records are marked is removed. Marks are not synced: after a power cut a job may
be back, as with a removed file.

What a crash has left behind the last synced record was never accepted. It does not count where its checksum does not
fit, and where it does, it is a whole job whose client may ask for it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.disk import Directory, Disk, explain
from engine.errors import EngineError
from engine.pack_records import MARK_AT, Pack, Record, header
from engine.pack_writer import PackWriter

MOST_BYTES = 256 << 10
"""Of a job that goes into a pack; a larger one has files of its own."""
FULL_BYTES = 4 << 20
IDLE_SECONDS = 1.0  # after which a pack gets no more records, so that it can go
UNNAMED_SECONDS = 60.0  # after which nobody is about to name it


class Appended(NamedTuple):
    """What `append` has written, for `settle`."""

    writer: PackWriter
    number: int


class Packs:
    """Safe to use from many threads; several processes share the directory. Raises EngineError; `append` OSError."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.root = root
        self._disk = disk
        self._writer: PackWriter | None = None
        self._writing = threading.Lock()
        self._lock = threading.RLock()
        self._packs: dict[str, Pack] = {}
        self._where: dict[str, Record] = {}

    def open(self) -> None:
        """Make the directory. Raises OSError."""
        self.root.mkdir(mode=0o700, exist_ok=True)
        self.root.chmod(0o700)
        self._directory = Directory(self.root, self._disk)

    def close(self) -> None:
        """End the pack of this process, and remove what nobody needs."""
        self._end(self._writer)
        with contextlib.suppress(EngineError):  # the next process does it
            self.tidy()
        with self._lock:
            for pack in self._packs.values():
                os.close(pack.fd)
            self._packs.clear()
            self._where.clear()
        self._directory.close()

    # -- writing --------------------------------------------------------------------------------------------------

    def append(self, job_id: str, data: Sequence[bytes], sidecar: bytes) -> Appended:
        """Add a job, which is accepted after `settle`. Nothing here waits for the disk.

        After an error, also of `settle`, `release` takes back what came.
        """
        buffers = [header(job_id, data, sidecar), *data, sidecar]
        while True:
            with self._writing:
                writer = self._writer or self._begin()
            try:
                number = writer.append(buffers)
            except OSError:
                self._end(writer)  # what this disk does with that file is not known: the next record goes to another
                raise
            if writer.end >= FULL_BYTES:
                self._end(writer)
            if number is not None:
                return Appended(writer, number)

    def settle(self, appended: Appended) -> None:
        """Wait until it outlives a power cut. Must be called once. Raises OSError."""
        try:
            appended.writer.settle(appended.number)
        except OSError:
            self._end(appended.writer)
            raise

    def _begin(self) -> PackWriter:
        """A new pack, locked before it has its name: whoever sees it knows that it is in use."""
        name = str(uuid.uuid4())
        hidden = f"{self.root}/.{name}"
        fd = self._disk.create(hidden)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._disk.rename(hidden, f"{self.root}/{name}.pack")
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                self._disk.unlink(hidden)
            raise
        self._writer = PackWriter(fd, self._disk, self._directory)
        return self._writer

    def _end(self, writer: PackWriter | None, idle_seconds: float = 0.0) -> None:
        """That pack gets no more records; with `idle_seconds`, only when none came for so long."""
        with self._writing:
            if writer is not None and writer is self._writer and writer.retire(idle_seconds):
                self._writer = None

    # -- looking --------------------------------------------------------------------------------------------------

    def find(self, job_id: str) -> Record | None:
        """The record of a job that nobody has released."""
        with self._lock, _reading():
            if job_id not in self._where:
                self._look()
            record = self._where.get(job_id)
            if record is not None and record.pack.is_marked(record):
                self._drop(record)
                return None
            return record

    def records(self) -> Iterator[Record]:
        """Those that are whole and not released, in no order."""
        with self._lock, _reading():
            self._look()
            for record in list(self._where.values()):
                if record.pack.is_marked(record):
                    self._drop(record)
            found = [record for record in self._where.values() if record.whole]
        yield from found

    def sidecar(self, job_id: str) -> bytes | None:
        """Raises SourceCorrupt when the record is damaged."""
        with self._lock, _reading():
            record = self.find(job_id)
            return None if record is None else record.pack.sidecar(record)

    def _look(self) -> None:
        """Take note of what was appended, by whomever, since the last look; and of the packs that are gone."""
        names = {name for name in os.listdir(self.root) if name.endswith(".pack")}
        for name in self._packs.keys() - names:
            self._forget(self._packs[name])
        for name in names - self._packs.keys():
            path = self.root / name
            with contextlib.suppress(FileNotFoundError):
                self._packs[name] = Pack(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        for pack in self._packs.values():
            for record in pack.news():
                self._where[record.job_id] = record

    # -- the end --------------------------------------------------------------------------------------------------

    def release(self, job_id: str, *, durably: bool = False) -> int:
        """Mark a job as done with; how many bytes it had, 0 when it is not here."""
        with self._lock:
            record = self.find(job_id)
            if record is None:
                return 0
            try:
                self._mark(record, durably)
                self._drop(record)
                if not record.pack.live:
                    self._remove_if_done(record.pack)
            except OSError as error:
                raise explain(error, "removing a file") from error
            return record.size

    def _mark(self, record: Record, durably: bool) -> None:
        fd = os.open(record.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._disk.write_at(fd, b"\1", record.offset + MARK_AT)
            if durably:
                self._disk.sync(fd)
        finally:
            self._disk.close(fd)

    def tidy(self) -> None:
        """Stop appending to a pack that nothing came for, and remove those in which everything is released."""
        self._end(self._writer, IDLE_SECONDS)
        with self._lock, _reading():
            self._look()
            for pack in list(self._packs.values()):
                if not pack.in_use():
                    self._drop_marked(pack)
                    self._remove_if_done(pack)
            self._remove_unnamed()

    def _drop_marked(self, pack: Pack) -> None:
        """Only up to the first job that is needed: it keeps the pack, and there may be very many behind it."""
        for record in list(pack.live.values()):
            if pack.is_marked(record):
                self._drop(record)
            elif record.whole:
                return

    def _remove_if_done(self, pack: Pack) -> None:
        if pack.in_use():
            return
        for record in pack.news():
            self._where[record.job_id] = record
        if pack.is_over():
            with contextlib.suppress(OSError):  # the next round tries again
                self._disk.unlink(str(pack.path))
                self._forget(pack)

    def _remove_unnamed(self) -> None:
        """What a crash has left between a pack's making and its name."""
        for name in os.listdir(self.root):
            path = self.root / name
            if name.startswith("."):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > UNNAMED_SECONDS:
                        self._disk.unlink(str(path))

    def _drop(self, record: Record) -> None:
        record.pack.live.pop(record.job_id, None)
        self._where.pop(record.job_id, None)

    def _forget(self, pack: Pack) -> None:
        for record in list(pack.live.values()):
            self._drop(record)
        del self._packs[pack.path.name]
        os.close(pack.fd)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain(error, "reading a record") from error
