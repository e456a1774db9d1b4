"""Traces each step, in the trace of the request that submitted its job."""

from __future__ import annotations

from typing import Any

from dramatiq import Broker, Middleware
from dramatiq.broker import MessageProxy

from backends.tracing import traceparent
from engine.runtime import Runtime, current
from engine.spans import code_of, of_step


class Spanning(Middleware):
    """Stands behind Leasing: it traces what was leased, and is over before the lease is forgotten."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        errand = current.get()
        if errand is None:
            return
        held = errand.lease
        errand.span = self.runtime.spans.start(held.step, held.spec.traceparent, "consumer", of_step(held))
        traceparent.set(errand.span.traceparent)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        errand = current.get()
        if errand is not None and errand.span is not None:
            errand.span.set("bucketline.outcome", "ok" if exception is None else code_of(exception))
            if exception is not None:
                errand.span.fail(code_of(exception))
            errand.span.end()
