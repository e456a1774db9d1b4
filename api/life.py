"""The running of one API process: whether it is stopping, and what must be finished before it may."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("bucketline.api")


class Life:
    """Shared by everything that serves requests in one process."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._kept: set[asyncio.Task[Any]] = set()
        self._receiving: set[asyncio.Task[Any]] = set()

    @property
    def stopping(self) -> bool:
        """Whether new work is refused and endless answers come to their end."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Say that the process is going away; called by the signal handler, on the loop."""
        self._stopping.set()

    async def stopped(self) -> None:
        """Return when `stop` was called."""
        await self._stopping.wait()

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work that must reach its end even when the request that began it is cancelled."""
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._forget)
        return task

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """While inside, the current task is one that `settle` cuts off: a body that still arrives."""
        task = asyncio.current_task()
        assert task is not None
        self._receiving.add(task)
        try:
            yield
        finally:
            self._receiving.discard(task)

    async def settle(self) -> None:
        """Cut bodies that still arrive (what came of them is discarded) and wait for everything that is kept."""
        receiving = set(self._receiving)
        for task in receiving:
            task.cancel()
        if receiving:
            await asyncio.wait(receiving, timeout=5)
        while self._kept:
            await asyncio.wait(set(self._kept))

    async def until(self, work: Coroutine[Any, Any, T], *, seconds: float | None = None) -> T | None:
        """The result of `work`, or None when the process began to stop (or the time ran out) before."""
        task = asyncio.create_task(work)
        end = asyncio.create_task(self.stopped())
        try:
            await asyncio.wait({task, end}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return await task if task.done() else None
        finally:
            for unfinished in (task, end):
                unfinished.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("kept work ended with %r", task.exception())
