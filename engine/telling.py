"""How what was counted gets into the ledger, and out of it again for a scrape."""

from __future__ import annotations

import asyncio
import functools
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from engine import notices
from engine.counters import TELL_SECONDS, Counters
from engine.errors import EngineError, LedgerUnavailable
from engine.ledger import AsyncLedger
from engine.measures import Found, read_counts, read_totals

if TYPE_CHECKING:
    from engine.runtime import Runtime
    from engine.service import AsyncService


def count_forever(runtime: Runtime) -> None:
    """Tells what a worker counted; the body of one thread per process."""
    while not runtime.interrupted.wait(TELL_SECONDS):
        tell(runtime)


def tell(runtime: Runtime) -> None:
    """Once. While Redis is away it waits for the next time."""
    batch = runtime.counters.batch()
    if batch is None:
        return
    try:
        runtime.ledger.run(notices.count(batch))
    except LedgerUnavailable:
        return
    runtime.counters.told(batch)


class Telling:
    """The same for an API process, and what a scrape shows."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service
        self.counters = Counters()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Tells the last."""
        if self._task is not None:
            self._task.cancel()
        await self._tell(self._service.ledger)

    async def _forever(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self._tell(self._service.ledger)

    async def _tell(self, ledger: AsyncLedger) -> None:
        batch = self.counters.batch()
        if batch is None:
            return
        try:
            await ledger.run(notices.count(batch))
        except LedgerUnavailable:
            return
        self.counters.told(batch)

    async def found(self) -> Found:
        """Everything that is known now; without Redis only what this process knows by itself."""
        service = self._service
        found: Found = {"bucketline_build_info": {(_version(),): 1}}
        found |= self._spool()
        try:
            await self._tell(service.ledger)
            stats = await service.ledger.run(notices.stats())
            counts = await service.ledger.run(notices.counts())
            workers = _workers(stats["workers"], service.settings.node)
            waiting = await service.minter.waiting([node for (node,) in workers["bucketline_workers"]])
        except LedgerUnavailable:
            return found | {"bucketline_redis_up": {(): 0}}
        found["bucketline_redis_up"] = {(): 1}
        found["bucketline_jobs"] = {(state,): count for state, count in stats["jobs"].items()}
        found["bucketline_active_transfers"] = {(): stats["active"]}
        found["bucketline_queue_messages"] = {(queue,): count for queue, count in waiting.items()}
        counted = read_counts(counts, service.configuration.destinations)
        return found | workers | read_totals(stats["totals"]) | counted

    def _spool(self) -> Found:
        try:
            usage = self._service.spool.usage()
        except (EngineError, OSError):
            return {}  # the disk is away: a figure that is missing says so
        return {
            "bucketline_spool_used_bytes": {(): usage.used},
            "bucketline_spool_limit_bytes": {(): usage.limit},
            "bucketline_spool_free_bytes": {(): usage.free},
        }


def _workers(seen: list[dict[str, Any]], here: str) -> Found:
    """By node; the one that answers is among them though it has no worker: its jobs wait for one."""
    found: Found = {"bucketline_workers": {(here,): 0}, "bucketline_worker_threads": {(here,): 0}}
    for one in seen:
        node = (str(one.get("node") or here),)
        for name, count in (("bucketline_workers", 1), ("bucketline_worker_threads", one.get("threads") or 0)):
            found[name][node] = found[name].get(node, 0) + count
    return found


@functools.cache
def _version() -> str:
    return version("bucketline")
