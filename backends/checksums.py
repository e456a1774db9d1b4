"""CRC32C in the spellings used here: an `int` in memory, `crc32c:<base64 of 4 big-endian bytes>` as text."""

from __future__ import annotations

from base64 import b64decode, b64encode

from awscrt import checksums as _awscrt

PREFIX = "crc32c:"


def crc32c(data: bytes | bytearray | memoryview, previous: int = 0) -> int:
    """The CRC32C of `data`, continuing from `previous`."""
    value: int = _awscrt.crc32c(data, previous)
    return value


def combine_crc32c(first: int, second: int, second_size: int) -> int:
    """The CRC32C of two blocks of bytes one after the other, without looking at the bytes again."""
    value: int = _awscrt.combine_crc32c(first, second, second_size)
    return value


def crc32c_text(value: int) -> str:
    """For example `crc32c:yZRlqg==`."""
    return PREFIX + b64encode(value.to_bytes(4, "big")).decode("ascii")


def crc32c_value(text: str) -> int | None:
    """The inverse of `crc32c_text`; None for any other text."""
    if not text.startswith(PREFIX):
        return None
    try:
        raw = b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 4 else None
