"""Files as bodies of requests: read once in a stream, or again and again in pieces. Only reading them blocks."""

import io
import os
from collections.abc import Callable
from typing import BinaryIO, NamedTuple, Self

from bucketline.faults import ClientError

# Small enough that httpcore, which copies what a socket did not take, seldom copies much; large enough for 1 GB/s.
READ_SIZE = 256 << 10

OnSent = Callable[[int], None]


class Stream:
    """`size` bytes of a file from where it stands, read once, in blocks; with None until it ends, as a pipe does."""

    def __init__(self, file: BinaryIO, size: int | None, on_sent: OnSent | None = None) -> None:
        self.size = size
        self._file = file
        self._on_sent = on_sent or unheard
        self._sent = 0

    @classmethod
    def of(cls, file: BinaryIO, on_sent: OnSent | None = None) -> Self:
        """All that is left of a file."""
        return cls(file, size_of(file), on_sent)

    def read(self) -> bytes:
        """The next block; empty at the end. A file that became shorter is an error, and not a shorter file."""
        left = READ_SIZE if self.size is None else min(READ_SIZE, self.size - self._sent)
        block = self._file.read(left)
        if left and not block and self.size is not None:
            raise ClientError(
                f"the file changed while it was being sent: {self._sent} bytes came of {self.size}; "
                "send the same file, or begin anew"
            )
        return block

    def sent(self, block: bytes) -> None:
        """To be called when a block was handed over."""
        self._sent += len(block)
        self._on_sent(self._sent)


class Piece(Stream):
    """Some bytes of a file, from an absolute place on."""

    def __init__(self, file: BinaryIO, place: int, size: int) -> None:
        super().__init__(file, size)
        self._place = place

    def read(self) -> bytes:
        self._file.seek(self._place + self._sent)
        return super().read()


class Rewindable(NamedTuple):
    """A file that can be read again at any place; `start` is where its first byte stands."""

    file: BinaryIO
    start: int
    size: int

    @classmethod
    def of(cls, file: BinaryIO) -> Self:
        size = size_of(file)
        if size is None:
            raise ClientError("a pipe cannot be read again after a break: use submit(), or give a file")
        return cls(file, file.tell(), size)

    def piece(self, offset: int, most: int) -> Piece:
        return Piece(self.file, self.start + offset, min(most, self.size - offset))


def size_of(file: BinaryIO) -> int | None:
    """Bytes from the file's position to its end; None for a pipe. ClientError for what is no binary file."""
    given: object = file
    if isinstance(given, io.TextIOBase) or not hasattr(given, "read"):
        kind = type(given).__name__
        raise ClientError(f'a file is a path or a binary file object (open(…, "rb"), io.BytesIO(…)), not {kind}')
    try:
        here = file.tell()
        size = file.seek(0, os.SEEK_END) - here
        file.seek(here)
        return size
    except OSError:
        return None


def unheard(_sent: int) -> None:
    """Nobody asked how far it is."""
