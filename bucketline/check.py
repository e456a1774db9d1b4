"""`bucketline check`: proves the configuration, each destination by real work, and that Redis keeps what it is told."""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from bucketline import valkey
from bucketline.cli import say, settings_for
from bucketline.configuration import configuration_for
from bucketline.exits import FAILED, FINE, INTERRUPTED, USAGE, Failure
from bucketline.talk import print_json
from engine.config import Settings, without_password

AT_ONCE = 8


class Row(msgspec.Struct):
    """One thing that was checked. `detail` says what was seen, or what is wrong and what to do."""

    name: str
    kind: str
    ok: bool
    detail: str
    seconds: float | None = None
    warnings: list[str] = []


def run(arguments: argparse.Namespace) -> int:
    from backends.config import UnknownDestination

    settings = settings_for(arguments)
    configuration = configuration_for(settings)
    try:
        names = configuration.expand(arguments.names or list(configuration.destinations))
    except UnknownDestination as error:
        raise Failure(USAGE, str(error)) from None
    rows = _proven([configuration.destinations[name] for name in names])
    if not arguments.names:
        rows += [_actor(actor) for actor in configuration.actors.values() if actor.broker_url]
        rows += redis_rows(settings)
    if arguments.json:
        print_json({"ok": all(row.ok for row in rows), "checks": rows})
    else:
        _print(rows)
    return FINE if all(row.ok for row in rows) else FAILED


def _proven(destinations: list[Any]) -> list[Row]:
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return list(pool.map(_destination, destinations))
    except KeyboardInterrupt:
        # Threads that still wait for a store must not hold the terminal; what they wrote is below .bucketline-check/.
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _destination(destination: Any) -> Row:
    from backends.probe import probe

    result = probe(destination)
    seconds = sum(step.seconds for step in result.steps)
    wrong = [f"{step.step}: {step.detail}" for step in result.steps if not step.ok]
    done = ", ".join(step.step for step in result.steps)
    return Row(result.name, destination.backend, result.ok, "; ".join(wrong) or done, seconds)


def _actor(actor: Any) -> Row:
    """Whether its broker answers. Bucketline's own need not be asked for each actor."""
    import redis

    try:
        url, patience = actor.broker_url or "", {"socket_timeout": 5, "socket_connect_timeout": 5}
        with redis.Redis.from_url(url, **patience) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError, TypeError) as error:  # the last two: an option that is none
        return Row(actor.name, "actor", False, f"its broker does not answer ({type(error).__name__})")
    return Row(actor.name, "actor", True, f"its broker answers; {actor.actor} in queue {actor.queue}")


def redis_rows(settings: Settings) -> list[Row]:
    """What the ledger's Redis is set to; nothing when no Redis is named and no stack of ours runs."""
    url = settings.redis_url
    directory = settings.data / "valkey"
    if not url and valkey.answers(directory):
        url = valkey.url(directory)
    if not url:
        return []
    import redis

    shown = without_password(url)
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5, decode_responses=True) as client:
            return [Row("redis", shown, True, "answers", warnings=list(doubts(_redis_settings(client))))]
    except (redis.RedisError, OSError) as error:
        from engine.ledger import why_away

        return [Row("redis", shown, False, why_away(error))]


def _redis_settings(client: Any) -> dict[str, str]:
    """`appendonly` and `maxmemory-policy`; from INFO where a hosted Redis forbids CONFIG."""
    import redis

    try:
        found = {**client.config_get("appendonly"), **client.config_get("maxmemory-policy")}
    except redis.ResponseError:
        found = {}
    if len(found) < 2:
        persistence, memory = client.info("persistence"), client.info("memory")
        found.setdefault("appendonly", "yes" if persistence.get("aof_enabled") else "no")
        found.setdefault("maxmemory-policy", memory.get("maxmemory_policy", "unknown"))
    return found


def doubts(found: dict[str, str]) -> list[str]:
    """What in Redis's settings can lose jobs, and how to mend it."""
    told = []
    if found.get("appendonly") != "yes":
        told.append(
            "appendonly is off: a crash of Redis loses the jobs it knew (the spool brings them back); "
            "set `appendonly yes`"
        )
    if found.get("maxmemory-policy") != "noeviction":
        policy = found.get("maxmemory-policy")
        told.append(
            f"maxmemory-policy is {policy}: Redis may drop jobs when it is full; set `maxmemory-policy noeviction`"
        )
    return told


def _print(rows: list[Row]) -> None:
    from bucketline.jobs import table

    shown = [("CHECK", "KIND", "RESULT", "SECONDS", "DETAIL")]
    for row in rows:
        result = "ok" if row.ok and not row.warnings else "warning" if row.ok else "FAILED"
        shown.append((row.name, row.kind, result, "-" if row.seconds is None else f"{row.seconds:.2f}", row.detail))
    table(shown)
    for row in rows:
        for warning in row.warnings:
            say(f"warning: {row.name}: {warning}")
