"""Unfinished uploads at providers that no job owns any more: found, told apart from those in use, and aborted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from backends.base import Backend, ListsSessions, Session
from backends.errors import BackendError
from backends.registry import Destination
from engine import operations, upkeep
from engine.ledger import Ledger
from engine.models import JOB_OVER, JOB_STATES, TRANSFER_OVER
from engine.strays import CLOCK_SKEW_MS

Verdict = Literal["removed", "would_remove", "in_use", "too_young", "elsewhere", "failed"]
PAGE = 200


class Found(msgspec.Struct, kw_only=True):
    """One unfinished upload, and what became of it."""

    destination: str
    key: str
    verdict: Verdict
    started_ms: int | None = None
    on_record: bool = False
    """The ledger knew that it was left behind; else it was seen at the provider."""
    detail: str = ""


class Unreconciled(Exception):
    """The ledger does not know all jobs yet, so nothing can be said to be an orphan."""


def collect(
    ledger: Ledger, destinations: Mapping[str, Destination], *, older_than_seconds: float, dry_run: bool
) -> Iterator[Found]:
    """Everything unfinished at these destinations, as it is dealt with.

    Aborted are the sessions that the ledger has on record as left behind, and those at the provider whose key no
    unfinished job writes and that are older than `older_than_seconds`. Raises Unreconciled, LedgerUnavailable.
    """
    epoch, recorded = ledger.run(upkeep.orphans())
    if not epoch:
        raise Unreconciled
    for name, destination in destinations.items():
        try:
            backend = destination.build()
        except BackendError as error:
            yield Found(destination=name, key=destination.prefix, verdict="failed", detail=error.detail)
            continue
        try:
            yield from _recorded(ledger, destination, backend, recorded, dry_run=dry_run)
            yield from _seen(ledger, destination, backend, older_than_seconds, dry_run=dry_run)
        except BackendError as error:
            yield Found(destination=name, key=destination.prefix, verdict="failed", detail=error.detail)
        finally:
            backend.close()


def _recorded(
    ledger: Ledger, destination: Destination, backend: Backend, recorded: Mapping[str, str], *, dry_run: bool
) -> Iterator[Found]:
    for transfer, written in recorded.items():
        left: dict[str, Any] = msgspec.json.decode(written)
        if left["destination"] != destination.name:
            continue
        session = msgspec.json.decode(left["session"]) if left.get("session") else None
        found = Found(destination=destination.name, key=left["key"], verdict="would_remove", on_record=True)
        if left.get("fingerprint") != destination.fingerprint:
            found.verdict = "elsewhere"
            found.detail = "was begun on an earlier definition of this destination; put that back to remove it"
        elif not dry_run:
            _abort(backend, session, found)
            if found.verdict == "removed":
                ledger.run(upkeep.buried(transfer, written))
        yield found


def _seen(
    ledger: Ledger, destination: Destination, backend: Backend, older_than_seconds: float, *, dry_run: bool
) -> Iterator[Found]:
    if not isinstance(backend, ListsSessions):
        return
    now_ms = time.time() * 1000
    # First what is there, then what is in use: whatever was begun before the first look has its job in the second.
    seen = backend.list_sessions(destination.prefix)
    in_use = _keys_in_use(ledger, destination.name) if seen else set()
    for one in seen:
        found = Found(destination=destination.name, key=one.key, verdict="would_remove", started_ms=one.started_at_ms)
        if one.key in in_use:
            found.verdict = "in_use"
        elif older_than_seconds and now_ms - (one.started_at_ms or now_ms) < older_than_seconds * 1000 + CLOCK_SKEW_MS:
            found.verdict = "too_young"
        elif not dry_run:
            _abort(backend, one.session, found)
        yield found


def _abort(backend: Backend, session: Session | None, found: Found) -> None:
    try:
        if session is not None:
            backend.abort(session)
        found.verdict = "removed"
    except BackendError as error:
        found.verdict, found.detail = "failed", error.detail


def _keys_in_use(ledger: Ledger, destination: str) -> set[str]:
    """The full keys that unfinished jobs write at a destination, or may begin to write at any moment."""
    keys = set()
    for state in JOB_STATES:
        if state in JOB_OVER:
            continue
        after = ""
        while jobs := ledger.run(operations.page(f"jobs:{state}", after, PAGE)):
            after = jobs[-1]
            for record in ledger.run(operations.read_jobs(jobs)):
                keys |= {
                    one.fields["key"]
                    for one in (record.transfers if record else ())
                    if one.fields["destination"] == destination and one.fields["state"] not in TRANSFER_OVER
                }
    return keys
