"""The form of a pack: records one behind the other, and how they are read while others append and mark them.

A record is a header, the bytes of a job and its sidecar. The header has a checksum of its own, so that damage to what
follows hides no other record, and a mark outside of that checksum, which says that the job is released. Behind a header
that does not fit nothing is looked for: a file may hold what looks like a record.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.checksums import crc32c
from engine.errors import SourceCorrupt

DAMAGED_SECONDS = 86_400.0
"""How long a pack is kept in which only damage is left."""
MARK_AT = 4
"""Where in a record the mark is: one byte, 1 for released."""

_HEADER = struct.Struct("<4sBxxxIQ16sI")
_MAGIC = b"bkp1"
_CHECK = struct.Struct("<I")
_HEAD = _HEADER.size + _CHECK.size


@dataclass(eq=False, slots=True)
class Record:
    """One job in a pack: `size` bytes at `start`, and behind them the sidecar."""

    job_id: str
    pack: Pack
    offset: int
    size: int
    sidecar_size: int
    whole: bool

    @property
    def path(self) -> Path:
        return self.pack.path

    @property
    def start(self) -> int:
        return self.offset + _HEAD


@dataclass(eq=False, slots=True)
class Pack:
    """A pack as it is read. `live` has what was found and not released, as far as this process knows."""

    path: Path
    fd: int
    understood: int = 0
    live: dict[str, Record] = field(default_factory=dict)

    def news(self) -> Iterator[Record]:
        """Records that were not seen before. A header that does not fit is the end, for now or for ever."""
        size = os.fstat(self.fd).st_size
        while self.understood + _HEAD <= size:
            head = os.pread(self.fd, _HEAD, self.understood)
            magic, mark, sidecar_size, data_size, name, check = _HEADER.unpack_from(head)
            total = _HEAD + data_size + sidecar_size
            if magic != _MAGIC or not _fits(head) or self.understood + total > size:
                return
            if not mark:
                body = os.pread(self.fd, data_size + sidecar_size, self.understood + _HEAD)
                job_id = str(uuid.UUID(bytes=name))
                record = Record(job_id, self, self.understood, data_size, sidecar_size, crc32c(body) == check)
                self.live[job_id] = record
                yield record
            self.understood += total

    def is_over(self) -> bool:
        """Whether nothing in it is needed. What a power cut has torn is released by nobody: it goes by its age."""
        if any(record.whole for record in self.live.values()):
            return False
        return not self.live or time.time() - os.fstat(self.fd).st_mtime > DAMAGED_SECONDS

    def is_marked(self, record: Record) -> bool:
        return os.pread(self.fd, 1, record.offset + MARK_AT) == b"\1"

    def sidecar(self, record: Record) -> bytes:
        if not record.whole:
            raise SourceCorrupt("The staged file and its record are damaged.")
        return os.pread(self.fd, record.sidecar_size, record.start + record.size)

    def in_use(self) -> bool:
        """Whether a process may still append to it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return False


def header(job_id: str, data: Sequence[bytes], sidecar: bytes) -> bytes:
    """What stands before the bytes of a job in its record."""
    check = 0
    for piece in (*data, sidecar):
        check = crc32c(piece, check)
    size = sum(map(len, data))
    head = _HEADER.pack(_MAGIC, 0, len(sidecar), size, bytes.fromhex(job_id.replace("-", "")), check)
    return head + _CHECK.pack(crc32c(head))


def _fits(head: bytes) -> bool:
    """Whether the header is what was written, whatever its mark is now."""
    unmarked = head[:MARK_AT] + b"\0" + head[MARK_AT + 1 : _HEADER.size]
    return bool(crc32c(unmarked) == _CHECK.unpack_from(head, _HEADER.size)[0])
