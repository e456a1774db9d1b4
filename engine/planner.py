"""How a file is cut into parts: as small as gives good progress, as large as the destination's limits ask for."""

from __future__ import annotations

from typing import NamedTuple, Protocol

KIB = 1024
MIB = 1024 * KIB
PREFERRED_PART = 16 * MIB
PLANNED_PARTS = 9000  # stay well under a provider's max_parts (10,000 mostly)


class Limits(Protocol):
    """The numbers of `backends.base.Capabilities` that a plan depends on; all but max_parts in bytes."""

    @property
    def min_part(self) -> int: ...
    @property
    def max_part(self) -> int: ...
    @property
    def part_multiple(self) -> int: ...
    @property
    def max_parts(self) -> int: ...
    @property
    def max_object(self) -> int: ...


class Unplannable(ValueError):
    """No part size satisfies the limits; the text says which limit is in the way."""


class Plan(NamedTuple):
    """The part ranges of a transfer: equal parts of `part_size` bytes, the last one may be smaller. An empty file has
    one empty part.
    """

    size: int
    part_size: int

    @property
    def total(self) -> int:
        return max(1, -(-self.size // self.part_size))

    def range(self, number: int) -> tuple[int, int]:
        """Offset and size of part `number` (from 1)."""
        if not 1 <= number <= self.total:
            raise IndexError(f"part {number} of {self.total}")
        offset = (number - 1) * self.part_size
        return offset, min(self.part_size, self.size - offset)


def plan(size: int, limits: Limits, wanted: int | None = None) -> Plan:
    """Cuts `size` bytes under `limits`; `wanted` is the operator's `limits.part_size`, raised when it would give too
    many parts.

    Raises Unplannable when the file is too large for the destination.
    """
    if size > limits.max_object:
        raise Unplannable(f"{size} bytes are more than the {limits.max_object} that one object may have there")
    floor = max(limits.min_part, wanted or PREFERRED_PART)
    parts = limits.max_parts if wanted else min(limits.max_parts, PLANNED_PARTS)
    needed = -(-size // parts)
    part_size = floor if needed <= floor else _round_up(needed, MIB)
    part_size = _round_up(part_size, limits.part_multiple)
    if part_size > limits.max_part:
        # The preference may be more than the provider takes in one part; then its own maximum is the part size.
        part_size = limits.max_part - limits.max_part % limits.part_multiple
    if part_size <= 0 or part_size < limits.min_part or -(-size // part_size) > limits.max_parts:
        raise Unplannable(f"{size} bytes do not fit {limits.max_parts} parts of at most {limits.max_part} bytes")
    return Plan(size, part_size)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
