"""Keeps order once a second: re-mints lost tokens, frees the spool, reconciles when the ledger cannot be trusted."""

from __future__ import annotations

import os
import time

import structlog
from redis.exceptions import RedisError

from engine import upkeep
from engine.broker import WakingBroker
from engine.errors import LedgerUnavailable
from engine.ledger import why_away
from engine.reconcile import reconcile
from engine.records import Sweep
from engine.runtime import Runtime
from engine.tokens import queue_of, send

log = structlog.get_logger("bucketline.sweeper")

SWEEP_SECONDS = 1.0
RECONCILE_SECONDS = 60.0
TOKENS_PER_THREAD = 4
TOKENS_ALWAYS = 8


class Sweeper:
    """One per worker process. `round` is a single round; the thread repeats it until the process must go."""

    def __init__(self, runtime: Runtime, broker: WakingBroker, name: str) -> None:
        self.runtime = runtime
        self.broker = broker
        self.name = name
        self.info = {
            "pid": os.getpid(),
            "node": runtime.settings.node,
            "threads": runtime.settings.threads,
            "started_ms": int(time.time() * 1000),
        }
        self.epoch = 0
        self.swept_ms = 0
        self.older = False  # the ledger came back from an older state, and was not compared with the spool since
        self.reconciled_at = float("-inf")
        self.away = False  # Redis, at the last round

    def forever(self) -> None:
        while not self.runtime.stopping.wait(SWEEP_SECONDS):
            self.try_round()

    def try_round(self) -> None:
        """A round that survives everything; of an outage of Redis only its beginning and its end are told."""
        try:
            self.round()
        except LedgerUnavailable as error:
            if not self.away:
                log.warning("Redis does not answer; waiting for it, nothing is lost", why=why_away(error))
            self.away = True
        except Exception:
            log.exception("a sweep failed; the next one tries again")
        else:
            if self.away:
                log.info("Redis answers again")
            self.away = False

    def round(self) -> Sweep:
        """Looks at everything that is due."""
        settings = self.runtime.settings
        found = self.runtime.ledger.run(
            upkeep.sweep(self.name, self.info, settings.node, room=self._room(), swept_ms=self.swept_ms)
        )
        self._send(found)
        for job in found.releasable:
            self.runtime.undertaker.take(job)
        for job in found.dead_receptions:
            self.runtime.spool.remove_incoming(job)
        self.runtime.spool.tidy()
        self._trust(found)
        return found

    def _room(self) -> tuple[int, int]:
        """How many tokens each queue may be given: a few per thread in all, yet always some: theirs may be lost."""
        most = TOKENS_PER_THREAD * self.runtime.settings.threads
        node = self.runtime.settings.node
        try:
            small, parts = (self.broker.waiting(queue_of(lane, node)) for lane in ("small", "parts"))
        except (RedisError, OSError):
            return 0, 0
        return max(most - small, TOKENS_ALWAYS), max(most - parts, TOKENS_ALWAYS)

    def _send(self, found: Sweep) -> None:
        try:
            send(self.broker, found.tokens, self.runtime.settings.node)
        except (RedisError, OSError) as error:
            log.warning("tokens could not be sent; the next round sends them", error=type(error).__name__)

    def _trust(self, found: Sweep) -> None:
        """Reconciles by the clock, and at once when the ledger is new, empty, or older than it was.

        It is older when it has lost an epoch, or this worker's own last round: most rollbacks are shorter than an
        epoch.
        """
        epoch, lost = found.epoch, found.epoch is None
        self.older = self.older or (epoch is not None and (epoch < self.epoch or found.before_ms < self.swept_ms))
        if not self.older:
            self.swept_ms = found.now_ms
        if not (self.older or lost or time.monotonic() - self.reconciled_at >= RECONCILE_SECONDS):
            self.epoch = max(self.epoch, epoch or 0)
            return
        runtime = self.runtime
        if (self.older or lost) and self.epoch:
            log.warning("the ledger is not what it was; comparing it with the spool", epoch=epoch, known=self.epoch)
        if self.older or lost or not self.epoch:
            runtime.ledger.run(upkeep.suspect_sessions())
        full = self.older or lost or not self.epoch
        report = reconcile(runtime.ledger, runtime.spool, runtime.tombstones, runtime.settings, full=full)
        try:
            send(self.broker, report.tokens, runtime.settings.node)
        except (RedisError, OSError):
            log.warning("tokens of remade jobs wait for the next sweep")
        marked = runtime.ledger.run(upkeep.mark_reconciled(self.epoch, seen=epoch or 0))
        if not marked:
            return  # the ledger fell back while it was compared: once more
        self.epoch = marked
        self.older, self.swept_ms, self.reconciled_at = False, 0, time.monotonic()
        if report.made_again or report.ends_restored:
            log.warning("reconciled", made_again=len(report.made_again), ends_restored=len(report.ends_restored))
