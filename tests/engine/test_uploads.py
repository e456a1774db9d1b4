"""Who holds an upload: nobody does any more who was cancelled on his way to it."""

from __future__ import annotations

import asyncio

import pytest

from engine.models import SubmitOptions
from engine.service import AsyncService
from tests.engine.serving import Gate


async def created(service: AsyncService) -> str:
    options = SubmitOptions()
    spec = service.prepare(options, size=10, owner="bootstrap")
    return await service.uploads.create(spec, options, length=10, metadata=None)


async def held(service: AsyncService, job: str) -> int:
    async with service.uploads.hold(job) as upload:
        return upload.offset


@pytest.mark.parametrize(("method", "passing"), [("hold", 0), ("read", 1)], ids=["its file", "its note, with its file"])
async def test_who_is_cancelled_before_it_holds_an_upload_lets_it_go(
    service: AsyncService, monkeypatch: pytest.MonkeyPatch, method: str, passing: int
) -> None:
    """A lock on a file that nobody knows any more would stay until the process ends."""
    monkeypatch.setattr("engine.uploads.WAIT_SECONDS", 0)  # a file that is held is held for good
    job = await created(service)
    gate = Gate(getattr(service.spool.partials, method), passing=passing)
    monkeypatch.setattr(service.spool.partials, method, gate)
    asking = asyncio.create_task(held(service, job))
    await asyncio.to_thread(gate.waiting.wait)

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    gate.go_on.set()
    await service.keeping.stop()

    assert asking.cancelled()
    assert await held(service, job) == 0
