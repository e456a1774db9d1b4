"""The operations on a job whose file is still on its way, as values like those of operations.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.models import JobSpec, TransferPlan, dumps
from engine.operations import Operation, milliseconds
from engine.records import Token, counted_tokens, text, texts


class Heard(NamedTuple):
    """How the ledger answers a reception: the job's state, '' when it is gone, and the tokens to be sent."""

    state: str
    tokens: list[Token]


def receive(spec: JobSpec, size: int | None, reception_seconds: float, *, retained: bool = False) -> Operation[bool]:
    """The job exists from its first byte. False when the id is taken. `retained`: if its bytes never come it ends
    `expired`, and is kept like other finished jobs; else it is forgotten.
    """
    kept = spec.retain_seconds * 1000 if retained else ""
    lasts_ms = milliseconds(reception_seconds)
    args = (spec.id, dumps(spec), spec.owner, spec.node, "" if size is None else size, lasts_ms, kept)
    return Operation("receive", args, lambda reply: text(reply) == "created")


def early(spec: JobSpec, plans: Sequence[TransferPlan], size: int, lease_seconds: float, lost: bool) -> Operation[bool]:
    """What has come of it may be sent while the rest is coming. False when its transfers have begun, or it is over.

    lost: Redis has forgotten what had begun before, and the providers may not.
    """
    args = (spec.id, dumps(spec), size, milliseconds(lease_seconds * 2), "1" if lost else "", dumps(list(plans)))
    return Operation("early", args, bool)


def received(job: str, count: int, reception_seconds: float, readable: int = 0) -> Operation[Heard]:
    """The reception lives and has `count` bytes, of which workers can read so many."""

    def read(reply: list[Any]) -> Heard:
        words = texts(reply)
        return Heard(words[0], counted_tokens(words[1:]))

    return Operation("received", (job, count, milliseconds(reception_seconds), readable), read)


def discard(job: str) -> Operation[bool]:
    """Takes back a job whose reception was not accepted."""
    return Operation("discard", (job,), bool)


def expire(job: str) -> Operation[str]:
    """The bytes of this job will not come: it ends `expired`, if it was still being received. Answers its state."""
    return Operation("expire", (job,), text)
