"""The arithmetic of parts: how many an object has, how large each is, and whether a list of receipts is all of them."""

from __future__ import annotations

from collections.abc import Iterable

from backends.base import Receipt
from backends.errors import InvalidRequest


def count(size: int, part_size: int) -> int:
    """How many parts an object has. An empty one has one empty part."""
    return max(1, -(-size // part_size))


def size_of(number: int, size: int, part_size: int) -> int:
    """How many bytes part `number` of an object of `size` bytes has; raises `InvalidRequest` if it has no such part."""
    if not 1 <= number <= count(size, part_size):
        raise InvalidRequest(
            f"There is no part {number}: {size} bytes in parts of {part_size} have {count(size, part_size)}."
        )
    return min(part_size, size - (number - 1) * part_size)


def in_order(receipts: Iterable[Receipt], *, size: int, part_size: int) -> list[Receipt]:
    """The receipts by number; raises `InvalidRequest` unless they are exactly the object's parts, each of its size."""
    found = sorted(receipts, key=lambda receipt: receipt.number)
    numbers = [receipt.number for receipt in found]
    if numbers != list(range(1, count(size, part_size) + 1)):
        raise InvalidRequest(
            f"The upload needs each of its {count(size, part_size)} parts once; {len(found)} were given."
        )
    for receipt in found:
        if receipt.size != size_of(receipt.number, size, part_size):
            raise InvalidRequest(f"Part {receipt.number} has {receipt.size} bytes, which is not its planned size.")
    return found
