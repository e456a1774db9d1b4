"""Words shared by the modelled commands: how arguments are read and how replies are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

from tests.simulation.keyspace import Keyspace, ReplyError

Arguments = tuple[bytes, ...]
Reply = int | bytes | None | list["Reply"]
Command = Callable[[Keyspace, Arguments], Reply]

NOT_INTEGER = "ERR value is not an integer or out of range"
NOT_FLOAT = "ERR value is not a valid float"
SYNTAX = "ERR syntax error"
OVERFLOW = "ERR increment or decrement would overflow"
INT64_MAX = 2**63 - 1


class Status(bytes):
    """A status reply such as `OK`: bytes for a client, a table with `ok` for a script."""


OK = Status(b"OK")

#: name → (least number of arguments, most or None, implementation)
COMMANDS: dict[bytes, tuple[int, int | None, Command]] = {}


def command(name: str, least: int, most: int | None = None) -> Callable[[Command], Command]:
    """Register the implementation of `name`, which takes between `least` and `most` arguments."""

    def register(implementation: Command) -> Command:
        COMMANDS[name.encode()] = (least, most, implementation)
        return implementation

    return register


def read_int(text: bytes, error: str = NOT_INTEGER) -> int:
    """A 64-bit integer in the only spelling Redis takes: no plus, no spaces, no leading zeros."""
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or (digits[0] == 48 and text != b"0"):
        raise ReplyError(error)
    value = int(text)
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise ReplyError(error)
    return value


def read_float(text: bytes, error: str = NOT_FLOAT) -> float:
    """A score: a decimal number or an infinity."""
    try:
        if not text or text[:1].isspace() or text[-1:].isspace() or b"_" in text:
            raise ValueError
        value = float(text)
    except ValueError:
        raise ReplyError(error) from None
    if math.isnan(value):
        raise ReplyError(error)
    return value


def write_float(value: float) -> bytes:
    """A number as Redis prints it: whole numbers without a point, others in the shortest exact form."""
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    if value == int(value) and abs(value) < 2**63 // 2:
        return b"%d" % int(value)
    number = Decimal(repr(value)).normalize()
    _, digits, scale = number.as_tuple()
    assert isinstance(scale, int)
    magnitude = abs(scale + len(digits) - 1)
    if (magnitude < len(digits) + 7) if scale >= 0 else (scale > -7 or magnitude < 4):
        return f"{number:f}".encode()
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}".encode()


def add(value: int, by: int) -> int:
    """The sum, or the error Redis gives when it leaves 64 bits."""
    total = value + by
    if not -INT64_MAX - 1 <= total <= INT64_MAX:
        raise ReplyError(OVERFLOW)
    return total


def span(start: int, stop: int, length: int) -> tuple[int, int]:
    """The half-open range that an inclusive Redis range with negative indexes means."""
    first = max(start + length, 0) if start < 0 else start
    last = stop + length if stop < 0 else min(stop, length - 1)
    return (first, last + 1) if first <= last and first < length else (0, 0)
