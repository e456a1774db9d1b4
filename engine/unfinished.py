"""A file that is still being received, as workers read it: the ranges that are there already."""

from __future__ import annotations

import os

from backends.body import FileRange, OpenFileBody
from backends.checksums import crc32c

_READ_SIZE = 256 << 10


class UnfinishedSource:
    """It fits `engine.work.Source`. It stays readable when the file is accepted, or given up, meanwhile."""

    crc32c = None

    def __init__(self, path: str) -> None:
        """Raises FileNotFoundError."""
        self._name = os.path.basename(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def body(self, offset: int, size: int) -> OpenFileBody:
        """A range, read once for its CRC32C: nobody else has told it yet. Raises ShortBody when it is not all there."""
        crc = 0
        block = memoryview(bytearray(min(_READ_SIZE, size)))  # one that stays in the cache of the processor
        with FileRange.of(self._fd, self._name, size, offset) as reader:
            while count := reader.readinto(block):
                crc = crc32c(block[:count], crc)
        return OpenFileBody(self._fd, self._name, offset, size, crc)

    def intact(self, offset: int, size: int) -> bool:
        """Nothing is known against it."""
        return True

    def __del__(self) -> None:
        if (fd := getattr(self, "_fd", -1)) >= 0:
            os.close(fd)
