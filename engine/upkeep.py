"""The operations that keep the ledger in order: sweeping, reconciling; values like those of operations.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.models import dumps
from engine.operations import Operation
from engine.records import (
    Sweep,
    counted_tokens,
    pairs,
    text,
    texts,
)


def sweep(
    worker: str,
    info: dict[str, Any],
    node: str,
    limit: int = 200,
    room: tuple[int, int] = (1000, 1000),
    swept_ms: int = 0,
) -> Operation[Sweep]:
    """One round of the sweeper: looks at what is due, says what to do about it.

    room: how many tokens the queue of small steps, and that of parts, may be given in this round.
    """

    def read(reply: list[Any]) -> Sweep:
        epoch, mints, releasable, dead, forgotten, now, before = reply
        tokens = counted_tokens(texts(mints))
        jobs = texts(releasable), texts(dead)
        return Sweep(int(epoch) if epoch else None, tokens, *jobs, int(forgotten), int(now), int(before))

    return Operation("sweep", (worker, dumps(info), node, limit, *room, swept_ms), read)


def released(node: str, jobs: Mapping[str, int]) -> Operation[str]:
    """The node looked after finished jobs' spool files; job → when to look again in ms, 0: for good."""
    return Operation("released", (node, *(word for pair in jobs.items() for word in pair)), text)


def dump(jobs: Sequence[str]) -> Operation[list[tuple[dict[str, str], list[dict[str, str]]] | None]]:
    """The hashes of jobs and their transfers as their tombstones keep them; None for each that is unknown."""

    def read(reply: list[Any]) -> list[tuple[dict[str, str], list[dict[str, str]]] | None]:
        return [(pairs(one[0]), [pairs(transfer) for transfer in one[1:]]) if one else None for one in reply]

    return Operation("dump", tuple(jobs), read)


def restore(job: str, fields: dict[str, str], transfers: list[dict[str, str]]) -> Operation[bool]:
    """Puts the end of a job back into a ledger that lost it."""
    return Operation("restore", (job, dumps({"job": fields, "transfers": transfers})), bool)


def mark_reconciled(at_least: int = 0, seen: int = 0) -> Operation[int]:
    """Writes the next epoch: the ledger has been compared with the spool."""
    return Operation("epoch", (at_least, seen), int)


def suspect_sessions() -> Operation[int]:
    """After a rollback: every active transfer may have a session that the ledger does not know."""
    return Operation("suspect", (), int)


def orphans() -> Operation[tuple[int | None, dict[str, str]]]:
    """The epoch (None: not reconciled yet), and by transfer the JSON of each session that could not be aborted."""
    return Operation("orphans", (), lambda reply: (int(reply[0]) if reply[0] else None, pairs(reply[1])))


def buried(transfer: str, written: str) -> Operation[int]:
    """A session on record, as it was read, is gone at its provider."""
    return Operation("buried", (transfer, written), int)
