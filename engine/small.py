"""The file of a small job: its bytes, its sidecar, and a trailer that says how long the sidecar is.

One file instead of a pair is one fsync less, and half of the inodes that a spool of small files makes and removes.
It is whole before it has its name, so a trailer that does not fit means damage, never a crash.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import SourceCorrupt

_TRAILER = struct.Struct("<Q8s")
_MAGIC = b"bl.small"


def ending(sidecar: bytes) -> list[bytes]:
    """What stands behind the bytes of the job."""
    return [sidecar, _TRAILER.pack(len(sidecar), _MAGIC)]


def size(path: str) -> int:
    """How many bytes the job has. Raises SourceCorrupt, or OSError."""
    with _opened(path) as (fd, end):
        return end - _length(fd, end)


def sidecar(path: str) -> bytes:
    """Raises SourceCorrupt, or OSError."""
    with _opened(path) as (fd, end):
        length = _length(fd, end)
        return os.pread(fd, length, end - length)


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, int]]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd, os.fstat(fd).st_size - _TRAILER.size
    finally:
        os.close(fd)


def _length(fd: int, end: int) -> int:
    """Of the sidecar that ends at `end`, where the trailer begins."""
    trailer = os.pread(fd, _TRAILER.size, end) if end >= 0 else b""
    length, magic = _TRAILER.unpack(trailer) if len(trailer) == _TRAILER.size else (0, b"")
    if magic != _MAGIC or length > end:
        raise SourceCorrupt("The staged file has lost its end.")
    return int(length)
