"""Bodies that misbehave, each in one way."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from backends.body import BytesBody
from backends.errors import ShortBody

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class CutBody:
    """Promises more bytes than its reader yields before it ends as if nothing were wrong."""

    crc32c: int | None = None

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self.size = size

    def open(self) -> BinaryIO:
        return io.BytesIO(self._data)

    def file(self) -> tuple[Path, int] | None:
        return None


class BreakingBody(CutBody):
    """Fails where `CutBody` ends, as a source does whose file became unreadable."""

    def open(self) -> BinaryIO:
        return _BreakingReader(self._data)


class _BreakingReader(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) or self._break()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return super().readinto(buffer) or len(self._break())

    def _break(self) -> bytes:
        raise ShortBody("The source broke midway, as the conformance suite asked.")


class ChangedBody(BytesBody):
    """Holds other bytes than those its checksum was made for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.crc32c = (self.crc32c or 0) ^ 1
