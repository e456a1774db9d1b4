"""Decides what happens after a step failed, and writes the decision down: the one owner of retrying."""

from __future__ import annotations

from typing import Any

import structlog
from dramatiq import Broker, Middleware
from dramatiq.broker import MessageProxy

from engine import leases, retry
from engine.broker import WakingBroker
from engine.driver import LeaseLost
from engine.errors import LedgerUnavailable, problem_of
from engine.records import Lease
from engine.reports import report
from engine.runtime import Runtime, current

log = structlog.get_logger("bucketline.retry")


class Retries(Middleware):
    """Classifies, decides, records. The record is insisted on through an outage of Redis, until we must go."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @property
    def actor_options(self) -> set[str]:
        return {"throws"}

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        errand = current.get()
        if errand is None or exception is None:
            return
        if isinstance(exception, LeaseLost) and errand.lost:
            return  # whoever has it now will report
        assert isinstance(broker, WakingBroker)
        held = errand.lease
        if isinstance(exception, Exception):
            self.runtime.forget_source(held.job)  # what failed may be the source; the next attempt looks at it afresh
        problem = problem_of(exception)
        decision = self._decide(held, exception, problem["code"])
        if decision.kind in ("retry", "restart", "snooze"):
            problem["retryable"] = True
        problem["attempt"] = held.attempt
        self._tell(held, decision, problem)
        self.runtime.counters.failed(held, problem["code"], decision.kind)
        try:
            report(self.runtime, broker, held, leases.fail(held, decision.kind, problem, decision.delay_ms))
        except LedgerUnavailable:
            log.warning("could not report a failed step before the shutdown", **held.names)

    def _decide(self, held: Lease, exception: BaseException, code: str) -> retry.Decision:
        failing_ms = held.now_ms - held.failing_since_ms if held.failing_since_ms else 0
        return retry.decide(
            exception,
            step=held.step,
            attempt=held.attempt,
            alike=held.failed_alike + 1 if held.failed_with == code else 1,
            failing_ms=failing_ms,
            policy=self.runtime.policy,
            jitter=self.runtime.jitter(),
        )

    def _tell(self, held: Lease, decision: retry.Decision, problem: dict[str, Any]) -> None:
        tell = log.info if decision.kind == "snooze" else log.warning
        tell(
            "step failed",
            decision=decision.kind,
            delay_ms=decision.delay_ms,
            code=problem["code"],
            detail=problem["detail"],
            **held.names,
        )
