"""How a webhook's delivery stands, as the ledger keeps it and as clients see it."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.models import dumps
from engine.views import moment

KEPT = 20


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One try: when, the HTTP status (None: no answer), and what was wrong."""

    at_ms: int
    status: int | None
    error: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`tries` counts since the last replay; the oldest attempts are dropped."""

    state: str
    created_ms: int
    tries: int
    attempts: list[Attempt] = msgspec.field(default_factory=list)

    def after(self, attempt: Attempt, state: str) -> Standing:
        return msgspec.structs.replace(
            self, state=state, tries=self.tries + 1, attempts=[*self.attempts, attempt][-KEPT:]
        )


def read_standing(text: str | bytes) -> Standing:
    return msgspec.json.decode(text, type=Standing)


def replayed(text: str) -> bytes:
    """The same delivery from the beginning, with what was tried before."""
    return dumps(msgspec.structs.replace(read_standing(text), state="pending", tries=0))


def delivery_view(delivery: str, text: str | bytes, next_ms: int) -> dict[str, Any]:
    """One delivery as clients see it."""
    found = read_standing(text)
    last = found.attempts[-1] if found.attempts else None
    return {
        "id": delivery,
        "type": "job." + delivery.rpartition(".")[2],
        "state": found.state,
        "created_at": moment(found.created_ms),
        "next_attempt_at": moment(next_ms) if found.state == "pending" else None,
        "status": last.status if last else None,
        "error": last.error or None if last else None,
        "attempts": [
            {"at": moment(one.at_ms), "status": one.status, "error": one.error or None} for one in found.attempts
        ],
    }
