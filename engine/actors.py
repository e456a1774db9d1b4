"""The actors: what a token makes a worker do. All else about it (lease, retries, progress) is middleware."""

from __future__ import annotations

import time

import dramatiq
from dramatiq import Broker

from backends.errors import BackendError
from engine import notices
from engine.driver import perform
from engine.errors import EngineError
from engine.retry import GivenBack
from engine.runtime import Runtime, current
from engine.tokens import CARRY, CHECK, queue_of

EXPECTED = (BackendError, EngineError, GivenBack)


def declare(broker: Broker, runtime: Runtime) -> None:
    """Binds the actors to a broker: one for each lane, each with its queue; the first lane has the best priority."""
    node = runtime.settings.node

    def carry(transfer: str, mint: int) -> None:
        errand = current.get()
        if errand is not None:
            errand.outcome = perform(runtime, errand)

    def check(name: str, request: str) -> None:
        runtime.ledger.run(notices.note_check(request, name, check_result(runtime, name)))

    for rank, (lane, name) in enumerate(CARRY.items()):
        queue = queue_of(lane, node)
        dramatiq.actor(actor_name=name, queue_name=queue, priority=10 * rank, broker=broker, throws=EXPECTED)(carry)
    small = queue_of("small", node)
    dramatiq.actor(actor_name=CHECK, queue_name=small, priority=0, broker=broker, throws=EXPECTED)(check)


def check_result(runtime: Runtime, name: str) -> dict[str, object]:
    """A real write, read back and delete at a destination, as JSON-able values."""
    runtime.refresh()
    destination = runtime.configuration.destinations.get(name)
    from backends.probe import probe  # only a check needs it

    at = int(time.time() * 1000)
    if destination is None:
        return {
            "name": name,
            "ok": False,
            "at_ms": at,
            "steps": [{"step": "configuration", "ok": False, "detail": "not in plugins.toml"}],
        }
    result = probe(destination)
    steps = [{"step": s.step, "ok": s.ok, "detail": s.detail, "seconds": round(s.seconds, 4)} for s in result.steps]
    return {"name": name, "ok": result.ok, "at_ms": at, "steps": steps}
