"""Whose job it is: kept by the ledger and by the disk, and nobody else's business."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import msgspec
import pytest

from engine.access import EVERYTHING, Grant, Identity
from engine.errors import NotFound
from engine.models import SubmitOptions
from engine.service import AsyncService
from tests.engine.rig import Rig
from tests.engine.serving import accepted

ALL = Grant(scopes=("submit", "read", "control"))
MINE, OTHER = (Identity(key=name * 12, grants=(ALL,)) for name in "ab")


async def submitted(service: AsyncService, owner: str, token: str = "", **options: str) -> str:
    spec = service.prepare(SubmitOptions(**options), size=5, owner=owner)  # type: ignore[arg-type]
    spec = msgspec.structs.replace(spec, token=token)
    reception = await service.receive(spec, 5)
    reception.write(b"bytes")
    return str((await accepted(service, reception))["id"])


async def listed(service: AsyncService, owner: str | None, state: str | None = None) -> list[str]:
    page = await service.jobs(state=state, destination=None, labels={}, q=None, limit=50, cursor=None, owner=owner)
    return [job["id"] for job in page["items"]]


async def test_a_job_keeps_its_owner_when_redis_loses_everything(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, MINE.key, token="t1", key="k")
    rig.books.server.wipe()
    assert await listed(service, None) == []

    rig.reconcile()

    assert await listed(service, MINE.key) == [job]
    assert await listed(service, MINE.key, "queued") == [job]
    assert await listed(service, OTHER.key) == []
    token = Identity(key=MINE.key, grants=(ALL, Grant(scopes=("submit",))), token="t1")
    assert (await service.job(job, token))[0]["id"] == job
    with pytest.raises(NotFound):
        await service.job(job, OTHER)


async def test_options_that_come_after_the_file_change_no_owner(service: AsyncService) -> None:
    spec = msgspec.structs.replace(service.prepare(SubmitOptions(), size=None, owner=MINE.key), token="t1")
    reception = await service.receive(spec, None)
    reception.write(b"bytes")
    reception.revise(SubmitOptions(key="late"))
    await accepted(service, reception)

    assert (reception.spec.owner, reception.spec.token, reception.spec.key) == (MINE.key, "t1", "late")


async def test_nothing_can_be_done_to_a_job_of_somebody_else(service: AsyncService) -> None:
    job = await submitted(service, MINE.key)
    for attempt in (
        service.job(job, OTHER),
        service.parts(job, None, OTHER),
        service.command(job, "cancel", OTHER),
        service.command(job, "retry", OTHER),
        service.forget(job, OTHER),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await service.job(job, MINE))[0]["state"] == "queued"
    assert (await service.command(job, "cancel", MINE))[1]
    await service.forget(job, EVERYTHING)


async def test_the_feed_of_an_owner_has_nobody_else_s_jobs(service: AsyncService) -> None:
    await submitted(service, MINE.key)
    _, last = await service.ledger.bounds("feed")
    mine, other = await submitted(service, MINE.key), await submitted(service, OTHER.key)

    async def first(owner: str | None) -> str:
        async with aclosing(service.events(None, last, owner)) as events:  # type: ignore[type-var]
            return str((await anext(events)).data["id"])

    async with asyncio.timeout(20):
        assert [await first(owner) for owner in (MINE.key, OTHER.key, None)] == [mine, other, mine]


async def test_names_of_routes_and_destinations_lead_to_destinations(service: AsyncService) -> None:
    name = next(iter(service.configuration.destinations))

    assert service.destinations.reach([name, "nowhere"]) == {name}
    assert service.destinations.reach([]) == frozenset()
