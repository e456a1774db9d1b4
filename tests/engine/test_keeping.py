"""What was begun for a request reaches its end without it, and what was made for nobody is taken back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from engine.keeping import Keeping


async def test_what_is_made_belongs_to_who_asked() -> None:
    undone: list[str] = []

    assert await Keeping().make(lambda: "made", undone.append) == "made"
    assert undone == []


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_thread_makes_for_nobody_is_taken_back(fails: bool) -> None:
    keeping, go_on, undone = Keeping(), threading.Event(), list[str]()

    def work() -> str:
        go_on.wait()
        if fails:
            raise OSError("full")
        return "made"

    asking = asyncio.create_task(keeping.make(work, undone.append))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert undone == []
    go_on.set()
    await keeping.stop()

    assert asking.cancelled()
    assert undone == ([] if fails else ["made"])


async def test_what_was_made_when_its_asker_was_cancelled_is_taken_back() -> None:
    """It was there, and he had not been told yet."""
    keeping, undone = Keeping(), list[str]()
    asking = asyncio.create_task(keeping.make(lambda: "made", undone.append))
    await asyncio.sleep(0)
    (making,) = keeping._kept
    making.add_done_callback(lambda _: asking.cancel())

    await asyncio.gather(asking, return_exceptions=True)
    await keeping.stop()

    assert asking.cancelled()
    assert undone == ["made"]


async def test_what_is_to_be_finished_is_without_who_waits() -> None:
    keeping, go_on, finished = Keeping(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        finished.set()

    waiting = asyncio.create_task(keeping.finish(work()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    go_on.set()
    await keeping.stop()

    assert waiting.cancelled()
    assert finished.is_set()
