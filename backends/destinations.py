"""Reads one `[destinations.NAME]` table of plugins.toml into a `Destination`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from backends import registry
from backends.base import KIB, TIB, Capabilities, Plugin, Properties
from backends.expansion import expand, has_reference
from backends.faults import FaultList
from backends.narrowing import narrow
from backends.options import convert, read_options
from backends.plugins import COMMON_KEYS, claim_faults, failure
from backends.registry import Destination
from backends.rehearsal import RehearsalFaults
from backends.sizes import format_size, parse_size

NOT_YET = "this version does not act on it"
PART_STEP = 64 * KIB
"""Part sizes are multiples of this, so that parts start where the checksum blocks of the spool do."""
CONCURRENCY = range(1, 65)
SECRET_NAME = re.compile(r"(?i)pass(word|wd|phrase|code)?$|secret|token|^auth$|^acct$")
"""Names of options that hold a secret, in a table of which not everything is one."""
_LARGEST_SECRET = 64 * KIB
_UNKNOWN = Capabilities(max_part=5 * TIB)
"""Stands in for capabilities that cannot be asked for, because the options are wrong; it finds no fault of its own."""


@dataclass(frozen=True)
class Surroundings:
    """What a destination's table is read against."""

    folder: Path
    """Relative paths are relative to it."""
    environ: Mapping[str, str]
    reserved: Mapping[str, Path]
    """Directories that no destination may lie in or contain, by what to call them."""
    world_readable: bool
    """Whether everybody on this machine can read the file."""
    faults: FaultList
    files: list[Path] = field(default_factory=list)
    """Other files that were read on the way; filled while reading."""

    def check_secret(self, where: str, text: str) -> None:
        """Records it when a secret stands in the clear where everybody can read it."""
        if self.world_readable and text and not has_reference(text):
            self.faults.add(
                where,
                "is a secret in a file that everybody on this machine can read",
                "take it from the environment with ${NAME}, or chmod o-r the file",
            )


@dataclass(frozen=True)
class Limits:
    part_size: int | None = None
    concurrency: int = 8


def read_destination(name: str, table: dict[str, Any], around: Surroundings) -> Destination | None:
    """The destination, or None after recording what is wrong with its table."""
    place, faults = f"[destinations.{name}]", around.faults
    before = len(faults.found)
    plugin = _plugin(table.get("backend"), place, faults)
    if plugin is None:
        return None
    _check_secrets(table, plugin, place, around)
    expanded = expand(table, around.environ, faults, place)
    if len(faults.found) > before:
        return None  # what is wrong with a value that could not be put in would only confuse
    own = {key: value for key, value in expanded.items() if key not in COMMON_KEYS}
    own = _with_secret_files(own, plugin, place, around)
    options = read_options(own, plugin.Options, place=place, folder=around.folder, faults=faults, common=COMMON_KEYS)
    capabilities = _UNKNOWN
    if options is not None:
        _check_paths(options, place, around)
        narrowing = _table(expanded, "capabilities", place, faults)
        capabilities = narrow(
            _claims(plugin, options, place, faults), narrowing, place=f"{place} capabilities", faults=faults
        )
    limits = _limits(_table(expanded, "limits", place, faults), capabilities, f"{place} limits", faults)
    prefix = _prefix(expanded.get("prefix", ""), place, faults)
    key_template = _text(expanded.get("key_template"), f"{place} key_template", faults)
    rehearsal = _rehearsal(_table(expanded, "faults", place, faults), f"{place} faults", faults)
    properties = _properties(_table(expanded, "properties", place, faults), f"{place} properties", faults)
    if options is None or len(faults.found) > before:
        return None
    made = Destination(
        name,
        plugin,
        options,
        capabilities,
        prefix=prefix,
        key_template=key_template,
        part_size=limits.part_size,
        properties=properties,
        concurrency=limits.concurrency,
        faults=rehearsal,
    )
    _check_objects(made, place, faults)
    return None if len(faults.found) > before else made


def _check_objects(made: Destination, place: str, faults: FaultList) -> None:
    """Whether the plug-in would refuse every object: for its prefix, or for what the table has them stored with."""
    try:
        for option, text in made.object_faults("x", made.properties):
            faults.add(f"{place} {'prefix' if option == 'key' else f'properties.{option}'}", text)
    except Exception as error:
        faults.add(f"{place} backend", f"backend {made.backend!r}: {failure(error, made.plugin, made.options)}")


def _plugin(name: Any, place: str, faults: FaultList) -> Plugin | None:
    if not isinstance(name, str):
        faults.add(f"{place} backend", "names the kind of storage", f"one of: {', '.join(registry.names())}")
        return None
    try:
        return registry.plugin(name)
    except registry.RegistryError as error:
        faults.add(f"{place} backend", str(error), error.hint)
        return None


def _claims(plugin: Plugin, options: msgspec.Struct, place: str, faults: FaultList) -> Capabilities:
    """What the plug-in claims; a bug of somebody else's plug-in is a fault of this destination, not an end of ours."""
    try:
        claims = plugin.capabilities(options)
        found = claim_faults(claims)
        if not isinstance(plugin.url(options, "x"), str):
            found.append("url gives no text")
    except Exception as error:
        found = [failure(error, plugin, options)]
    for text in found:
        faults.add(f"{place} backend", f"backend {plugin.name!r}: {text}")
    return _UNKNOWN if found else claims


def _check_secrets(table: Mapping[str, Any], plugin: Plugin, place: str, around: Surroundings) -> None:
    for key in sorted(plugin.secrets & table.keys()):
        for where, text in _secrets_in(key, table[key]):
            around.check_secret(f"{place} {where}", text)


