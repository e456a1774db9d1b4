"""Leases a step for each token, before its actor runs, and keeps the leases of running errands alive."""

from __future__ import annotations

from typing import Any

import structlog
from dramatiq import Broker, Middleware
from dramatiq.broker import MessageProxy
from dramatiq.middleware import SkipMessage

from backends.tracing import traceparent
from engine import leases
from engine.errors import EngineError, LedgerUnavailable, problem_of
from engine.records import Lease
from engine.runtime import Errand, Runtime, current
from engine.tokens import CARRY

log = structlog.get_logger("bucketline.lease")

POISON = problem_of(
    EngineError(
        f"{leases.POISON_CRASHES} workers in a row were lost while they worked on this step; "
        "it was given up before it takes more with it. "
        "Look for memory limits and at the workers' logs, then retry the job.",
        code="poison",
    )
)


class Leasing(Middleware):
    """No lease, no work. Every error here becomes SkipMessage: Dramatiq swallows other ones, and the actor would run
    all the same.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        current.set(None)
        if message.actor_name not in CARRY.values():
            return
        asked_at = self.runtime.monotonic()  # the lease may have begun any moment after
        try:
            found = self._lease(*message.args)
        except BaseException as error:
            raise SkipMessage(f"no lease: {type(error).__name__}") from error
        if isinstance(found, str):
            raise SkipMessage(found)
        errand = Errand(found, asked_at, self.runtime.monotonic())
        self.runtime.errands[errand.lease.fence] = errand
        current.set(errand)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**errand.lease.names)
        traceparent.set(errand.lease.spec.traceparent)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        errand = current.get()
        if errand is not None:
            self.runtime.errands.pop(errand.lease.fence, None)
            structlog.contextvars.clear_contextvars()
            traceparent.set("")
        current.set(None)

    def _lease(self, transfer: str, mint: int) -> Lease | str:
        runtime = self.runtime
        operation = leases.lease(transfer, mint, runtime.fence(), runtime.settings.lease_seconds, POISON)
        # A token is worth waiting for Redis: its loss would cost the transfer seconds, not the ledger anything.
        return runtime.ledger.insist(operation, stopped=runtime.stopping.is_set)


def renew_forever(runtime: Runtime) -> None:
    """Prolongs the leases of running errands three times per lease; the body of one thread per process."""
    while not runtime.interrupted.wait(runtime.settings.lease_seconds / 3):
        errands = [errand for errand in list(runtime.errands.values()) if not errand.lost]
        if not errands:
            continue
        asked_at = runtime.monotonic()
        try:
            kept = runtime.ledger.run(
                leases.renew([errand.lease for errand in errands], runtime.settings.lease_seconds)
            )
        except LedgerUnavailable:
            continue  # the errands notice by themselves when their time has run out
        for errand, mine in zip(errands, kept, strict=True):
            if mine:
                errand.renewed_at = asked_at
            else:
                errand.lost = True
                if errand.outcome is not None or errand not in list(runtime.errands.values()):
                    continue  # it was done, and reported, while we asked
                log.warning("lease lost", **errand.lease.names)
