"""Waits for the disk on behalf of many requests at once: one thread and one fsync for all that came meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

Waits = Sequence[Callable[[], None]]


class Settler:
    """One per event loop. A thread for every small file would cost more than the file."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Waits, asyncio.Future[None]]] = []
        self._working: asyncio.Task[None] | None = None

    async def settle(self, waits: Waits) -> None:
        """Call all of them in a thread. Raises what the first of them raised, after all were called."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((waits, done))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        await done

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                for (_, done), fault in zip(batch, await self._serve(batch), strict=True):
                    if done.done():
                        continue  # whoever asked has gone
                    if fault is None:
                        done.set_result(None)
                    else:
                        done.set_exception(fault)
        finally:
            self._working = None

    async def _serve(self, batch: list[tuple[Waits, asyncio.Future[None]]]) -> list[Exception | None]:
        try:
            return await asyncio.to_thread(lambda: [_first_fault(waits) for waits, _ in batch])
        except Exception as error:  # there are no threads any more: nobody may wait for ever
            return [error] * len(batch)


def _first_fault(waits: Waits) -> Exception | None:
    first: Exception | None = None
    for wait in waits:
        try:
            wait()
        except Exception as error:
            first = first or error
    return first
