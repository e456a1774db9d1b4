"""Unfinished uploads in the spool: a file that grows chunk by chunk over many requests, and a note of what it is to be.

    tus/ID          the bytes that have come; its true size is the upload's offset
    tus/ID.json     the note: options, length, owner

Whether an upload has become a job is told by one rename: while `tus/ID` is there it is not, and a note without it is
that of an upload that was accepted, or ended. So the note is written after the file, and removed before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from engine import record_files
from engine.content_types import HEAD_BYTES
from engine.disk import WRITE, Directory, Disk, explain
from engine.errors import EngineError, SourceCorrupt
from engine.layout import Layout, checked, names
from engine.models import JobSpec, SubmitOptions, TransferPlan
from engine.space import Space

BATCH = 1 << 20


End = Literal["discard", "expire", "cancel"]


class Note(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of an upload beside its bytes."""

    spec: JobSpec
    options: SubmitOptions
    length: int | None = None
    metadata: str | None = None
    """The header as the client sent it: it is given back."""
    proved: int | None = None
    """Set while a chunk with a checksum arrives: what lies behind it does not count until the checksum is compared."""
    concat: str = ""
    """The header Upload-Concat as the client sent it: `partial`, or `final;` and addresses."""
    plans: list[TransferPlan] = msgspec.field(default_factory=list)
    """Of the transfers that have begun while the bytes were coming."""
    joined: str = ""
    """Of a partial upload: the final one that has its bytes, if that has all it is made of."""
    ended: str = ""
    """Why there will be no job."""
    end: End = "discard"
    """What is to become of the job in the ledger; counts when `ended` is set."""

    @property
    def is_partial(self) -> bool:
        """Whether it will never be a job itself."""
        return self.concat == "partial"

    @property
    def is_final(self) -> bool:
        """Whether it is made of partial uploads, and takes no bytes."""
        return self.concat.startswith("final")


class Partials:
    """Blocking, and safe to use from many threads and processes. Raises EngineError."""

    def __init__(self, layout: Layout, disk: Disk, space: Space) -> None:
        self.layout = layout
        self.disk = disk
        self.space = space

    def open(self) -> None:
        """Make the directory. Raises OSError."""
        self.layout.tus.mkdir(mode=0o700, exist_ok=True)
        self.directory = Directory(self.layout.tus, self.disk)
        self.jobs = Directory(self.layout.jobs, self.disk)

    def close(self) -> None:
        self.directory.close()
        self.jobs.close()

    def create(self, note: Note) -> None:
        """An upload without bytes; when this returns it survives what the durability setting says."""
        try:
            fd = self.disk.create(self.layout.partial(note.spec.id))
            self.disk.close(fd)
        except OSError as error:
            raise explain(error, "making the file") from error
        self.rewrite(note)

    def read(self, job_id: str) -> Note | None:
        data = record_files.read_whole(self.layout.note(job_id))
        try:
            return None if data is None else msgspec.json.decode(data, type=Note)
        except msgspec.DecodeError as error:
            raise SourceCorrupt("The record of this upload cannot be read.") from error

    def rewrite(self, note: Note) -> None:
        """Readers see the old note or the new one."""
        target = self.layout.note(note.spec.id)
        temporary = f"{target}.{secrets.token_hex(4)}"
        record_files.replace(self.disk, temporary, target, msgspec.json.encode(note), self.directory)

    def hold(self, job_id: str) -> File | None:
        """The file, for this caller alone; None when it is gone. Raises BlockingIOError while another one has it."""
        try:
            fd = self.disk.reopen(self.layout.partial(job_id))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explain(error, "opening the file") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0 or not os.path.exists(self.layout.partial(job_id)):
                self.disk.close(fd)  # it went while we waited for the lock
                return None
        except BlockingIOError:
            self.disk.close(fd)
            raise
        return File(self, job_id, fd)

    def offset(self, note: Note) -> int:
        """The bytes that count of an upload that nobody may hold; 0 when the file is gone. Raises OSError."""
        try:
            size = os.stat(self.layout.partial(note.spec.id)).st_size
        except FileNotFoundError:
            return 0
        return size if note.proved is None else min(size, note.proved)

    def has_all(self, note: Note) -> bool:
        """Whether all bytes are there, or were until it became a job. Raises OSError."""
        return self.offset(note) == note.length or not os.path.exists(self.layout.partial(note.spec.id))

    def head(self, job_id: str) -> bytes:
        """The first bytes, by which a content type can be told."""
        try:
            with open(self.layout.partial(job_id), "rb", buffering=0) as file:
                return file.read(HEAD_BYTES)
        except OSError as error:
            raise explain(error, "reading the file back") from error

    def touched(self, job_id: str) -> float | None:
        """When bytes came last, in seconds since the epoch; of a finished one, when it was finished."""
        for path in (self.layout.partial(job_id), self.layout.note(job_id)):
            with contextlib.suppress(FileNotFoundError):
                return os.stat(path).st_mtime
        return None

    def touch(self, job_id: str) -> None:
        """The time that its note still stays begins now."""
        with contextlib.suppress(OSError):
            os.utime(self.layout.note(job_id))

    def drop_bytes(self, job_id: str) -> None:
        """Only after its note says that it ended, or is gone."""
        path = self.layout.partial(job_id)
        with contextlib.suppress(FileNotFoundError):
            self.space.remove(os.stat(path).st_size)
        record_files.remove(self.disk, path)

    def forget(self, job_id: str) -> None:
        """Remove the note, then the bytes if there are any, and what a crash left beside them."""
        record_files.remove(self.disk, self.layout.note(job_id))
        for found, path in list(self.names()):
            if found == job_id and path.name != job_id:
                record_files.remove(self.disk, os.fspath(path))
        self.directory.sync()
        self.drop_bytes(job_id)

    def names(self) -> Iterator[tuple[str, Path]]:
        """Every file here, with the id of its upload."""
        return names(self.layout.tus)


