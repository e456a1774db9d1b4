"""A source whose bytes are somewhere else, and are drawn range by range by whoever sends them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from backends.base import MIB, Body
from backends.body import BytesBody, FileRange
from backends.checksums import crc32c
from backends.errors import ConnectionFailed
from engine.disk import explain
from engine.errors import EngineError

IN_MEMORY = MIB
"""A range up to this size is held in memory, a larger one in a file without a name, which ends with its last user."""


class Origin(Protocol):
    """Where the bytes are, and what pins them."""

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """The range in blocks of about 1 MiB. When it ends without an error, it was that of the pinned content.

        Raises EngineError `source_missing`, `source_changed` or `source_refused`, or what may pass as a TransientError.
        """

    def check(self) -> None:
        """Raises like `read` unless the pinned content is still there."""


class DrawnSource:
    """Fits `engine.work.Source`. `going` raises when whoever draws has to stop; `scratch` is a directory for files."""

    def __init__(
        self, origin: Origin, size: int, crc: int | None, scratch: Path, going: Callable[[], None] = lambda: None
    ) -> None:
        self.origin = origin
        self.crc32c = crc
        self._size = size
        self._scratch = scratch
        self._going = going

    def body(self, offset: int, size: int) -> Body:
        """A range, drawn and summed here and now: sending it again asks nothing of its origin."""
        if size <= IN_MEMORY:
            data = bytearray()
            self._draw(offset, size, data.extend)
            return BytesBody(bytes(data))
        with self._written():
            file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115 - the body closes it
        try:
            return HeldBody(file, size, self._draw(offset, size, lambda block: self._write(file, block)))
        except BaseException:
            file.close()
            raise

    def read_through(self) -> int:
        """The CRC32C of the whole, for which nothing is kept."""
        return self._draw(0, self._size, lambda block: None)

    def intact(self, offset: int, size: int) -> bool:
        """Whether the pinned content is still there; what may pass counts as yes."""
        try:
            self.origin.check()
        except EngineError:
            return False
        return True

    def _draw(self, offset: int, size: int, keep: Callable[[bytes], object]) -> int:
        crc = seen = 0
        for block in self.origin.read(offset, size) if size else ():
            self._going()
            keep(block)
            crc = crc32c(block, crc)
            seen += len(block)
        if seen != size:
            raise ConnectionFailed(f"The source gave {seen} bytes where {size} were asked for.")
        if size == self._size and self.crc32c is None:
            self.crc32c = crc
        return crc

    def _write(self, file: BinaryIO, block: bytes) -> None:
        left = memoryview(block)
        with self._written():
            while left:
                left = left[file.write(left) :]

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explain(error, "holding a part of the source") from error


class HeldBody:
    """A drawn range in a file without a name. The file lives as long as this body or one of its readers."""

    def __init__(self, file: BinaryIO, size: int, crc: int) -> None:
        self._file = file
        self.size = size
        self.crc32c: int | None = crc

    def open(self) -> BinaryIO:
        return cast(BinaryIO, FileRange.of(self._file.fileno(), "part", self.size))

    def file(self) -> tuple[Path, int] | None:
        return None

    def __del__(self) -> None:
        self._file.close()
