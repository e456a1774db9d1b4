"""What is in force and where it came from: every setting, and every line of plugins.toml, with secrets masked."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from backends.config import Configuration
from backends.expansion import references
from backends.registry import Destination
from engine.config import NAMES, Settings, without_password

MASK = "***"
# What holds where a setting has no value.
UNSET = {
    "config_path": "a local directory below BUCKETLINE_DATA",
    "redis_url": "the one of `bucketline up`",
    "broker_url": "the same server's next database",
    "spool_limit": "90 % of the disk",
    "api_key": "none: this machine only",
    "token": "none",
    "max_size": "no limit",
}
# Common keys of a destination that its backend knows nothing of, as tables of the file.
_TABLES = ("capabilities", "properties", "faults")


class Entry(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """One value. `origin` is default, option, environment or file; `by` names the option, the variable or the file."""

    name: str
    value: Any
    origin: str = "default"
    by: str = ""


class Group(msgspec.Struct, frozen=True):
    """The entries of one table of the file. `at` is a destination's address."""

    name: str
    entries: list[Entry]
    at: str = ""


def settings_entries(settings: Settings, options: Mapping[str, str], environ: Mapping[str, str]) -> list[Entry]:
    """One entry for each variable. `options` are those of the command line, by the name of their setting."""
    shown = settings.shown()
    return [
        Entry(variable, plain(shown[name]), *_origin(variable, name, settings, options, environ))
        for variable, name in NAMES.items()
    ]


def _origin(
    variable: str, name: str, settings: Settings, options: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[str, str]:
    if name in options:
        return "option", options[name]
    if environ.get(variable):
        return "environment", variable
    if name == "config_path" and settings.config_path is not None:
        return "file", "./plugins.toml"
    if name == "token" and settings.token is not None:
        return "environment", "BUCKETLINE_API_KEY"
    if name == "broker_url" and settings.broker_url:
        return "environment", "BUCKETLINE_REDIS_URL"
    if name == "spool":
        return "default", "below BUCKETLINE_DATA"
    return "default", ""


def file_groups(settings: Settings, configuration: Configuration) -> list[Group]:
    """The tables of plugins.toml that holds now; without one, the local destination that is used instead."""
    document: dict[str, Any] = {}
    if settings.config_path is not None:
        document = tomllib.loads(settings.config_path.read_text(encoding="utf-8"))
    file = str(settings.config_path or "")
    top = _Table(document, file)
    groups = [Group("", [top.entry("default", configuration.default)])]
    for name, destination in configuration.destinations.items():
        table = _Table(_inside(document, "destinations", name), file)
        groups.append(Group(f"destinations.{name}", list(_destination(destination, table)), destination.url_for("")))
    for name, members in configuration.routes.items():
        groups.append(Group(f"routes.{name}", [Entry("mirror", members, "file", file)]))
    for name, credential in configuration.credentials.items():
        table = _Table(_inside(document, "credentials", name), file)
        entries = list(table.inner("headers", dict(credential.headers), secret=True))
        groups.append(Group(f"credentials.{name}", [*entries, table.entry("hosts", sorted(credential.origins))]))
    if configuration.webhooks.keys:
        table = _Table(_inside(document, "webhooks"), file)
        groups.append(Group("webhooks", [table.entry("secret", [MASK] * len(configuration.webhooks.keys))]))
    for name, actor in configuration.actors.items():
        table = _Table(_inside(document, "actors", name), file)
        shown = {"actor": actor.actor, "queue": actor.queue, "namespace": actor.namespace}
        shown |= {"broker_url": actor.broker_url} if actor.broker_url else {}
        groups.append(Group(f"actors.{name}", [table.entry(key, value) for key, value in shown.items()]))
    return groups


def _inside(document: dict[str, Any], *path: str) -> dict[str, Any]:
    found: Any = document
    for step in path:
        found = found.get(step, {})
    return dict(found)


class _Table:
    """One table as the file has it: where each of its values comes from."""

    def __init__(self, table: dict[str, Any], file: str) -> None:
        self._table = table
        self._file = file

    def given(self, key: str) -> Any:
        return self._table.get(key)

    def entry(self, key: str, value: Any, *, secret: bool = False) -> Entry:
        shown = MASK if secret and value is not None else plain(value)
        return Entry(key, shown, *self._from(key, self._table.get(key)))

    def inner(self, key: str, values: Mapping[str, Any], *, secret: bool = False) -> Iterator[Entry]:
        """One entry for each value of an inner table."""
        table = self._table.get(key, {})
        for name, value in values.items():
            origin = self._from(key, table.get(name) if isinstance(table, dict) else table)
            yield Entry(f"{key}.{name}", MASK if secret else plain(value), *origin)

    def _from(self, key: str, written: Any) -> tuple[str, str]:
        if f"{key}_file" in self._table and written is None:
            return "file", str(Path(self._file).parent / Path(self._table[f"{key}_file"]).expanduser())
        if written is None:
            return "default", ""
        if variables := references(written):
            return "environment", ", ".join(variables)
        return "file", self._file


def _destination(destination: Destination, table: _Table) -> Iterator[Entry]:
    """Backend, its options, and what every destination has; without options that are not set and have no default."""
    yield table.entry("backend", destination.backend)
    for key, value in msgspec.structs.asdict(destination.options).items():
        secret = key in destination.plugin.secrets
        if isinstance(value, dict):
            yield from table.inner(key, value, secret=secret)
        elif value is not None:
            yield table.entry(key, value, secret=secret)
    yield table.entry("prefix", destination.prefix)
    if destination.key_template is not None:
        yield table.entry("key_template", destination.key_template)
    limits = {"part_size": destination.part_size, "concurrency": destination.concurrency}
    yield from table.inner("limits", {key: value for key, value in limits.items() if value is not None})
    for key in _TABLES:
        yield from table.inner(key, table.given(key) or {})


def plain(value: Any) -> Any:
    """A value as JSON has it; an address without its password."""
    if isinstance(value, str):
        return without_password(value) if "://" in value else value
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return msgspec.to_builtins(value, enc_hook=str)
