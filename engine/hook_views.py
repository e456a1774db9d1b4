"""How the delivery of an end stands, to a webhook or an actor, as the ledger keeps it and as clients see it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from engine.models import dumps
from engine.views import moment

KEPT = 20


class Delivery(NamedTuple):
    """What the id of a delivery says. `actor`: to whom, by its name in plugins.toml; '' for the webhook."""

    job: str
    run: int
    state: str
    actor: str


def read_delivery(text: str) -> Delivery:
    job, run, state, *actor = text.split(".")
    return Delivery(job, int(run), state, *actor) if actor else Delivery(job, int(run), state, "")


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One try: when, the HTTP status (None: no answer, and always for an actor), and what was wrong."""

    at_ms: int
    status: int | None
    error: str

    @property
    def arrived(self) -> bool:
        """Only 2xx is success; a broker gives no status, and what it took without an error is there."""
        return not self.error if self.status is None else 200 <= self.status < 300


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
    found, about = read_standing(text), read_delivery(delivery)
    last = found.attempts[-1] if found.attempts else None
    return {
        "id": delivery,
        "type": f"job.{about.state}",
        "actor": about.actor or None,
        "state": found.state,
        "created_at": moment(found.created_ms),
        "next_attempt_at": moment(next_ms) if found.state == "pending" else None,
        "status": last.status if last else None,
        "error": last.error or None if last else None,
        "attempts": [
            {"at": moment(one.at_ms), "status": one.status, "error": one.error or None} for one in found.attempts
        ],
    }
