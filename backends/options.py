"""Turns a destination's table into the options struct of its backend, and every mistake in it into a fault."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from backends.faults import FaultList, suggestion

_AT = re.compile(r" - at `\$([^`]*)`$")
_TYPES = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list"}


def read_options(
    table: Mapping[str, Any],
    kind: type[msgspec.Struct],
    *,
    place: str,
    folder: Path,
    faults: FaultList,
    common: Iterable[str] = (),
) -> msgspec.Struct | None:
    """The options, or None after recording why not. Relative paths are relative to `folder`.

    `common` are the keys of the table that are known to others; they are only named in suggestions.
    """
    before = len(faults.found)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in fields:
            faults.add_unknown(f"{place} {key}", "key", key, [*fields, *common])
            continue
        try:
            values[fields[key].name] = convert(value, fields[key].type, folder)
        except ValueError as error:
            faults.add(f"{place} {key}", str(error), _choices_hint(value, fields[key].type))
    for key, field in fields.items():
        if field.required and key not in table:
            faults.add(place, f"the key {key!r} is missing")
    if len(faults.found) > before:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        faults.add(place, str(error))
        return None


def convert(value: Any, kind: Any, folder: Path) -> Any:
    """`value` as `kind`, or a ValueError in words that never repeat the value."""
    try:
        return msgspec.convert(value, kind, dec_hook=lambda wanted, given: _path(wanted, given, folder))
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error))) from None


def _path(wanted: type, given: Any, folder: Path) -> Path:
    if wanted is not Path or not isinstance(given, str):
        raise ValueError("Expected a path")
    if not given or "\0" in given:
        raise ValueError("The path is empty or holds a NUL character")
    return folder / Path(given).expanduser()


def _in_words(message: str) -> str:
    """msgspec's message in plain words: "part takes a whole number, not text"."""
    at = _AT.search(message)
    inner = at.group(1).lstrip(".") + " " if at and at.group(1).startswith(".") else ""
    text = _AT.sub("", message)
    if text.startswith("Invalid enum value"):
        return f"{inner}is not one of the words it takes"
    mismatch = re.fullmatch(r"Expected `([^`]*)`, got `([^`]*)`", text)
    if mismatch:
        wanted = [_TYPES.get(name.strip(), name.strip()) for name in mismatch.group(1).split("|")]
        given = _TYPES.get(mismatch.group(2), mismatch.group(2))
        return f"{inner}takes {' or '.join(name for name in wanted if name != 'null')}, not {given}"
    return f"{inner}{text[:1].lower()}{text[1:]}"


def _choices_hint(value: Any, kind: Any) -> str:
    choices = [word for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
    return suggestion(value, choices) if isinstance(value, str) and choices else ""
