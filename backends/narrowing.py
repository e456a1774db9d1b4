"""Narrows what a backend claims to what one destination can really do; a claim is never widened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Capabilities
from backends.faults import FaultList
from backends.options import convert
from backends.sizes import format_size, parse_size

_SIZES = {"min_part", "max_part", "part_multiple", "max_object"}
_RAISED = {"min_part", "part_multiple", "uniform_parts"}
"""Capabilities that are stricter when they are larger; all others are stricter when they are smaller."""


def narrow(claimed: Capabilities, table: Mapping[str, Any], *, place: str, faults: FaultList) -> Capabilities:
    """`claimed` with the values of `table`; what is no capability, or would widen one, is recorded as a fault."""
    fields = {field.name: field for field in msgspec.structs.fields(Capabilities)}
    wanted: dict[str, Any] = {}
    for name, given in table.items():
        if name not in fields:
            faults.add_unknown(f"{place}.{name}", "capability", name, fields)
            continue
        try:
            value = parse_size(given) if name in _SIZES else convert(given, fields[name].type, Path())
        except ValueError as error:
            faults.add(f"{place}.{name}", str(error))
            continue
        limit = getattr(claimed, name)
        if _is_narrower(name, value, limit):
            wanted[name] = value
        else:
            faults.add(
                f"{place}.{name}", f"the backend's own value is {_shown(name, limit)}", "narrow it, not widen it"
            )
    narrowed = msgspec.structs.replace(claimed, **wanted)
    if narrowed.min_part > narrowed.max_part:
        faults.add(place, "min_part is larger than max_part")
    return narrowed


def _is_narrower(name: str, value: Any, limit: Any) -> bool:
    """Whether `value` asks for no more than `limit` allows."""
    if name in ("checksums", "properties"):
        return set(value) <= set(limit)
    if name == "part_multiple":
        return bool(value > 0 and value % limit == 0)
    if name in _RAISED:
        return bool(value >= limit)
    return value is False or 0 < value <= limit


def _shown(name: str, limit: Any) -> str:
    if name in _SIZES:
        return format_size(limit)
    return {True: "true", False: "false"}[limit] if isinstance(limit, bool) else str(limit)