class File:
    """The growing file of one upload, held (flock) by this caller until `close`."""

    def __init__(self, partials: Partials, job_id: str, fd: int) -> None:
        self.job_id = checked(job_id)
        self._disk = partials.disk
        self._space = partials.space
        self._fd = fd
        self._path = partials.layout.partial(job_id)
        self._batch: list[bytes] = []
        self._batched = 0
        self._counted = False  # whether our share of the spool's room is counted by us, and not by the walk
        self._reserved = 0  # announced for what comes next
        self._allocated = False
        self._unwritten = 0  # announced, and without blocks on the disk
        self.wrote = False

    @property
    def size(self) -> int:
        """The bytes on the disk."""
        return os.fstat(self._fd).st_size

    def reserve(self, size: int, *, blocks: bool = True) -> None:
        """So many bytes will come: no other file gets their room. Raises SpoolFull."""
        self._announce(size)
        self._reserved += size
        if blocks and size > BATCH:
            try:
                self._allocated = self._disk.allocate(self._fd, self.size + size)
            except OSError as error:
                raise explain(error, "making room for the file") from error
            if self._allocated:
                self._space.written(size)
                self._unwritten -= size

    def write(self, data: bytes) -> None:
        """Append; up to `WRITE` bytes stay in memory until `flush`."""
        self._batch.append(data)
        self._batched += len(data)
        if self._batched >= WRITE or len(self._batch) >= 1000:
            self.flush()

    def flush(self) -> None:
        """Everything that came is in the file. What of it a full disk took stays there."""
        batch, size = self._batch, self._batched
        self._batch, self._batched = [], 0
        if not size:
            return
        self._need(size)
        try:
            self._disk.write(self._fd, batch)
        except OSError as error:
            raise explain(error, "writing the file") from error
        self._wrote(size)

    def append(self, other: File) -> None:
        """All that is in another one, which keeps it."""
        self._need(other.size)
        try:
            self._wrote(self._disk.copy(other._fd, self._path, self.size))
        except OSError as error:
            raise explain(error, "joining the files") from error

    def back_to(self, offset: int) -> None:
        """Drop what lies behind, written or not."""
        self._batch, self._batched = [], 0
        if self.size > offset:
            self._truncate(offset)

    def sync(self) -> None:
        try:
            self._disk.sync(self._fd)
        except OSError as error:
            raise explain(error, "making the file durable") from error

    def close(self) -> None:
        """Let it go, and give back the room of what did not come. Twice is no error."""
        if self._fd < 0:
            return
        with contextlib.suppress(EngineError):  # the next one who opens it gives the room back
            if self._allocated and self._reserved:
                self._truncate(self.size)
        kept = self.size
        fd, self._fd = self._fd, -1
        if self._counted:
            self._space.close(self.job_id, kept=kept, unwritten=self._unwritten)
        self._disk.close(fd)

    def _need(self, size: int) -> None:
        """Room for what is written now, where it was not reserved."""
        self._announce(max(0, size - self._reserved))
        self._reserved = max(0, self._reserved - size)
        self.wrote = True

    def _wrote(self, size: int) -> None:
        size = min(size, self._unwritten)
        self._space.written(size)
        self._unwritten -= size

    def _announce(self, size: int) -> None:
        if not size:
            return
        if not self._counted:
            self._space.reopen(self.job_id, self.size)
            self._counted = True
        self._space.announce(self.job_id, size)
        self._unwritten += size

    def _truncate(self, size: int) -> None:
        try:
            self._disk.truncate(self._fd, size)
        except OSError as error:
            raise explain(error, "taking a chunk back") from error
