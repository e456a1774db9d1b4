"""Many who wait for the disk are served together, and each hears of its own fault."""

from __future__ import annotations

import asyncio
import threading

import pytest

from engine.errors import SpoolFull
from engine.settler import Settler


async def test_those_who_come_meanwhile_go_together() -> None:
    settler, go = Settler(), threading.Event()
    threads: list[int] = []

    def slow() -> None:
        assert go.wait(30)

    first = asyncio.create_task(settler.settle([slow]))
    await asyncio.sleep(0)
    others = [
        asyncio.create_task(settler.settle([lambda: threads.append(threading.get_ident())] * 2)) for _ in range(5)
    ]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *others)

    assert len(threads) == 10
    assert len(set(threads)) == 1
    await settler.settle([lambda: threads.append(0)])
    assert threads[-1] == 0, "it begins again after everybody was served"


async def test_a_fault_is_that_of_its_own_request_and_stops_no_other() -> None:
    called: list[str] = []

    def full() -> None:
        called.append("full")
        raise SpoolFull("No space left.")

    def broken() -> None:
        raise RuntimeError("nobody expects it")

    settler = Settler()
    found = await asyncio.gather(
        settler.settle([full, lambda: called.append("beside it")]),
        settler.settle([lambda: called.append("after it")]),
        settler.settle([broken]),
        return_exceptions=True,
    )

    assert [type(one) for one in found] == [SpoolFull, type(None), RuntimeError]
    assert called == ["full", "beside it", "after it"]


async def test_without_threads_everybody_hears_of_it_and_the_next_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    settler = Settler()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "to_thread", refuse)
        found = await asyncio.gather(*(settler.settle([lambda: None]) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [RuntimeError] * 3
    await settler.settle([lambda: None])


async def test_who_stops_waiting_holds_nobody_up() -> None:
    settler, go = Settler(), threading.Event()

    def slow() -> None:
        assert go.wait(30)

    first = asyncio.create_task(settler.settle([slow]))
    second = asyncio.create_task(settler.settle([lambda: None]))
    await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    await second
