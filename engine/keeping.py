"""What must reach its end although the request that began it is cancelled, as a client that leaves does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Keeping:
    """One per API process."""

    def __init__(self) -> None:
        self._kept: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which goes on when whoever waits for it is cancelled."""
        return await asyncio.shield(self._keep(work))

    async def make(self, work: Callable[[], T], undo: Callable[[T], object]) -> T:
        """What `work` makes, in a thread, which nothing can stop: when nobody waits for it any more, `undo` takes it
        back, in a thread, too.
        """
        making = self._keep(asyncio.to_thread(work))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._keep(_take_back(making, undo))
            raise

    async def stop(self) -> None:
        """Wait for all of it."""
        while self._kept:
            await asyncio.wait(set(self._kept))

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        return task


async def _take_back(making: asyncio.Task[T], undo: Callable[[T], object]) -> None:
    await asyncio.wait({making})
    if making.exception() is None:
        await asyncio.to_thread(undo, making.result())
