"""Bodies: their pace, measured on a clock of our own, and what the digest headers say."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest

from api.bodies import Body
from api.limits import Pace
from api.problems import Problem

PACE = Pace(idle_seconds=30, grace_seconds=60, bytes_per_second=1024, look_every_seconds=2)


class _Selector(selectors.DefaultSelector):
    """Never waits: a wait moves the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def on_a_fast_clock(work: Coroutine[Any, Any, int | None]) -> int | None:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


class Client:
    """Sends `size` bytes every `seconds`, `count` times."""

    def __init__(self, size: int, seconds: float, count: int) -> None:
        self.size, self.seconds, self.count = size, seconds, count

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(self.seconds)
        self.count -= 1
        return {"type": "http.request", "body": b"x" * self.size, "more_body": self.count > 0}


async def our_own_work(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def read(client: Client, *, own_seconds: float = 0.0) -> int:
    with Body(client.receive, declared=None, pace=PACE) as body:
        while await body.next():
            await our_own_work(own_seconds)
        return body.received


def test_a_slow_but_steady_client_is_served() -> None:
    assert on_a_fast_clock(read(Client(20_000, 10, 30))) == 600_000


def test_a_client_that_stands_still_is_not() -> None:
    with pytest.raises(Problem) as refused:
        on_a_fast_clock(read(Client(10_000_000, 35, 2)))

    assert (refused.value.status, refused.value.detail) == (408, "No byte came for 30 seconds.")


def test_a_client_that_drips_is_not_either_after_the_grace_time() -> None:
    client = Client(100, 1, 1000)

    with pytest.raises(Problem) as refused:
        on_a_fast_clock(read(client))

    assert refused.value.code == "too_slow"
    assert 1000 - client.count in range(58, 66)


def test_our_own_slowness_is_not_the_clients_fault() -> None:
    assert on_a_fast_clock(read(Client(5_000, 1, 100), own_seconds=100)) == 500_000


def test_a_cancelled_request_stays_cancelled() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(read(Client(1, 10, 5)))
        await asyncio.sleep(5)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        on_a_fast_clock(cancelled())


def test_the_watch_ends_with_the_body() -> None:
    async def quiet() -> int:
        size = await read(Client(1, 0, 1))
        await asyncio.sleep(1000)
        return size

    assert on_a_fast_clock(quiet()) == 1
