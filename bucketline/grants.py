"""What a new API key may do, as the options of `bucketline keys add` say it."""

import argparse
import re
import time
from datetime import UTC, date, datetime
from typing import Any

from backends.sizes import parse_size
from bucketline.exits import USAGE, Failure
from bucketline.words import nearest
from engine.config import Settings

_UNITS = {"m": 60, "h": 3600, "d": 86_400}


def grant(arguments: argparse.Namespace, settings: Settings) -> Any:
    """Scopes, destinations, folders and largest file; like all here, Failure(2) for what cannot be meant."""
    from engine.access import SCOPES, Grant, folder

    scopes = tuple(dict.fromkeys(one for text in arguments.scope or ["submit,read,control"] for one in _words(text)))
    for scope in scopes:
        if scope not in SCOPES:
            raise Failure(
                USAGE, f"there is no scope {scope!r}{nearest(scope, SCOPES)}", f"there are {', '.join(SCOPES)}"
            )
    try:
        prefixes = tuple(dict.fromkeys(folder(one) for one in arguments.prefix or []))
    except ValueError as error:
        raise Failure(USAGE, f"--prefix: {error}") from None
    return Grant(
        scopes=scopes,
        destinations=_destinations(arguments.to or [], settings),
        prefixes=prefixes,
        max_size=_size("--max-size", arguments.max_size),
    )


def _destinations(names: list[str], settings: Settings) -> tuple[str, ...]:
    from bucketline.configuration import configuration_for

    if not names:
        return ()
    configuration = configuration_for(settings)
    known = {**configuration.destinations, **configuration.routes}
    for name in names:
        if name not in known:
            raise Failure(USAGE, f"there is no destination or route {name!r}{nearest(name, known)}")
    return tuple(dict.fromkeys(names))


def quotas(arguments: argparse.Namespace) -> Any:
    """How much at most; None for what is not limited."""
    from engine.access import Quotas

    for name in ("requests_per_minute", "jobs"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise Failure(USAGE, f"--{name.replace('_', '-')} takes a number of at least 1")
    return Quotas(
        requests_per_minute=arguments.requests_per_minute,
        bytes_per_day=_size("--bytes-per-day", arguments.bytes_per_day),
        jobs=arguments.jobs,
    )


def label(text: str) -> str:
    """What the key is for."""
    if not text.strip() or not text.isprintable() or len(text) > 100:
        raise Failure(USAGE, "a key's name is printable text of up to 100 characters")
    return text.strip()


def _size(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        size = parse_size(text)
    except ValueError as error:
        raise Failure(USAGE, f"{option} {error}") from None
    if size < 1:
        raise Failure(USAGE, f"{option} takes a size of at least 1 byte")
    return size


def expiry(text: str | None) -> int:
    """The moment in milliseconds that `90d`, `12h` or `2027-01-31` (its end, UTC) means; 0 for never."""
    if text is None:
        return 0
    now_ms = int(time.time() * 1000)
    match = re.fullmatch(r"(\d{1,5})([mhd])", text)
    try:
        if match:
            at_ms = now_ms + int(match[1]) * _UNITS[match[2]] * 1000
        else:
            day = date.fromisoformat(text)
            at_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + 86_400) * 1000
    except (ValueError, OverflowError):
        raise Failure(
            USAGE, f"--expires takes a time such as 90d or 12h, or a date as 2027-01-31, not {text!r}"
        ) from None
    if at_ms <= now_ms:
        raise Failure(USAGE, f"--expires {text} is over already")
    return at_ms


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
