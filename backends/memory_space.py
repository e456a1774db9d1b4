"""What the memory backend keeps: parts, uploads and objects, in spaces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from backends import errors, parts
from backends.base import MIB, ObjectInfo, Properties, Receipt


@dataclass(frozen=True)
class StoredPart:
    """What was acknowledged for a part, and what is really kept; they differ only where a fault was asked for."""

    receipt: Receipt
    size: int
    crc32c: int
    data: bytearray


@dataclass
class Upload:
    key: str
    size: int
    part_size: int
    properties: Properties
    create_only: bool
    started_at_ms: int
    parts: dict[int, StoredPart] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredObject:
    info: ObjectInfo
    blocks: tuple[bytearray, ...]


class Space:
    """Objects and open uploads that several backends of one process share. `lock` guards both."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}

    def read(self, key: str) -> bytes:
        """The bytes of an object, for tests that look behind the backend's back."""
        return b"".join(self.objects[key].blocks)


def confirmed(upload: Upload, receipts: list[Receipt]) -> list[StoredPart]:
    """The stored parts that the receipts stand for, in order; raises if they were issued for other bytes."""
    stored = []
    for receipt in parts.in_order(receipts, size=upload.size, part_size=upload.part_size):
        part = upload.parts.get(receipt.number)
        if part is None:
            raise errors.InvalidRequest(f"Part {receipt.number} was never stored.")
        if part.receipt != receipt:
            raise errors.IntegrityError(f"The receipt of part {receipt.number} is not for the bytes that are stored.")
        stored.append(part)
    return stored


def blocks_of_range(blocks: tuple[bytearray, ...], offset: int, size: int) -> Iterator[bytes]:
    """These bytes, in blocks of at most 1 MiB."""
    for block in blocks:
        start, stop = min(offset, len(block)), min(offset + size, len(block))
        for position in range(start, stop, MIB):
            yield bytes(block[position : min(position + MIB, stop)])
        offset, size = max(offset - len(block), 0), size - (stop - start)
