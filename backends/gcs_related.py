"""The body of an upload by the JSON API: a document that describes the object, then the bytes, in one request."""

from __future__ import annotations

import io
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from backends.base import Body
from backends.checksums import combine_crc32c, crc32c

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Related:
    """`multipart/related` around `body`, whose CRC32C is `crc`. Nothing of it but the description is in memory.

    Its own CRC32C is that of everything, so `Transport` withholds the closing boundary of a body that changed; without
    it, there is nothing that a server could take for an upload.
    """

    def __init__(self, description: bytes, content_type: str, body: Body, crc: int) -> None:
        boundary = token_hex(16)
        self.content_type = f"multipart/related; boundary={boundary}"
        start, after = f"--{boundary}\r\ncontent-type: ", "\r\n\r\n"
        self._head = b"".join(
            [f"{start}application/json; charset=UTF-8{after}".encode(), description, b"\r\n",
             f"{start}{content_type}{after}".encode()]
        )  # fmt: skip
        self._body = body
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.size = len(self._head) + body.size + len(self._tail)
        with_body = combine_crc32c(crc32c(self._head), crc, body.size)
        self.crc32c: int | None = crc32c(self._tail, with_body)

    def open(self) -> BinaryIO:
        segments = [(io.BytesIO(self._head), len(self._head)), (self._body.open(), self._body.size)]
        return cast(BinaryIO, _Segments([*segments, (io.BytesIO(self._tail), len(self._tail))]))

    def file(self) -> tuple[Path, int] | None:
        return None


class _Segments(io.RawIOBase):
    """Reads one reader after the other, of each so many bytes. Where one ends early, everything ends."""

    def __init__(self, segments: list[tuple[BinaryIO, int]]) -> None:
        self._segments = segments

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while self._segments:
            reader, left = self._segments[0]
            if left:
                count: int = cast(Any, reader).readinto(view[:left]) or 0
                self._segments[0] = (reader, left - count)
                return count
            self._segments.pop(0)
            reader.close()
        return 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        for reader, _ in self._segments:
            reader.close()
        super().close()
