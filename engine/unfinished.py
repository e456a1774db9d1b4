"""A file that is still being received, as workers read it: the ranges that are there already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, cast

from backends.body import FileRange
from backends.checksums import crc32c

_READ_SIZE = 256 << 10


class UnfinishedSource:
    """It fits `engine.work.Source`. It stays readable when the file is accepted, or given up, meanwhile."""

    crc32c = None

    def __init__(self, path: str) -> None:
        """Raises FileNotFoundError."""
        self._name = os.path.basename(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def body(self, offset: int, size: int) -> UnfinishedBody:
        """A range, read once for its CRC32C: nobody else has told it yet. Raises ShortBody when it is not all there."""
        crc = 0
        block = memoryview(bytearray(min(_READ_SIZE, size)))  # one that stays in the cache of the processor
        with FileRange.of(self._fd, self._name, size, offset) as reader:
            while count := reader.readinto(block):
                crc = crc32c(block[:count], crc)
        return UnfinishedBody(self._fd, self._name, offset, size, crc)

    def intact(self, offset: int, size: int) -> bool:
        """Nothing is known against it."""
        return True

    def __del__(self) -> None:
        if (fd := getattr(self, "_fd", -1)) >= 0:
            os.close(fd)


class UnfinishedBody:
    """A range of it, with its own copy of the descriptor."""

    def __init__(self, fd: int, name: str, offset: int, size: int, crc: int) -> None:
        self._fd = os.dup(fd)
        self._name = name
        self._offset = offset
        self.size = size
        self.crc32c: int | None = crc

    def open(self) -> BinaryIO:
        return cast(BinaryIO, FileRange.of(self._fd, self._name, self.size, self._offset))

    def file(self) -> tuple[Path, int] | None:
        return None

    def __del__(self) -> None:
        if (fd := getattr(self, "_fd", -1)) >= 0:
            os.close(fd)
