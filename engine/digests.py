"""Digests of a file, computed while its bytes arrive: a CRC32C per block, from which that of any part is combined.

Blocks are 1 MiB, and larger for very large files, so that no file has more than `MAX_BLOCKS` of them: memory and the
record on disk stay bounded whatever the size.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from base64 import b64encode
from collections.abc import Collection
from typing import TypeAlias

import msgspec

from backends.checksums import combine_crc32c, crc32c

Bytes: TypeAlias = "bytes | bytearray | memoryview"

BLOCK_SIZE = 1 << 20
MAX_BLOCKS = 1 << 14  # 64 KiB of checksums at most; blocks stay at 1 MiB up to 16 GiB
ALGORITHMS = frozenset({"sha256", "sha512"})
"""What can be asked for beside the CRC32C, which is always computed."""


class Digest(msgspec.Struct, frozen=True, omit_defaults=True, rename={"checksum": "crc32c"}):
    """What is known about the bytes of one file; as JSON it is the `digest` of a sidecar.

    `checksum` is the CRC32C of the whole as 4 big-endian bytes, `blocks` that of each block in the same form,
    both base64 in JSON. The SHA digests are lower-case hex, and None when nobody asked for them.
    """

    size: int
    checksum: bytes
    block_size: int
    blocks: bytes
    sha256: str | None = None
    sha512: str | None = None

    @classmethod
    def unread(cls, size: int) -> Digest:
        """Of a file that nobody has read: its size is all that is known."""
        return cls(size=size, checksum=bytes(4), block_size=BLOCK_SIZE, blocks=b"")

    @property
    def crc32c(self) -> int:
        return int.from_bytes(self.checksum, "big")

    @property
    def crc32c_base64(self) -> str:
        """The spelling of the API and of S3, for example `yZRlqg==`."""
        return b64encode(self.checksum).decode("ascii")

    def block(self, index: int) -> int:
        """The CRC32C of block `index`, counted from 0."""
        return int.from_bytes(self.blocks[4 * index : 4 * index + 4], "big")

    def block_range(self, index: int) -> tuple[int, int]:
        """Where block `index` begins and ends."""
        begin = index * self.block_size
        return begin, min(begin + self.block_size, self.size)

    def crc_of(self, offset: int, size: int) -> int | None:
        """The CRC32C of a range that begins and ends at borders of blocks; None for any other range."""
        end = offset + size
        if offset % self.block_size or (end % self.block_size and end != self.size):
            return None
        if size == self.size:
            return self.crc32c
        combined = 0
        for index in range(offset // self.block_size, -(-end // self.block_size)):
            begin, stop = self.block_range(index)
            combined = combine_crc32c(combined, self.block(index), stop - begin)
        return combined


class Digester:
    """Sees the bytes of a file in order, in pieces of any size, and ends with their `Digest`."""

    def __init__(self, size: int | None = None, algorithms: Collection[str] = ()) -> None:
        """`size` is the size to expect; without it the block size is found on the way."""
        if unknown := set(algorithms) - ALGORITHMS:
            raise ValueError(f"unknown digest {', '.join(sorted(unknown))}; known are {', '.join(sorted(ALGORITHMS))}")
        self.size = 0
        self._block_size = BLOCK_SIZE
        while size is not None and size > self._block_size * MAX_BLOCKS:
            self._block_size *= 2
        self._blocks = array("I")
        self._current = 0
        self._room = self._block_size  # what the current block still lacks
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(self, data: Bytes) -> None:
        for running in self._hashes.values():
            running.update(data)
        self.size += len(data)
        if len(data) < self._room:  # nearly every call: pieces are smaller than blocks
            self._current = crc32c(data, self._current)
            self._room -= len(data)
            return
        rest = memoryview(data)
        while len(rest) >= self._room:
            taken = self._room
            self._end_block(crc32c(rest[:taken], self._current))
            rest = rest[taken:]
        if rest:
            self._current = crc32c(rest)
            self._room -= len(rest)

    def _end_block(self, value: int) -> None:
        self._blocks.append(value)
        if len(self._blocks) == MAX_BLOCKS:
            # Every two blocks become one of twice the size: a file of unknown length keeps its memory bounded.
            half = self._block_size
            pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
            self._blocks = array("I", [combine_crc32c(first, second, half) for first, second in pairs])
            self._block_size *= 2
        self._current = 0
        self._room = self._block_size

    def digest(self) -> Digest:
        """The digest of everything so far."""
        blocks = self._blocks[:]
        if self._room < self._block_size:
            blocks.append(self._current)
        whole = 0
        for index, value in enumerate(blocks):
            begin = index * self._block_size
            whole = combine_crc32c(whole, value, min(self._block_size, self.size - begin))
        if sys.byteorder == "little":
            blocks.byteswap()
        found = {name: running.hexdigest() for name, running in self._hashes.items()}
        return Digest(self.size, whole.to_bytes(4, "big"), self._block_size, blocks.tobytes(), **found)
