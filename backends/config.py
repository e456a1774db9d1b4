"""Reads plugins.toml: which destinations and routes there are, and every fault in the file at once."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backends import registry
from backends.base import MIB
from backends.credentials import Credential, read_credential
from backends.destinations import NOT_YET, Surroundings, read_destination
from backends.faults import ConfigurationError, Fault, FaultList, nearest
from backends.registry import Destination
from backends.signing_secrets import Secrets, read_secrets
from backends.user_actors import UserActor, read_actor

__all__ = ["Configuration", "ConfigurationError", "Fault", "UnknownDestination", "load"]

_LARGEST_FILE = MIB
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOP = ("default", "destinations", "routes", "credentials", "webhooks", "actors")
_ROUTE = ("mirror", "done_when")


class UnknownDestination(LookupError):
    """Neither a destination nor a route has this name; `nearest` is the one that was probably meant, or None."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.nearest = nearest(name, known)
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        super().__init__(f"There is no destination or route {name!r}.{hint}")


@dataclass(frozen=True)
class Configuration:
    """The destinations and routes of one file, all of them valid."""

    default: str
    """The destination or route that is used when a job names none."""
    destinations: dict[str, Destination]
    routes: dict[str, list[str]] = field(default_factory=dict)
    """The destinations of each route; a copy goes to every one of them."""
    credentials: dict[str, Credential] = field(default_factory=dict)
    """What imports from the web may be authorized with."""
    webhooks: Secrets = field(default_factory=Secrets)
    """What webhooks are signed with."""
    actors: dict[str, UserActor] = field(default_factory=dict)
    """Whom a job may have called at its end."""
    files: tuple[Path, ...] = ()
    """Files beside plugins.toml that secrets were read from."""

    @classmethod
    def local(cls, root: Path) -> Configuration:
        """What is used without a file: one destination `local`, which keeps objects below `root`."""
        plugin = registry.plugin("local")
        options = plugin.Options(root=root.absolute())
        destination = Destination("local", plugin, options, plugin.capabilities(options))
        return cls("local", {"local": destination})

    def expand(self, names: Iterable[str]) -> list[str]:
        """The destinations that `names`, destinations or routes, stand for: each once, in order of appearance."""
        found: dict[str, None] = {}
        for name in names:
            if name in self.routes:
                found.update(dict.fromkeys(self.routes[name]))
            elif name in self.destinations:
                found[name] = None
            else:
                raise UnknownDestination(name, [*self.destinations, *self.routes])
        return list(found)


def load(
    path: Path, environ: Mapping[str, str] = os.environ, *, reserved: Mapping[str, Path] | None = None
) -> Configuration:
    """Read the file, or raise `ConfigurationError` with all its faults.

    `reserved` are directories that no destination may lie in or contain, by what to call them: `{"the spool": …}`.
    """
    faults = FaultList(str(path))
    document, world_readable = _parse(path, faults)
    around = Surroundings(path.absolute().parent, environ, reserved or {}, world_readable, faults)
    configuration = _read(document, around)
    faults.raise_if_any(around.files)
    return replace(configuration, files=tuple(around.files))


def _parse(path: Path, faults: FaultList) -> tuple[dict[str, Any], bool]:
    """The TOML document, and whether everybody can read it; raises at once when there is no document."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
            world_readable = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
        if len(raw) > _LARGEST_FILE:
            faults.add("", "the file is larger than 1 MiB", "this cannot be a configuration")
        elif raw.startswith(b"\xef\xbb\xbf"):
            faults.add("", "the file starts with a byte order mark", "save it as UTF-8 without BOM")
        else:
            return tomllib.loads(raw.decode()), world_readable
    except OSError as error:
        faults.add("", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        faults.add("", f"byte {error.start} is not UTF-8", "save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        faults.add("", f"is no valid TOML: {error}")
    except RecursionError:
        faults.add("", "is nested too deeply")
    raise ConfigurationError(faults.found)


def _read(document: dict[str, Any], around: Surroundings) -> Configuration:
    """What the document says; it counts only if no fault was recorded."""
    faults = around.faults
    for key in document:
        if key not in _TOP:
            faults.add_unknown(key, "key", key, _TOP)
    tables, routes = _tables(document, "destinations", faults), _tables(document, "routes", faults)
    if not tables and not faults.found:
        faults.add("", "there is no destination", "add a table such as [destinations.media]")
    made = {name: read_destination(name, table, around) for name, table in tables.items()}
    for name in routes:
        if name in tables:
            faults.add(f"[routes.{name}]", f"a destination is called {name!r} too", "choose another name")
    mirrors = {name: _mirror(table, list(tables), f"[routes.{name}]", faults) for name, table in routes.items()}
    default = _default(document.get("default"), [*tables, *routes], faults)
    named = _tables(document, "credentials", faults)
    credentials = {name: read_credential(name, table, around) for name, table in named.items()}
    actors = {name: read_actor(name, table, around) for name, table in _tables(document, "actors", faults).items()}
    return Configuration(
        default,
        {name: item for name, item in made.items() if item},
        mirrors,
        {name: item for name, item in credentials.items() if item},
        read_secrets(document.get("webhooks"), around),
        {name: item for name, item in actors.items() if item},
    )


def _tables(document: dict[str, Any], group: str, faults: FaultList) -> dict[str, dict[str, Any]]:
    """The named tables of a group, without those that are none."""
    found = document.get(group, {})
    if not isinstance(found, dict):
        faults.add(group, f"takes tables such as [{group}.media]")
        return {}
    for name, table in found.items():
        if not isinstance(table, dict):
            faults.add(f"{group}.{name}", f"is no table; write [{group}.{name}]")
        elif not _NAME.fullmatch(name):
            faults.add(f"[{group}.{name!r}]", "a name has 1 to 64 letters, digits, - and _")
    return {name: table for name, table in found.items() if isinstance(table, dict)}


def _default(given: Any, known: list[str], faults: FaultList) -> str:
    if given is None and len(known) <= 1:
        return known[0] if known else ""
    if given is None:
        faults.add("default", "is missing", f"name one of: {', '.join(sorted(known))}")
    elif not isinstance(given, str):
        faults.add("default", "takes the name of a destination or route")
    elif given not in known:
        faults.add_unknown("default", "destination or route", given, known)
    return str(given)


def _mirror(table: dict[str, Any], destinations: list[str], place: str, faults: FaultList) -> list[str]:
    """The destinations of a route."""
    for key in table:
        if key == "failover":
            faults.add(f"{place} failover", NOT_YET, "use mirror")
        elif key not in _ROUTE:
            faults.add_unknown(f"{place} {key}", "key", key, _ROUTE)
    if table.get("done_when", "all") != "all":
        faults.add(f"{place} done_when", NOT_YET, 'leave it out, or write "all"')
    if "failover" in table and "mirror" not in table:
        return []
    mirror = table.get("mirror")
    if not isinstance(mirror, list) or not mirror or not all(isinstance(item, str) for item in mirror):
        faults.add(f"{place} mirror", "takes a list of destinations")
        return []
    for item in mirror:
        if item not in destinations:
            faults.add_unknown(f"{place} mirror", "destination", item, destinations)
    if len(set(mirror)) < len(mirror):
        faults.add(f"{place} mirror", "names a destination twice")
    return mirror