def _secrets_in(place: str, value: Any, *, certain: bool = True) -> Iterator[tuple[str, str]]:
    """The texts of a secret option, with their places; of a table only those whose names are names of secrets."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets_in(f"{place}.{name}", item, certain=bool(SECRET_NAME.search(name)))
    elif isinstance(value, list):
        for item in value:
            yield from _secrets_in(place, item, certain=certain)
    elif isinstance(value, str) and certain:
        yield place, value


def _with_secret_files(table: dict[str, Any], plugin: Plugin, place: str, around: Surroundings) -> dict[str, Any]:
    """`secret_file = "/run/secrets/key"` stands for `secret`, with what is in the file (its last newline does not)."""
    found = dict(table)
    for key in sorted(plugin.secrets):
        if f"{key}_file" not in table:
            continue
        given = found.pop(f"{key}_file")
        if key in table:
            around.faults.add(f"{place} {key}_file", f"stands beside {key!r}", "give one of them")
        elif not isinstance(given, str) or not given:
            around.faults.add(f"{place} {key}_file", "takes the path of a file")
        else:
            path = around.folder / Path(given).expanduser()
            around.files.append(path)
            found[key] = _content_of(path, f"{place} {key}_file", around.faults)
    return found


def _content_of(path: Path, place: str, faults: FaultList) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        faults.add(place, f"cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
        return ""
    if not text.strip() or len(text) > _LARGEST_SECRET:
        faults.add(place, "is empty" if not text.strip() else "is too large for a secret")
    return text.removesuffix("\n")


def _check_paths(options: msgspec.Struct, place: str, around: Surroundings) -> None:
    paths = {key: value for key, value in msgspec.structs.asdict(options).items() if isinstance(value, Path)}
    for key, value in {**paths, **getattr(options, "directories", {})}.items():
        for what, reserved in around.reserved.items():
            path, kept = value.resolve(), reserved.resolve()
            if path.is_relative_to(kept) or kept.is_relative_to(path):
                around.faults.add(
                    f"{place} {key}", f"lies in {what} or contains it", "choose a directory apart from it"
                )


def _table(table: Mapping[str, Any], key: str, place: str, faults: FaultList) -> dict[str, Any]:
    found = table.get(key, {})
    if isinstance(found, dict):
        return found
    faults.add(f"{place} {key}", "takes a table, { name = value }")
    return {}


def _limits(table: dict[str, Any], capabilities: Capabilities, place: str, faults: FaultList) -> Limits:
    part_size, concurrency = None, Limits.concurrency
    for key, value in table.items():
        try:
            if key == "part_size":
                part_size = _part_size(value, capabilities)
            elif key == "concurrency":
                concurrency = _concurrency(value)
            elif key == "bandwidth":
                faults.add(f"{place}.bandwidth", NOT_YET, "leave it out")
            else:
                faults.add_unknown(f"{place}.{key}", "limit", key, ["part_size", "concurrency"])
        except ValueError as error:
            faults.add(f"{place}.{key}", str(error))
    return Limits(part_size, concurrency)


def _properties(table: dict[str, Any], place: str, faults: FaultList) -> Properties:
    fields = {one.name: one for one in msgspec.structs.fields(Properties)}
    found = {}
    for key, value in table.items():
        if key not in fields:
            faults.add_unknown(f"{place}.{key}", "property", key, fields)
            continue
        try:
            found[key] = convert(value, fields[key].type, Path())
        except ValueError as error:
            faults.add(f"{place}.{key}", str(error))
    return Properties(**found)


def _rehearsal(table: dict[str, Any], place: str, faults: FaultList) -> RehearsalFaults | None:
    sizes: dict[str, Any] = {}
    for key in ("throttle", "cut_at"):
        if key in table:
            try:
                sizes[key] = parse_size(str(table[key]).removesuffix("/s"))
            except ValueError as error:
                faults.add(f"{place}.{key}", str(error))
                sizes[key] = 1
    found = read_options({**table, **sizes}, RehearsalFaults, place=place, folder=Path(), faults=faults)
    return cast(RehearsalFaults, found) if table else None


def _part_size(value: Any, capabilities: Capabilities) -> int:
    size = parse_size(value)
    least, most = max(capabilities.min_part, PART_STEP), capabilities.max_part
    if not least <= size <= most:
        raise ValueError(f"must be between {format_size(least)} and {format_size(most)} for this backend")
    for step in (PART_STEP, capabilities.part_multiple):
        if size % step:
            raise ValueError(f"must be a multiple of {format_size(step)}")
    return size


def _concurrency(value: Any) -> int:
    number: int = convert(value, int, Path())
    if number not in CONCURRENCY:
        raise ValueError(f"must be between {CONCURRENCY[0]} and {CONCURRENCY[-1]}")
    return number


def _prefix(value: Any, place: str, faults: FaultList) -> str:
    text = _text(value, f"{place} prefix", faults, may_be_empty=True) or ""
    if text.startswith("/") or any(step in (".", "..") for step in text.split("/")):
        faults.add(f"{place} prefix", "must be a relative path without `.` and `..`", 'for example "uploads/"')
    return text


def _text(value: Any, place: str, faults: FaultList, *, may_be_empty: bool = False) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        faults.add(place, "takes text")
    elif not value and not may_be_empty:
        faults.add(place, "is empty", "leave it out")
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        faults.add(place, "holds a control character")
    else:
        return value
    return None
