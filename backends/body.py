"""Bodies: byte sequences of known length that can be read again from the start, so that any send can be repeated."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from backends import checksums
from backends.base import MIB, Body
from backends.errors import IntegrityError, ShortBody

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class BytesBody:
    """A body held in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.crc32c: int | None = checksums.crc32c(data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self._data)

    def file(self) -> tuple[Path, int] | None:
        return None


class FileBody:
    """The `size` bytes of a file that start at `offset`. Nothing is opened before somebody reads."""

    def __init__(self, path: Path, offset: int, size: int, crc32c: int | None = None) -> None:
        self.path = path
        self.offset = offset
        self.size = size
        self.crc32c = crc32c

    def open(self) -> BinaryIO:
        return cast(BinaryIO, FileRange(self.path, self.offset, self.size))

    def file(self) -> tuple[Path, int] | None:
        return self.path, self.offset


class OpenFileBody:
    """The `size` bytes from `offset` of a file that is open already, by its own copy of the descriptor: whatever
    becomes of the file's name, this reads the same file.
    """

    def __init__(self, fd: int, name: str, offset: int, size: int, crc32c: int | None = None) -> None:
        self._fd = os.dup(fd)
        self._name = name
        self._offset = offset
        self.size = size
        self.crc32c = crc32c

    def open(self) -> BinaryIO:
        return cast(BinaryIO, FileRange.of(self._fd, self._name, self.size, self._offset))

    def file(self) -> tuple[Path, int] | None:
        return None

    def __del__(self) -> None:
        if (fd := getattr(self, "_fd", -1)) >= 0:
            os.close(fd)


class FileRange(io.RawIOBase):
    """A reader of a range of a file: it ends where the range ends, and raises `ShortBody` if the file ends before.

    Reads are positional, so many ranges of one file can be read at once, and return all that was asked for or, at the
    end of the range, all that is left.
    """

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._fd = -1
        self._name = path.name
        self._start = offset
        self._size = size
        self._position = 0
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ShortBody(f"The source file {self._name} cannot be opened: {error.strerror}.") from error

    @classmethod
    def of(cls, fd: int, name: str, size: int, offset: int = 0) -> FileRange:
        """A reader of a range of a file that is open already, from its own copy of the descriptor."""
        made = cls.__new__(cls)
        made._fd, made._name, made._start, made._size, made._position = os.dup(fd), name, offset, size, 0
        return made

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        if not wanted:
            return b""
        try:
            data = os.pread(self._fd, wanted, self._start + self._position)
        except OSError as error:
            raise self._unreadable(error) from error
        self._advance(len(data))
        # One call returns everything but at the end of the file, or beyond the 2 GiB that Linux reads at most at once.
        return data if len(data) == wanted else data + self.read(wanted - len(data))

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        filled = 0
        while filled < len(view):
            try:
                count = os.preadv(self._fd, [view[filled:]], self._start + self._position)
            except OSError as error:
                raise self._unreadable(error) from error
            self._advance(count)
            filled += count
        return filled

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        if position < 0:
            raise ValueError("seek before the start of the body")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()

    @property
    def _left(self) -> int:
        return max(self._size - self._position, 0)

    def _advance(self, count: int) -> None:
        if not count:
            raise ShortBody(
                f"The source file {self._name} ends at byte {self._start + self._position}, "
                f"where {self._start + self._size} bytes were promised."
            )
        self._position += count

    def _unreadable(self, error: OSError) -> ShortBody:
        return ShortBody(f"The source file {self._name} cannot be read: {error.strerror}.")


class ReaderAround(io.RawIOBase):
    """A reader that does something more when another one is read; closing it closes the other."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._reader.close()
        super().close()


def copy(body: Body, write: Callable[[memoryview], object], *, block_size: int = MIB) -> int:
    """Hand the bytes of `body` to `write`, block by block, and return their CRC32C.

    The block is only valid during the call. A body that yields fewer or more bytes than its size, or other bytes than
    its CRC32C says, raises `ShortBody` or `IntegrityError`, after `write` has seen what came before.
    """
    block = memoryview(bytearray(min(block_size, max(body.size, 1))))
    checksum, left = 0, body.size
    with body.open() as reader:
        while left:
            filled = reader.readinto(block[:left])  # type: ignore[attr-defined]  # BinaryIO does not name it
            if not filled:
                raise ShortBody(f"The source ended {left} bytes before the {body.size} bytes it promised.")
            checksum = checksums.crc32c(block[:filled], checksum)
            write(block[:filled])
            left -= filled
        if reader.read(1):
            raise IntegrityError(f"The source goes on after the {body.size} bytes it promised.")
    if body.crc32c is not None and checksum != body.crc32c:
        raise IntegrityError("The source has changed since it was received: its CRC32C is another.")
    return checksum
