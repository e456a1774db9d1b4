"""Adds destinations to a job: the wish goes to the disk first, so that a Redis that loses it finds it there; then the
ledger decides.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import additions
from engine.errors import Conflict, EngineError, NotFound
from engine.models import Source, dumps
from engine.records import JobRecord
from engine.sources import PathSource
from engine.whereabouts import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.access import Identity
    from engine.service import AsyncService

TRIES = 3
"""A run may end between looking at it and adding to it: then it is the next one."""


class Adding:
    """One per API process."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service

    async def add(self, job: str, names: Sequence[str], who: Identity) -> tuple[dict[str, Any], list[str]]:
        """The job with transfers to all of these destinations, and those that this call has added."""
        for _ in range(TRIES):
            record = await self._service.record(job, who)
            additions.check_open(record)
            new = additions.new_destinations(self._service.desk, record, names)
            if not new or await self._added(record, new):
                return (await self._service.job(job, who))[0], new
        raise Conflict("The job's runs end too quickly to add to one: ask again.", retryable=True, retry_after=1)

    async def _added(self, record: JobRecord, new: list[str]) -> bool:
        """False when the run has ended meanwhile."""
        service, spec = self._service, record.spec
        if record.fields["node"] != service.settings.node:
            raise Elsewhere(
                f"This job is in the spool of node {record.fields['node']!r}, and the request reached "
                f"{service.settings.node!r}: send it to that node."
            )
        additions.check_source(record)
        plans = service.desk.planning.plans_for(spec, new, int(record.fields["size"]))
        wish = additions.wish_of(record, plans, int(time.time() * 1000))
        await asyncio.to_thread(self._write_down, spec.id, spec.source, wish.digest.size, dumps(wish))
        verdict, state, tokens = await service.ledger.run(additions.add(wish, service.settings.lease_seconds))
        if verdict not in ("done", "already", "ended"):
            raise _refusal(verdict, state)
        service.minter.send(tokens)
        return verdict != "ended"

    def _write_down(self, job: str, source: Source, size: int, wish: bytes) -> None:
        spool = self._service.spool
        if source.kind == "path":
            PathSource(Path(source.path or ""), size, source.mtime_ns, source.inode).check()
        if source.spooled and spool.read_sidecar(job) is None:
            raise additions.gone()
        spool.appendix.append(job, wish)


def _refusal(verdict: str, state: str) -> EngineError:
    if verdict == "missing":
        return NotFound("There is no job with this id.")
    if verdict == "conflict":
        return additions.closed(state)
    return additions.unseen(state) if verdict == "unseen" else additions.gone()
