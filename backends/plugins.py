"""What is wrong with somebody's plug-in or backend before it is used, in words: a shape that is not the contract's."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends.base import (
    FURTHER_PROPERTIES,
    Backend,
    Capabilities,
    CopiesServerSide,
    DeletesObjects,
    ListsParts,
    ListsSessions,
    Plugin,
    Presigns,
    PutsWhole,
    ReadsRanges,
)

COMMON_KEYS = ("backend", "prefix", "key_template", "limits", "capabilities", "properties", "faults")
"""Keys of every destination's table: no backend has an option of that name."""
CHECKSUMS = ("crc32c", "sha256")
MEMBERS = ("name", "Options", "secrets", "capabilities", "url", "build")
VERBS = ("begin", "put_part", "complete", "abort", "stat", "close")
ABILITIES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "PutsWhole": (PutsWhole, ("put_whole",)),
    "ListsParts": (ListsParts, ("list_parts",)),
    "ListsSessions": (ListsSessions, ("list_sessions",)),
    "ReadsRanges": (ReadsRanges, ("read_range",)),
    "DeletesObjects": (DeletesObjects, ("delete",)),
    "Presigns": (Presigns, ("presign",)),
    "CopiesServerSide": (CopiesServerSide, ("can_copy_from", "copy_from")),
}


def plugin_faults(plugin: Any) -> list[str]:
    """Why this is no plug-in; empty when it is one."""
    lacking = [name for name in MEMBERS if not hasattr(plugin, name)]
    if lacking:
        return [f"it lacks {', '.join(lacking)}"]
    options = plugin.Options
    if not (isinstance(options, type) and issubclass(options, msgspec.Struct)):
        return ["Options is no subclass of msgspec.Struct"]
    fields = msgspec.structs.fields(options)
    known = [*(field.name for field in fields), *(field.encode_name for field in fields)]
    return [*_option_faults(plugin, known), *_misfits(plugin, Plugin, ("capabilities", "url", "build"))]


def _option_faults(plugin: Any, known: list[str]) -> Iterator[str]:
    taken = sorted({*COMMON_KEYS} & {*known})
    if taken:
        yield f"Options has {', '.join(taken)}, which every destination has already"
    if isinstance(plugin.secrets, str) or not isinstance(plugin.secrets, Iterable):
        yield "secrets is no set of names"
    else:
        yield from (
            f"secrets names {name!r}, which Options does not have" for name in plugin.secrets if name not in known
        )
    endpoint = getattr(plugin, "endpoint", None)
    if endpoint is not None and endpoint not in known:
        yield f"endpoint names {endpoint!r}, which Options does not have"


def claim_faults(claims: object) -> list[str]:
    """Why these are no capabilities; empty when they are."""
    if not isinstance(claims, Capabilities):
        return [f"capabilities gives {type(claims).__name__}, not Capabilities"]
    try:
        msgspec.convert(msgspec.structs.asdict(claims), Capabilities)
    except msgspec.ValidationError as error:
        return [f"capabilities are wrong: {error}"]
    unknown = [name for name in claims.checksums if name not in CHECKSUMS]
    found = [f"capabilities.checksums has {name!r}; known are {', '.join(CHECKSUMS)}" for name in unknown]
    unknown = [name for name in claims.properties if name not in FURTHER_PROPERTIES]
    found += [f"capabilities.properties has {name!r}; known are {', '.join(FURTHER_PROPERTIES)}" for name in unknown]
    if not 0 < claims.min_part <= claims.max_part:
        found.append("capabilities have no part size: 0 < min_part <= max_part")
    return found


def failure(error: Exception, plugin: Plugin, options: msgspec.Struct) -> str:
    """An error that a plug-in should not have raised: its kind, its words without a secret, and where it was."""
    text = f"{type(error).__name__}: {error}"
    for secret in (getattr(options, name, None) for name in plugin.secrets):
        text = text.replace(secret, "***") if isinstance(secret, str) and secret else text
    [*_, last] = traceback.extract_tb(error.__traceback__)
    return f"{text} ({Path(last.filename).name}, line {last.lineno})"


def backend_faults(backend: object) -> list[str]:
    """Why what `build` gave is no backend: verbs it lacks, and methods that cannot be called as the contract does."""
    lacking = [name for name in VERBS if not callable(getattr(backend, name, None))]
    if not hasattr(backend, "capabilities"):
        lacking.append("capabilities")
    found = [f"{type(backend).__name__} is no backend: it lacks {', '.join(lacking)}"] if lacking else []
    found += _misfits(backend, Backend, [name for name in VERBS if name not in lacking])
    for protocol, names in ABILITIES.values():
        if isinstance(backend, protocol):
            found += _misfits(backend, protocol, names)
    return found


def _misfits(made: object, protocol: type, names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        try:
            _bind(getattr(made, name), getattr(protocol, name))
        except TypeError as error:
            found.append(f"{name} cannot be called as backends.base says: {error}")
    return found


def _bind(method: Callable[..., object], contract: Callable[..., object]) -> None:
    """Raises `TypeError` unless the method takes what the contract's method is called with."""
    try:
        takes = inspect.signature(method)
    except ValueError:
        return  # made of C: it does not tell
    wanted = list(inspect.signature(contract).parameters.values())[1:]
    named = {one.name: None for one in wanted if one.kind is one.KEYWORD_ONLY}
    takes.bind(*(None for one in wanted if one.kind is not one.KEYWORD_ONLY), **named)
