"""The operations on deliveries of webhooks, as values like those of operations.py."""

from __future__ import annotations

from typing import Any

from engine.operations import Arg, Operation, milliseconds
from engine.records import (
    texts,
)


def due_hooks(limit: int, claim_seconds: float) -> Operation[list[tuple[str, str]]]:
    """Deliveries that are due, each with how it stands; nobody else gets them for so long."""

    def read(reply: list[Any]) -> list[tuple[str, str]]:
        words = texts(reply)
        return list(zip(words[::2], words[1::2], strict=True))

    return Operation("hooks_due", (limit, milliseconds(claim_seconds)), read)


def note_hook(delivery: str, standing: bytes, delay_seconds: float | None, tried: str = "") -> Operation[bool]:
    """How a delivery stands; it is tried after the delay, or (None) no more. `tried`: how it stood when the try began.

    False, and nothing is changed, when it is not known any more, or stands otherwise meanwhile.
    """
    delay: Arg = "" if delay_seconds is None else milliseconds(delay_seconds)
    return Operation("hook_note", (delivery, standing, delay, tried), bool)


def hooks_of(job: str) -> Operation[dict[str, tuple[str, int]]]:
    """A job's deliveries: how each stands, and when it is tried next (0: no more)."""

    def read(reply: list[Any]) -> dict[str, tuple[str, int]]:
        words = texts(reply)
        rows = zip(words[::3], words[1::3], words[2::3], strict=True)
        return {one: (standing, int(float(due or 0))) for one, standing, due in rows}

    return Operation("hooks_of", (job,), read)
