"""A staged file as workers read it: ranges with the checksums they had when they were received."""

from __future__ import annotations

from pathlib import Path

from backends.body import FileBody
from backends.checksums import combine_crc32c, crc32c
from backends.errors import ShortBody
from engine.digests import Digest
from engine.errors import SourceCorrupt

_READ_SIZE = 1 << 20


class SpooledSource:
    """An accepted file in the spool; it fits `engine.work.Source`."""

    def __init__(self, path: Path, digest: Digest, start: int = 0) -> None:
        """`start` is where in the file its bytes begin."""
        self.path = path
        self.start = start
        self.digest = digest
        self.size = digest.size

    @property
    def crc32c(self) -> int:
        return self.digest.crc32c

    def body(self, offset: int, size: int) -> FileBody:
        """A range with the CRC32C it had when it was received.

        It is combined without reading where the range begins and ends at borders of blocks (1 MiB, larger in files over
        16 GiB). At any other border one block is read, and checked on the way: SourceCorrupt if it changed.
        """
        return FileBody(self.path, self.start + offset, size, self._crc_of(offset, size))

    def intact(self, offset: int, size: int) -> bool:
        """Read all blocks that the range touches, and say whether they are still what was received."""
        block_size = self.digest.block_size
        try:
            for index in range(offset // block_size, -(-(offset + size) // block_size)):
                self._checked(index, *self.digest.block_range(index))
        except SourceCorrupt:
            return False
        return True

    def _crc_of(self, offset: int, size: int) -> int:
        if (known := self.digest.crc_of(offset, size)) is not None:
            return known
        block_size, combined = self.digest.block_size, 0
        for index in range(offset // block_size, -(-(offset + size) // block_size)):
            begin, end = self.digest.block_range(index)
            low, high = max(begin, offset), min(end, offset + size)
            value = self.digest.block(index) if (low, high) == (begin, end) else self._checked(index, low, high)
            combined = combine_crc32c(combined, value, high - low)
        return combined

    def _checked(self, index: int, low: int, high: int) -> int:
        """The CRC32C of a piece of block `index`, after the whole block was compared with what was received."""
        begin, end = self.digest.block_range(index)
        before, wanted, after = (self._read_crc(*piece) for piece in ((begin, low), (low, high), (high, end)))
        whole = combine_crc32c(combine_crc32c(before, wanted, high - low), after, end - high)
        if whole != self.digest.block(index):
            raise SourceCorrupt(f"Bytes {begin} to {end} of the staged file changed after it was accepted.")
        return wanted

    def _read_crc(self, begin: int, end: int) -> int:
        value = 0
        try:
            with FileBody(self.path, self.start + begin, end - begin).open() as reader:
                while data := reader.read(_READ_SIZE):
                    value = crc32c(data, value)
        except ShortBody as error:
            raise SourceCorrupt(error.detail) from error
        return value
