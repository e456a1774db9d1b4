"""The operations on Idempotency-Keys, as values like those of operations.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.models import Once
from engine.operations import Operation, milliseconds
from engine.records import text, texts


class Answered(NamedTuple):
    """What the first request was told. status 0: that was not written down, only which jobs it made."""

    status: int
    location: str
    body: bytes
    jobs: list[str]


class Verdict(NamedTuple):
    """What a claim came to: mine, other (payload), busy, done, or look (on the disk, for these ids)."""

    word: str
    left_ms: int = 0
    ids: str = ""
    answered: Answered | None = None


def claim(once: Once, lease_seconds: float, node: str, looked: str = "") -> Operation[Verdict]:
    """Asks to be the first request with this key. looked: the `ids` of the verdict before; `*` for none."""

    def read(reply: list[Any]) -> Verdict:
        word = text(reply[0])
        if word == "busy":
            return Verdict(word, left_ms=int(reply[1]))
        if word == "look":
            return Verdict(word, ids=text(reply[1]))
        if word == "done":
            status, location, body, *jobs = reply[1:]
            return Verdict(word, answered=Answered(int(status or 0), text(location), bytes(body), texts(jobs)))
        return Verdict(word)

    args = (once.name, once.fingerprint, once.fence, milliseconds(lease_seconds), node, looked)
    return Operation("once_claim", args, read)


def renew(once: Once, lease_seconds: float, node: str, jobs: Sequence[str] = ()) -> Operation[bool]:
    """The request lives, and is about to make these jobs; False when another one has taken the key over."""
    lease_ms = milliseconds(lease_seconds)
    return Operation("once_renew", (once.name, once.fingerprint, once.fence, lease_ms, node, *jobs), bool)


def answer(once: Once, status: int, location: str, body: bytes) -> Operation[bool]:
    """Writes down what the client is told."""
    return Operation("once_answer", (once.name, once.fence, status, location, body), bool)


def release(once: Once) -> Operation[bool]:
    """The request failed: the next one with this key is the first."""
    return Operation("once_release", (once.name, once.fence), bool)
