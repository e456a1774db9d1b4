"""Sizes as people write them in configuration: a number of bytes, or a whole number with a binary unit, `16MiB`."""

from __future__ import annotations

import re

from backends.base import GIB, KIB, MIB, TIB

UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_SIZE = re.compile(r"([0-9]{1,15})\s*([A-Za-z]*)")
_DECIMAL = {"K", "M", "G", "T", "KB", "MB", "GB", "TB"}


def parse_size(value: int | str) -> int:
    """Bytes as an int. Anything that is not clearly a size raises a ValueError that says how to write it."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('takes a size such as "16MiB", or a number of bytes')
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise ValueError(f'takes a size such as "16MiB", not {value!r}')
    number, unit = match.groups()
    if (unit or "B") in UNITS:
        return int(number) * UNITS[unit or "B"]
    if unit.upper() in _DECIMAL or unit.upper() in {known.upper() for known in UNITS}:
        raise ValueError(f'has no unit {unit!r}; write "{number}{unit[0].upper()}iB" if you mean powers of 1,024')
    raise ValueError(f"has no unit {unit!r}; the units are {', '.join(UNITS)}")


def format_size(size: int) -> str:
    """The shortest exact spelling, for example `16MiB` or `1000B`."""
    for unit, factor in reversed(UNITS.items()):
        if size % factor == 0 and size >= factor:
            return f"{size // factor}{unit}"
    return f"{size}B"
