"""Compares a node's spool with the ledger: what Redis lost or forgot is made again from what lies on the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec
import structlog

from engine import additions, operations, upkeep
from engine.config import Settings
from engine.endings import lay_to_rest
from engine.known import known_sidecar
from engine.ledger import Ledger
from engine.models import JOB_OVER, Sidecar, Tombstone
from engine.records import Token
from engine.spool import Spool
from engine.tombstones import Tombstones

log = structlog.get_logger("bucketline.reconcile")

BATCH = 500
ABANDONED_SECONDS = 3600.0  # an incoming file that nobody wrote to for so long, of a job that the ledger does not know


@dataclass(slots=True)
class Report:
    """What one reconciliation found and did; ids of jobs. `tokens` are still to be sent."""

    seen: int = 0
    made_again: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    ends_restored: list[str] = field(default_factory=list)
    released: int = 0
    incoming_removed: int = 0
    unreadable: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)


def reconcile(ledger: Ledger, spool: Spool, tombstones: Tombstones, settings: Settings, *, full: bool = True) -> Report:
    """One comparison. May run at any time, any number of times, on several processes at once: every step is idempotent.

    `full` also puts back the ends that Redis lost: needed where the ledger may be younger or older than the disk.
    """
    report = Report()
    if full:
        _ends(ledger, spool, tombstones, report)
    for batch in _batches(spool.sidecars()):
        jobs = [job for job, _ in batch]
        known = ledger.run(operations.states(jobs))
        ended = tombstones.find([job for job in jobs if not known[job][0]])
        report.seen += len(jobs)
        finished = [job for job in jobs if _one(ledger, spool, settings, report, job, known[job], ended.get(job))]
        if finished:
            report.released += lay_to_rest(ledger, spool, tombstones, settings.node, finished)
    _receptions(ledger, spool, report)
    tombstones.expire()
    return report


def recover(settings: Settings) -> Report:
    """The same on command. The tokens stay with the sweepers of the running workers."""
    ledger = Ledger(settings.redis_url)
    spool = Spool(settings.spool, limit=settings.spool_limit, durability=settings.durability)
    tombstones = Tombstones(settings.spool / "ended")
    spool.open()
    try:
        report = reconcile(ledger, spool, tombstones, settings)
        ledger.run(upkeep.mark_reconciled())
        return report
    finally:
        tombstones.close()
        spool.close()
        ledger.close()


def _batches(found: Iterator[tuple[str, Path]]) -> Iterator[list[tuple[str, Path]]]:
    while batch := list(islice(found, BATCH)):
        yield batch


def _one(
    ledger: Ledger,
    spool: Spool,
    settings: Settings,
    report: Report,
    job: str,
    known: tuple[str, int],
    tombstone: Tombstone | None,
) -> bool:
    """One accepted file against what the ledger and the disk say of its job. True when it is over and must be laid to
    rest.
    """
    state, run = known
    active = state != "" and state not in JOB_OVER and state != "receiving"
    extended = spool.appendix.has(job)
    if active and not extended:
        return False
    sidecar = _read_sidecar(spool, report, job)
    if sidecar is None:
        return False
    if extended and not state and sidecar.spec.source.spooled and spool.read_sidecar(job) is None:
        spool.release(job)  # it came too late: the bytes were gone already
        return False
    if extended and (active or (state in JOB_OVER and sidecar.run > run)):
        # Redis may have lost what was added, or the answer of its script was lost: the disk remembers the wish.
        verdict, _, tokens = ledger.run(additions.add(sidecar, settings.lease_seconds, remade=True))
        if verdict == "done":
            report.extended.append(job)
            report.tokens += tokens
            return False
    if active:
        return False
    if state in ("failed", "partially_succeeded") and sidecar.run > run:
        # The user asked for another run and the answer was lost: the disk remembers the wish.
        verdict, _, tokens = ledger.run(operations.command(job, "retry"))
        if verdict == "done":
            report.restarted.append(job)
            report.tokens += tokens
            return False
    if state in JOB_OVER:
        if extended and sidecar.run > run:
            spool.appendix.remove(job, None)  # it was refused, and always will be: the file need not wait for that run
        return True
    if tombstone is not None and tombstone.run >= sidecar.run:
        if tombstone.forgotten:
            spool.release(job)
            report.released += 1
        elif ledger.run(upkeep.restore(job, tombstone.job, tombstone.transfers)):
            report.ends_restored.append(job)
        return False
    answer = ledger.run(operations.accept_sidecar(sidecar, settings, remade=True))
    if answer.state == "superseded":
        spool.release(job)  # nobody was told of it, and another request made this job in its place
        report.released += 1
    elif answer.made:
        log.warning("made a job again from its sidecar: Redis did not know it", job=job)
        report.made_again.append(job)
        report.tokens += answer.tokens
    return False


def _ends(ledger: Ledger, spool: Spool, tombstones: Tombstones, report: Report) -> None:
    """What is written down on disk rules over a ledger that is empty or older."""
    deleted = {one.id for one in tombstones.scan() if one.forgotten}
    ends = (one for one in tombstones.scan() if one.forgotten or one.id not in deleted)
    while batch := list(islice(ends, BATCH)):
        known = ledger.run(operations.states([one.id for one in batch]))
        for one in batch:
            state, run = known[one.id]
            if one.forgotten:
                if state in JOB_OVER:
                    ledger.run(operations.forget(one.id))
                continue
            older = state not in JOB_OVER or run < one.run
            if older and not _restarted(spool, one.id, one.run) and _restore(ledger, one):
                report.ends_restored.append(one.id)


def _restore(ledger: Ledger, end: Tombstone) -> bool:
    return ledger.run(upkeep.restore(end.id, end.job, end.transfers))


def _restarted(spool: Spool, job: str, run: int) -> bool:
    try:
        sidecar = known_sidecar(spool, job)
        return sidecar is not None and sidecar.run > run
    except msgspec.MsgspecError:
        return False


def _receptions(ledger: Ledger, spool: Spool, report: Report) -> None:
    """Files of receptions that nobody continues: their job is gone, or they were left behind long ago."""
    found = [(job, at) for job, at in spool.incomings() if at < time.time() - 60]
    if not found:
        return
    known = ledger.run(operations.states([job for job, _ in found]))
    for job, at in found:
        if known[job][0] != "receiving" and at < time.time() - ABANDONED_SECONDS:
            spool.remove_incoming(job)
            report.incoming_removed += 1


def _read_sidecar(spool: Spool, report: Report, job: str) -> Sidecar | None:
    try:
        return known_sidecar(spool, job)
    except msgspec.MsgspecError as error:
        log.error("a sidecar cannot be read; its file is kept for you to look at", job=job, error=str(error))
        report.unreadable.append(job)
        return None
