"""The operations by which processes tell each other how things stand, as values like those of operations.py."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.measures import Batch
from engine.models import JOB_STATES, dumps
from engine.operations import Arg, Operation
from engine.records import (
    pairs,
    text,
)


def stats() -> Operation[dict[str, Any]]:
    """Counts by state, totals in bytes, active transfers, and the workers seen within 15 s with what they said of
    themselves.
    """

    def read(reply: list[Any]) -> dict[str, Any]:
        counts, totals, active, workers, now = reply
        rows = [
            {"name": text(workers[i]), "seen_ms": int(float(workers[i + 1])), **msgspec.json.decode(workers[i + 2])}
            for i in range(0, len(workers), 3)
        ]
        return {
            "jobs": {state: int(count) for state, count in zip(JOB_STATES, counts, strict=True)},
            "totals": {k: int(v) for k, v in pairs(totals).items()},
            "active": int(active),
            "workers": rows,
            "now_ms": int(now),
        }

    return Operation("stats", tuple(JOB_STATES), read)


def count(batch: Batch) -> Operation[bool]:
    """Adds up what a process counted; False when it was added before."""
    words: list[Arg] = [batch.process, batch.number]
    for name, amount in batch.amounts.items():
        words += (name, amount)
    return Operation("count", tuple(words), bool)


def counts() -> Operation[dict[str, str]]:
    """What all processes have counted, by name."""
    return Operation("counts", (), pairs)


def note_check(request: str, destination: str, result: dict[str, Any]) -> Operation[str]:
    """A worker checked a destination."""
    return Operation("note", (request, destination, dumps(result)), text)


def noted_checks(request: str = "") -> Operation[tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]]:
    """The result of one check (None: not yet), and the last result for every destination."""

    def read(reply: list[Any]) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
        health = {name: msgspec.json.decode(result) for name, result in pairs(reply[1]).items()}
        return (msgspec.json.decode(reply[0]) if reply[0] else None), health

    return Operation("noted", (request,), read)
