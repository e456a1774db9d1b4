"""`bucketline gc`: lists and removes unfinished uploads at the destinations that no job owns any more."""

import argparse
import re
from datetime import UTC, datetime

from bucketline.cli import say, settings_for
from bucketline.configuration import configuration_for
from bucketline.exits import FAILED, FINE, USAGE, Failure
from bucketline.serve import redis_away, with_redis
from bucketline.talk import print_json

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TOLD = {
    "removed": "removed",
    "would_remove": "would be removed",
    "in_use": "in use",
    "too_young": "too young",
    "elsewhere": "left there",
    "failed": "FAILED",
}


def run(arguments: argparse.Namespace) -> int:
    from backends.config import UnknownDestination
    from engine.errors import LedgerUnavailable
    from engine.ledger import Ledger
    from engine.orphans import Unreconciled, collect

    older_than = seconds(arguments.older_than)
    settings = with_redis(settings_for(arguments))
    configuration = configuration_for(settings)
    try:
        names = configuration.expand(arguments.names or list(configuration.destinations))
    except UnknownDestination as error:
        raise Failure(USAGE, str(error)) from None
    ledger = Ledger(settings.redis_url)
    destinations = {name: configuration.destinations[name] for name in names}
    try:
        found = []
        for one in collect(ledger, destinations, older_than_seconds=older_than, dry_run=arguments.dry_run):
            found.append(one)
            if arguments.json:
                print_json(one)
    except LedgerUnavailable as error:
        raise redis_away(error) from None
    except Unreconciled:
        raise Failure(
            FAILED, "Redis does not know all jobs yet, so none can be said to be gone", "`bucketline recover` first"
        ) from None
    finally:
        ledger.close()
    if not arguments.json:
        _print(found, dry_run=arguments.dry_run)
    return FAILED if any(one.verdict == "failed" for one in found) else FINE


def seconds(text: str) -> float:
    """A duration such as `90m`, `24h` or `7d`; `0` for any age."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if text != "0" and match is None:
        raise Failure(USAGE, f"--older-than takes a time such as 24h or 7d, not {text!r}")
    return float(match[1]) * _UNITS[match[2]] if match else 0.0


def _print(found: list, *, dry_run: bool) -> None:  # type: ignore[type-arg]
    from bucketline.jobs import table

    if found:
        rows = [("DESTINATION", "BEGUN", "RESULT", "KEY", "DETAIL")]
        for one in found:
            begun = datetime.fromtimestamp(one.started_ms / 1000, UTC) if one.started_ms else None
            when = "on record" if one.on_record else f"{begun:%Y-%m-%d %H:%M}" if begun else "-"
            rows.append((one.destination, when, _TOLD[one.verdict], one.key, one.detail))
        table(rows)
    gone = sum(one.verdict in ("removed", "would_remove") for one in found)
    what = "would be removed" if dry_run else "removed"
    say(f"{gone or 'no'} unfinished upload{'' if gone == 1 else 's'} {what}")
