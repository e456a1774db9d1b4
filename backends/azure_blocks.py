"""Names of blocks, the lists of them, and the body that computes Azure's CRC-64 while it is read."""

from __future__ import annotations

import re
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from xml.etree import ElementTree

from awscrt.checksums import crc64nvme

from backends.base import Body
from backends.body import ReaderAround
from backends.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_NAME = re.compile(r"([0-9a-f]{16})(\d{5})([0-9a-f]{16})([0-9a-f]{8})")


class Block(NamedTuple):
    """One staged block. Its name says whose it is, which part, when it was sent, and the CRC32C of its bytes.

    The moment tells which of two blocks for one part came later. All names have the same length, as Azure wants it.
    """

    session: str
    number: int
    moment: int
    crc32c: int
    size: int = 0

    @property
    def id(self) -> str:
        name = f"{self.session}{self.number:05d}{self.moment:016x}{self.crc32c:08x}"
        return b64encode(name.encode()).decode()

    @property
    def etag(self) -> str:
        return f"{self.moment:016x}{self.crc32c:08x}"


def new_block(session: str, number: int, crc32c: int) -> Block:
    return Block(session, number, time.time_ns(), crc32c)


def latest(document: bytes, session: str, doing: str) -> dict[int, Block]:
    """Of the uncommitted blocks that the session staged, the last of each part."""
    try:
        root = ElementTree.fromstring(document)
        found = [_parsed(block) for block in root.iterfind("UncommittedBlocks/Block")]
    except (ElementTree.ParseError, ValueError):
        raise Unavailable(f"Cannot {doing}: the provider's answer is no list of blocks.") from None
    ours = [block for block in found if block is not None and block.session == session]
    return {block.number: block for block in sorted(ours, key=lambda block: block.moment)}


def block_list(blocks: list[Block]) -> bytes:
    """The document that makes these blocks, in this order, the blob. None but uncommitted ones count."""
    named = "".join(f"<Uncommitted>{block.id}</Uncommitted>" for block in blocks)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{named}</BlockList>'.encode()


def crc64_text(value: int) -> str:
    """As Azure writes it: base64 of 8 little-endian bytes."""
    return b64encode(value.to_bytes(8, "little")).decode()


def crc64_of(body: Body) -> int:
    """Read the whole body once."""
    counted = Counted(body)
    buffer = bytearray(1024 * 1024)
    with counted.open() as reader:
        while cast(Any, reader).readinto(buffer):
            pass
    return counted.crc64


class Counted:
    """A body that knows, after each reading, the CRC-64 of what was read."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.size = body.size
        self.crc32c: int | None = body.crc32c
        self.crc64 = 0

    def open(self) -> BinaryIO:
        self.crc64 = 0
        return cast(BinaryIO, _CountingReader(self._body.open(), self))

    def file(self) -> tuple[Path, int] | None:
        return self._body.file()

    def count(self, data: memoryview) -> None:
        self.crc64 = crc64nvme(data, self.crc64)


class _CountingReader(ReaderAround):
    def __init__(self, reader: BinaryIO, counted: Counted) -> None:
        super().__init__(reader)
        self._counted = counted

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count: int = cast(Any, self._reader).readinto(buffer) or 0
        self._counted.count(memoryview(buffer).cast("B")[:count])
        return count


def _parsed(element: ElementTree.Element) -> Block | None:
    """The block, or None if another tool staged it."""
    try:
        found = _NAME.fullmatch(b64decode(element.findtext("Name") or "").decode("ascii"))
    except ValueError:
        return None
    if found is None:
        return None
    size = int(element.findtext("Size") or "")
    return Block(found[1], int(found[2]), int(found[3], 16), int(found[4], 16), size)
