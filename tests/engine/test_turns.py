"""Whose turn it is with an upload, when Redis does not know any more who has it."""

from __future__ import annotations

import asyncio

import pytest
import redis

from engine.models import SubmitOptions
from engine.service import AsyncService
from engine.turns import WAIT_SECONDS, Interrupted


async def begun(service: AsyncService) -> str:
    """An upload that waits for its bytes."""
    options = SubmitOptions(key="film")
    spec = service.prepare(options, size=10, owner="bootstrap")
    return await service.uploads.create(spec, options, length=10, metadata=None)


async def send_for_ever(service: AsyncService, job: str, begins: asyncio.Event) -> None:
    async with service.uploads.hold(job) as upload:
        with upload.turn.interruptible():
            begins.set()
            await asyncio.Event().wait()


def lose_lock(client: redis.Redis, job: str) -> None:
    (lock,) = client.keys(f"*tus:{job}:lock")
    client.delete(lock)


async def test_who_holds_an_upload_without_its_lock_is_asked_too(service: AsyncService, client: redis.Redis) -> None:
    """A Redis that stood still let the lock run out: the newer request has it, and the older one has the file."""
    job, begins = await begun(service), asyncio.Event()
    older = asyncio.create_task(send_for_ever(service, job, begins))
    await begins.wait()
    lose_lock(client, job)

    async with asyncio.timeout(WAIT_SECONDS / 2), service.uploads.hold(job) as newer:
        assert newer.offset == 0

    with pytest.raises(Interrupted):
        await older


async def test_nothing_is_kept_of_turns_that_are_over(service: AsyncService, client: redis.Redis) -> None:
    job, begins = await begun(service), asyncio.Event()
    older = asyncio.create_task(send_for_ever(service, job, begins))
    await begins.wait()
    lose_lock(client, job)
    async with service.uploads.hold(job):
        pass
    with pytest.raises(Interrupted):
        await older

    turns = service.uploads._turns

    assert (turns._held, turns._refreshers) == ({}, {})
