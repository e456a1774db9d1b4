"""Reads one `[actors.NAME]` table of plugins.toml: an actor of the user's own application that jobs may name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from backends.destinations import Surroundings
from backends.expansion import expand

NAMESPACE = "dramatiq"
"""Where Dramatiq's Redis broker keeps its queues unless it is told otherwise."""
_KEYS = ("actor", "queue", "broker_url", "namespace")
_SCHEMES = ("redis", "rediss", "unix")
# Dramatiq's own rule for queues (dramatiq/actor.py, 2.2); names of actors and namespaces it takes as they are.
_QUEUE = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]{0,127}")
_WORD = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True)
class UserActor:
    """What a message needs to reach it."""

    name: str
    """What jobs call it."""
    actor: str
    queue: str = "default"
    namespace: str = NAMESPACE
    broker_url: str | None = field(default=None, repr=False)
    """None: the broker of Bucketline itself. It may hold a password."""


def read_actor(name: str, table: dict[str, Any], around: Surroundings) -> UserActor | None:
    """The actor, or None after recording what is wrong with the table."""
    place, faults = f"[actors.{name}]", around.faults
    before = len(faults.found)
    for key in table:
        if key not in _KEYS:
            faults.add_unknown(f"{place} {key}", "key", key, _KEYS)
    actor = _text(table, "actor", name, _WORD, place, around)
    queue = _text(table, "queue", "default", _QUEUE, place, around)
    namespace = _text(table, "namespace", NAMESPACE, _WORD, place, around)
    url = _broker_url(table.get("broker_url"), f"{place} broker_url", around)
    return None if len(faults.found) > before else UserActor(name, actor, queue, namespace, url)


def _text(
    table: dict[str, Any], key: str, default: str, form: re.Pattern[str], place: str, around: Surroundings
) -> str:
    where, before = f"{place} {key}", len(around.faults.found)
    given = expand(table.get(key, default), around.environ, around.faults, where)
    if len(around.faults.found) > before:
        return ""
    if not isinstance(given, str) or not form.fullmatch(given):
        around.faults.add(where, "is no name that Dramatiq takes", f'write it as in your code: {key} = "…"')
    return str(given)


def _broker_url(given: Any, where: str, around: Surroundings) -> str | None:
    """Never part of a message: it may hold a password."""
    if given is None:
        return None
    before = len(around.faults.found)
    text = expand(given, around.environ, around.faults, where)
    if len(around.faults.found) > before:
        return None
    parts = _parts(text)
    if parts is None:
        around.faults.add(where, "is no address of a Redis", "write redis://HOST:PORT/DATABASE, rediss://… or unix://…")
        return None
    if parts.password or "password=" in parts.query:
        around.check_secret(where, given)
    return str(text)


def _parts(text: Any) -> SplitResult | None:
    if not isinstance(text, str):
        return None
    try:
        found = urlsplit(text)
        known = found.scheme in _SCHEMES and (found.path if found.scheme == "unix" else found.hostname)
        return found if known and (found.port is None or found.port) else None
    except ValueError:
        return None
