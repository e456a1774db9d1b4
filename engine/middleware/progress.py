"""Records what a step achieved, and tells the progress that coalescing held back."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from dramatiq import Broker, Middleware
from dramatiq.broker import MessageProxy

from backends.errors import BackendError
from engine import leases, operations
from engine.broker import WakingBroker
from engine.errors import EngineError, LedgerUnavailable
from engine.models import JOB_OVER, Sidecar, dumps
from engine.operations import Operation
from engine.records import Lease, Onward
from engine.reports import report
from engine.runtime import Runtime, current
from engine.work import Begun, Outcome, Recorded, Redefined, Seen, Settled

log = structlog.get_logger("bucketline.progress")

FLUSH_SECONDS = 0.25


class Progress(Middleware):
    """The effect has happened; here it becomes a fact. Insisted on through any outage of Redis, until this process
    must go.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        errand = current.get()
        if errand is None or exception is not None or errand.outcome is None:
            return
        assert isinstance(broker, WakingBroker)
        held = errand.lease
        size = errand.outcome.size if isinstance(errand.outcome, Recorded) else held.size
        self.runtime.counters.done(held, self.runtime.monotonic() - errand.began, size)
        try:
            onward = report(self.runtime, broker, held, operation_of(self.runtime, held, errand.outcome))
        except LedgerUnavailable:
            log.warning("could not record a finished step before the shutdown", **held.names)
            return
        if onward.owed:
            self.runtime.owed.add(held.job)
        if not onward.fresh and isinstance(errand.outcome, Begun):
            self._close(held, errand.outcome.session)
        if isinstance(errand.outcome, Seen):
            if onward.fresh:
                self._remember(errand.outcome.sidecar)
            else:
                self._clear(held)

    def _remember(self, sidecar: Sidecar) -> None:
        """What was seen goes to the disk, too: a job that Redis loses has to be made again with the same content."""
        self.runtime.forget_source(sidecar.spec.id)
        try:
            if sidecar.spec.source.held:
                self.runtime.spool.brought_in(sidecar.spec.id)
            else:
                self.runtime.spool.rewrite_sidecar(sidecar.spec.id, dumps(sidecar))
        except EngineError as error:
            log.warning("what was seen of a source is not on the disk", job=sidecar.spec.id, code=error.code)

    def _clear(self, held: Lease) -> None:
        """A file that was brought into the spool too late, for a job that is over, does not stay until somebody
        reconciles.
        """
        try:
            state, _ = self.runtime.ledger.run(operations.states([held.job]))[held.job]
        except LedgerUnavailable:
            return
        if state in JOB_OVER:
            self.runtime.undertaker.take(held.job)

    def _close(self, held: Lease, session: dict[str, Any]) -> None:
        """A session that was opened too late, by a process that had stood still: the transfer has another one by now,
        or is over. But a report that was heard, and whose answer was lost, is refused the second time as well.
        """
        try:
            known = self.runtime.ledger.run(operations.read_parts(held.transfer))["transfer"].get("session")
            if not known or msgspec.json.decode(known) != session:
                self.runtime.store(held.destination).backend.abort(session)
        except (BackendError, EngineError) as error:
            log.warning("a session that was opened too late stays open", code=error.code, **held.names)


def operation_of(runtime: Runtime, held: Lease, outcome: Outcome) -> Operation[Onward]:
    """The ledger operation that makes an outcome a fact."""
    if isinstance(outcome, Recorded):
        return leases.record(held, outcome.size, outcome.packed, outcome.proved)
    if isinstance(outcome, Begun):
        return leases.begun(held, outcome.session, outcome.key, outcome.url)
    if isinstance(outcome, Seen):
        spec = outcome.sidecar.spec
        return leases.seen(held, outcome.sidecar, outcome.numbers, operations.keep_seconds(spec, runtime.settings))
    if isinstance(outcome, Redefined):
        return leases.redefine(held, outcome.plan)
    if isinstance(outcome, Settled):
        info = outcome.info
        return leases.settle(
            held,
            etag=info.etag or "",
            version=info.version or "",
            checksum=outcome.checksum,
            verified_by=outcome.verified_by,
            crc32c=outcome.crc32c,
            key=outcome.key,
            url=outcome.url,
        )
    return leases.ended(held)


def flush_forever(runtime: Runtime) -> None:
    """Tells owed progress four times a second; the body of one thread per process."""
    while not runtime.interrupted.wait(FLUSH_SECONDS):
        if not runtime.owed:
            continue
        jobs, runtime.owed = runtime.owed, set()
        try:
            runtime.ledger.run(leases.flush(sorted(jobs)))
        except LedgerUnavailable:
            runtime.owed |= jobs
