"""The service as the API holds it, over a real Valkey, a spool on disk and a worker that works when told to."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from typing import Any

from engine.errors import LedgerUnavailable
from engine.models import SubmitOptions
from engine.operations import Operation
from engine.receptions import Reception
from engine.records import Token
from engine.service import AsyncService
from engine.tokens import CARRY, queue_of


class Drawer:
    """A minter that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Token] = []
        self.checks: list[tuple[str, str]] = []

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def send(self, tokens: Sequence[Token]) -> None:
        self.sent += tokens

    def ask_check(self, destination: str, request: str) -> None:
        self.checks.append((destination, request))

    async def waiting(self, nodes: Sequence[str]) -> dict[str, int]:
        lanes = [token.lane for token in self.sent]
        return {queue_of(lane, node): lanes.count(lane) for node in nodes for lane in CARRY}


class Gate:
    """Calls of a method of the disk's that wait at their ends: `passing` says how many go through before one waits."""

    def __init__(self, method: Any, *, passing: int = 0) -> None:
        self._method = method
        self._passing = passing
        self.waiting, self.go_on = threading.Event(), threading.Event()

    def __call__(self, *words: Any, **options: Any) -> Any:
        found = self._method(*words, **options)
        self._passing -= 1
        if self._passing < 0:
            self.waiting.set()
            self.go_on.wait()
        return found


async def received(service: AsyncService, data: bytes, *, announce: bool = True, **options: Any) -> Reception:
    """A file that has arrived, and is not accepted yet."""
    size = len(data) if announce else None
    spec = service.prepare(SubmitOptions(**options), size=size, owner="bootstrap")
    reception = await service.receive(spec, size)
    reception.write(data)
    return reception


async def accepted(service: AsyncService, reception: Reception) -> dict[str, Any]:
    """The job that it becomes."""
    return (await service.accept_all([reception]))[0]


async def submitted(service: AsyncService, data: bytes = b"small", **options: Any) -> str:
    """A job, by its id."""
    reception = await received(service, data, **options)
    return str((await accepted(service, reception))["id"])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def break_ledger(service: AsyncService, script: str, *, after: bool, times: int = 1, passing: int = 0) -> None:
    """The next calls of this script fail, once so many have passed: before they were done, or (`after`) with their
    answers lost.
    """
    run = service.ledger.run
    fates = iter([False] * passing + [True] * times)

    async def sometimes(operation: Operation[Any]) -> Any:
        if operation.script != script or not next(fates, False):
            return await run(operation)
        if after:
            await run(operation)
        raise LedgerUnavailable("Redis did not answer.")

    service.ledger.run = sometimes  # type: ignore[method-assign, assignment]


def hold(service: AsyncService, script: str, *, after: bool) -> tuple[asyncio.Event, asyncio.Event]:
    """The next calls of this script wait for the second event, before or (`after`) behind what they do; the first says
    that one waits.
    """
    run, held, go_on = service.ledger.run, asyncio.Event(), asyncio.Event()

    async def late(operation: Operation[Any]) -> Any:
        if operation.script != script:
            return await run(operation)
        found = await run(operation) if after else None
        held.set()
        await go_on.wait()
        return found if after else await run(operation)

    service.ledger.run = late  # type: ignore[method-assign, assignment]
    return held, go_on
