"""What happens on disk when jobs are over: their ends are written down first, then their files may go. Many at a time,
in one thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

import structlog

from engine import upkeep
from engine.errors import EngineError, LedgerUnavailable
from engine.ledger import Ledger
from engine.models import JOB_OVER, Tombstone
from engine.spool import Spool
from engine.tombstones import Tombstones

log = structlog.get_logger("bucketline.endings")

BATCH = 100
FORGOTTEN_RUN = 1 << 30  # a deletion rules over every run


def lay_to_rest(ledger: Ledger, spool: Spool, tombstones: Tombstones, node: str, jobs: Sequence[str]) -> int:
    """Looks after the spool files of jobs that the ledger calls finished, or no longer knows. Answers how many files
    are gone.

    A failed job's file stays until its time has run out: then *retry* is over, too.
    """
    now_ms = int(time.time() * 1000)
    ends: list[Tombstone] = []
    later: dict[str, int] = {}
    runs: dict[str, int] = {}
    known = ledger.run(upkeep.dump(jobs))
    for job, found in zip(jobs, known, strict=True):
        if found is None:
            # Deleted by its user, or its record expired: the disk must know, or reconciliation would bring it back.
            ends.append(Tombstone(id=job, run=FORGOTTEN_RUN, ended_ms=now_ms, forgotten=True))
            later[job], runs[job] = 0, FORGOTTEN_RUN
        elif found[0]["state"] in JOB_OVER:
            fields, transfers = found
            runs[job] = run = int(fields.get("run") or 1)
            ends.append(Tombstone(id=job, run=run, ended_ms=now_ms, job=fields, transfers=transfers))
            until_ms = int(float(fields.get("until") or 0))
            later[job] = until_ms if until_ms > now_ms else 0
    if not ends:
        return 0
    tombstones.append(ends)
    for job, again_at_ms in later.items():
        if not again_at_ms:
            spool.release(job, runs[job])
    ledger.run(upkeep.released(node, later))
    return sum(1 for again_at_ms in later.values() if not again_at_ms)


class Undertaker:
    """One thread per worker process that lays finished jobs to rest, as many at once as are waiting."""

    def __init__(self, ledger: Ledger, spool: Spool, tombstones: Tombstones, node: str) -> None:
        self._parts = (ledger, spool, tombstones, node)
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="endings", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finishes what is waiting, within two seconds; what remains is found by the next sweeper."""
        self._waiting.put(None)
        self._thread.join(2.0)

    def take(self, job: str) -> None:
        """This job is over."""
        self._waiting.put(job)

    def _work(self) -> None:
        jobs: list[str | None] = []
        while None not in jobs:
            jobs = [self._waiting.get()]
            while len(jobs) < BATCH and not self._waiting.empty():
                jobs.append(self._waiting.get())
            try:
                lay_to_rest(*self._parts, list(dict.fromkeys(job for job in jobs if job is not None)))
            except LedgerUnavailable:
                continue  # they stay on the ledger's list, and the sweeper brings them again
            except EngineError as error:
                log.warning(
                    "finished jobs could not be laid to rest; the sweeper tries again",
                    code=error.code,
                    detail=error.detail,
                )
