"""Puts the values of environment variables into configuration: `${NAME}` becomes the value, `$${` a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backends.faults import FaultList, nearest

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def has_reference(text: str) -> bool:
    """Whether `text` takes anything from the environment."""
    return any(match.group(1) is not None for match in _REFERENCE.finditer(text))


def references(value: Any) -> list[str]:
    """The variables that `value`, also a table or a list, is made from, each once."""
    if isinstance(value, str):
        return list(dict.fromkeys(name for match in _REFERENCE.finditer(value) if (name := match.group(1)) is not None))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return list(dict.fromkeys(name for item in items for name in references(item)))


def expand(value: Any, environ: Mapping[str, str], faults: FaultList, place: str) -> Any:
    """`value` with all references in its strings replaced once; what a variable holds is never expanded again."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _replacement(match, environ, faults, place), value)
    if isinstance(value, dict):
        return {key: expand(item, environ, faults, _join(place, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, environ, faults, place) for item in value]
    return value


def _join(place: str, key: str) -> str:
    return f"{place} {key}" if place.endswith("]") else f"{place}.{key}"


def _replacement(match: re.Match[str], environ: Mapping[str, str], faults: FaultList, place: str) -> str:
    name = match.group(1)
    if name is None:
        return "${"
    if not match.group(2) or not _NAME.fullmatch(name):
        faults.add(place, f"{match.group()!r} names no variable", "write ${NAME}, or $${ for a literal ${")
    elif name not in environ:
        # Names of one family look alike: AWS_SECRET_ACCESS_KEY is not what was meant by AWS_ACCESS_KEY_ID.
        near = nearest(name, environ, cutoff=0.8)
        hint = f"did you mean {near!r}?" if near else "set it, or leave the line out if it is optional"
        faults.add(place, f"the variable {name} is not set", hint)
    else:
        return environ[name]
    return ""
