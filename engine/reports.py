"""What follows from every report to the ledger: tokens travel on, and a job that ended is laid to rest."""

from __future__ import annotations

import structlog
from redis.exceptions import RedisError

from engine.broker import WakingBroker
from engine.operations import Operation
from engine.records import Lease, Onward
from engine.runtime import Runtime
from engine.tokens import send_onward

log = structlog.get_logger("bucketline.report")


def report(runtime: Runtime, broker: WakingBroker, held: Lease, operation: Operation[Onward]) -> Onward:
    """Writes the report, through an outage of any length; raises LedgerUnavailable only when this process must go
    first.
    """
    onward = runtime.ledger.insist(operation, stopped=runtime.interrupted.is_set)
    if not onward.fresh:
        log.info("a late report was refused: somebody else has the lease", **held.names)
    try:
        send_onward(broker, held.transfer, onward, runtime.settings.node)
    except (RedisError, OSError):
        log.warning("a token could not be sent; the sweeper will send another", **held.names)
    if onward.final:
        log.info("job ended", state=onward.final, **held.names)
        runtime.forget_source(held.job)
        runtime.undertaker.take(held.job)
    return onward
