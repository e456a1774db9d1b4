"""Live events: whoever watches, from whenever, ends with the same picture as who asks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
import redis

from engine import feed as module
from engine import operations
from engine.errors import LedgerUnavailable, NotFound
from engine.feed import Event
from engine.ledger import PREFIX
from engine.operations import Operation
from engine.service import AsyncService
from tests.engine.rig import PART, Rig
from tests.engine.serving import received, submitted

BIG = b"b" * (PART * 40)


async def heard(events: AsyncIterator[Event]) -> list[Event]:
    """All events until the stream ends by itself."""
    async with asyncio.timeout(60), aclosing(events) as stream:  # type: ignore[type-var]
        return [event async for event in stream]


async def first(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(60), aclosing(events) as stream:  # type: ignore[type-var]
        found = []
        async for event in stream:
            found.append(event)
            if len(found) == count:
                break
        return found


async def until(condition: Callable[[], bool]) -> None:
    """Lets others go on until something has happened."""
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


def carry(rig: Rig, job: str) -> None:
    """A worker carries the job to its end."""
    rig.work(f"{job}/0")
    rig.work_all()


def told(rig: Rig, client: redis.Redis, job: str) -> list[str]:
    """The ids of everything that was told of the job."""
    return [entry.decode() for entry, _ in client.xrange(f"{PREFIX}job:{job}:events")]


# -- one job ----------------------------------------------------------------------------------------------------------


async def test_who_watches_from_the_start_sees_a_picture_then_everything(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, BIG, key="big")
    watching = asyncio.ensure_future(heard(service.events(job, None)))
    await asyncio.sleep(0)

    await asyncio.to_thread(carry, rig, job)
    events = await watching

    assert events[0].event in ("snapshot", "end")
    assert events[-1].event == "end"
    assert [event.event for event in events].count("end") == 1
    assert events[-1].data == (await service.job(job))[0]
    ids = [event.id for event in events]
    assert ids == sorted(set(ids), key=module._order)


async def test_bytes_sent_never_shrink_in_what_is_told(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, BIG, key="big")
    last = told(rig, rig.books.server.client, job)[0]  # type: ignore[attr-defined]
    await asyncio.to_thread(carry, rig, job)

    sent = [event.data["sent"] for event in await heard(service.events(job, last))]

    assert sent == sorted(sent)
    assert sent[-1] == len(BIG)


async def test_a_replay_from_any_id_gives_the_same_final_picture(
    service: AsyncService, rig: Rig, client: redis.Redis
) -> None:
    job = await submitted(service, BIG, key="big")
    await asyncio.to_thread(carry, rig, job)
    final = (await service.job(job))[0]
    ids = told(rig, client, job)
    assert len(ids) > 4

    for last in [None, "0-1", *ids[:-1], "9999999999999-0", "rubbish", "١-٢"]:
        events = await heard(service.events(job, last))
        assert events[-1].event == "end"
        assert events[-1].data == final, last
        if last in ids:
            assert [event.id for event in events] == ids[ids.index(last) + 1 :], "nothing is told twice, or left out"


async def test_who_has_seen_the_end_is_told_nothing_more(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, key="small")
    await asyncio.to_thread(carry, rig, job)
    (end,) = await heard(service.events(job, None))

    assert await heard(service.events(job, end.id)) == []


async def test_a_finished_job_whose_stream_is_gone_still_ends(
    service: AsyncService, rig: Rig, client: redis.Redis
) -> None:
    job = await submitted(service, key="small")
    await asyncio.to_thread(carry, rig, job)
    (end,) = await heard(service.events(job, None))
    client.delete(f"{PREFIX}job:{job}:events")

    (again,) = await heard(service.events(job, None))

    assert (again.event, again.data["state"]) == ("end", "succeeded")
    assert again.id == end.id
    assert await heard(service.events(job, again.id)) == []
    for unknown in ("1-1", "9999999999999-1", "nonsense", "0-0"):
        picture, last = await heard(service.events(job, unknown))
        assert (picture.event, last.event, last.id) == ("snapshot", "end", end.id)
        assert picture.data == last.data
        assert [one.event for one in await heard(service.events(job, picture.id))] == ["snapshot", "end"], "cut between"


async def test_an_id_that_was_trimmed_away_gets_a_picture(service: AsyncService, rig: Rig, client: redis.Redis) -> None:
    job = await submitted(service, BIG, key="big")
    oldest = told(rig, client, job)[0]
    await service.command(job, "pause")
    client.xtrim(f"{PREFIX}job:{job}:events", maxlen=1, approximate=False)

    (event,) = await first(service.events(job, oldest), 1)

    assert (event.event, event.data["state"]) == ("snapshot", "paused")


async def test_more_than_one_page_is_replayed_without_a_bell(
    service: AsyncService, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    await submitted(service)  # Redis is known to answer
    job = await submitted(service, key="small")
    for _ in range(8):
        await service.command(job, "pause")
        await service.command(job, "resume")
    oldest = told(rig, rig.books.server.client, job)[0]  # type: ignore[attr-defined]
    monkeypatch.setattr(service.feed, "_ring", lambda bells: None)

    events = await first(service.events(job, oldest), 16)

    assert [event.data["state"] for event in events] == ["paused", "queued"] * 8


async def test_nobody_s_job_cannot_be_watched(service: AsyncService) -> None:
    with pytest.raises(NotFound):
        await heard(service.events("01940c9e-0000-7000-8000-000000000001", None))


async def test_a_reception_that_is_given_up_ends_what_is_watched(service: AsyncService) -> None:
    reception = await received(service, BIG)
    watching = asyncio.ensure_future(heard(service.events(reception.spec.id, None)))
    await until(lambda: bool(service.feed._watched))

    await reception.discard()

    events = await watching
    assert "end" not in [event.event for event in events]


async def test_a_job_that_is_deleted_ends_what_is_watched(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, key="small")
    seen = asyncio.Event()

    async def watch() -> list[Event]:
        events = []
        async with aclosing(service.events(job, None)) as stream:  # type: ignore[type-var]
            async for event in stream:
                events.append(event)
                seen.set()
        return events

    watching = asyncio.ensure_future(watch())
    await seen.wait()
    # Cancelled and deleted before the watcher looks again.
    rig.books.run(operations.command(job, "cancel"))
    rig.books.run(operations.forget(job))

    async with asyncio.timeout(60):
        events = await watching
    assert events[0].event == "snapshot"


async def test_an_end_that_a_retry_made_history_is_not_the_end(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, key="small")
    rig.books.lose(f"{job}/0")
    oldest = told(rig, rig.books.server.client, job)[0]  # type: ignore[attr-defined]
    await service.command(job, "retry")
    await asyncio.to_thread(carry, rig, job)

    events = await heard(service.events(job, oldest))

    assert [event.event for event in events].count("end") == 1
    assert (events[-1].data["state"], events[-1].data["run"]) == ("succeeded", 2)


async def test_many_watchers_have_one_reader(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, BIG, key="big")
    reads = []
    events = service.ledger.events

    async def counted(key: str, after: str, **options: Any) -> Any:
        reads.append((key, options.get("block_ms")))
        return await events(key, after, **options)

    service.ledger.events = counted  # type: ignore[method-assign]
    watching = [asyncio.ensure_future(heard(service.events(job, None))) for _ in range(20)]
    await until(lambda: len(service.feed._watched.get(job, ())) == 20)

    await asyncio.to_thread(carry, rig, job)
    pictures = await asyncio.gather(*watching)

    assert all(one[-1].data == pictures[0][-1].data for one in pictures)
    blocking = [key for key, block_ms in reads if block_ms is not None]
    assert set(blocking) == {"feed"}, "nobody but the one reader waits inside Redis"
    assert service.feed._watched == {}


# -- outages ----------------------------------------------------------------------------------------------------------


async def test_watching_begins_with_redis_away(service: AsyncService) -> None:
    job = await submitted(service, key="small")

    async def away(operation: Operation[Any]) -> Any:
        raise LedgerUnavailable("Redis is away.")

    service.ledger.run = away  # type: ignore[method-assign]
    with pytest.raises(LedgerUnavailable):
        await heard(service.events(job, None))


async def test_the_reader_outlives_an_outage(service: AsyncService, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened meanwhile is told, though the reader never saw it in the feed."""
    job = await submitted(service, BIG, key="big")
    events, failing = service.ledger.events, asyncio.Event()
    outage = True

    async def sometimes(key: str, after: str, **options: Any) -> Any:
        if outage and key == "feed":
            failing.set()
            raise LedgerUnavailable("Redis is away.")
        return await events(key, after, **options)

    sleep = asyncio.sleep
    monkeypatch.setattr(module.asyncio, "sleep", lambda seconds: sleep(0))
    service.ledger.events = sometimes  # type: ignore[method-assign]
    watching = asyncio.ensure_future(heard(service.events(job, None)))
    await failing.wait()
    await asyncio.to_thread(carry, rig, job)
    outage = False

    assert (await watching)[-1].event == "end"


# -- all jobs ---------------------------------------------------------------------------------------------------------


async def test_everybody_s_events_under_one_sequence_of_ids(service: AsyncService, rig: Rig) -> None:
    anchor = await submitted(service, key="anchor")
    last = rig.books.server.client.xrevrange(f"{PREFIX}feed", count=1)[0][0].decode()  # type: ignore[attr-defined]
    one, two = await submitted(service, key="one"), await submitted(service, key="two")
    await asyncio.to_thread(carry, rig, one)
    await asyncio.to_thread(carry, rig, two)

    events = await first(service.events(None, last), 4)

    assert [(event.event, event.data["id"]) for event in events if event.event != "progress"][:2] == [
        ("state", one), ("state", two),
    ]  # fmt: skip
    assert anchor not in [event.data["id"] for event in events]
    ids = [event.id for event in events]
    assert ids == sorted(set(ids), key=module._order)


async def test_who_watches_all_from_now_on_misses_nothing(service: AsyncService) -> None:
    await submitted(service)  # Redis is known to answer
    watching = asyncio.ensure_future(first(service.events(None, None), 3))
    await until(lambda: bool(service.feed._everything))
    # From when it has looked where the feed ends.
    jobs = [await submitted(service, key=f"key-{number}") for number in range(20)]

    events = await watching

    seen = [event.data["id"] for event in events]
    at = jobs.index(seen[0])
    assert seen == jobs[at : at + 3]


async def test_all_events_are_replayed_over_many_pages(
    service: AsyncService, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    await submitted(service)  # Redis is known to answer
    jobs = [await submitted(service, key=f"key-{number}") for number in range(20)]
    oldest = rig.books.server.client.xrevrange(f"{PREFIX}feed", count=20)[-1][0].decode()  # type: ignore[attr-defined]
    monkeypatch.setattr(service.feed, "_ring", lambda bells: None)

    events = await first(service.events(None, oldest), 19)

    assert [event.data["id"] for event in events] == jobs[1:]


async def test_a_place_that_was_trimmed_away_is_the_first_that_is_kept(service: AsyncService) -> None:
    await submitted(service, key="before")

    (event,) = await first(service.events(None, "1-1"), 1)

    assert event.data["name"] == "before"


async def test_an_unknown_place_in_the_feed_is_now(service: AsyncService) -> None:
    await submitted(service, key="before")
    watching = asyncio.ensure_future(first(service.events(None, "9999999999999-1"), 1))
    await until(lambda: bool(service.feed._everything))

    async def keep_submitting() -> None:
        for number in itertools.count():
            await submitted(service, key=f"after-{number}")

    submitting = asyncio.ensure_future(keep_submitting())
    (event,) = await watching
    submitting.cancel()
    await asyncio.wait({submitting})

    assert event.data["name"].startswith("after")


async def test_nobody_watching_means_nobody_reading(service: AsyncService) -> None:
    job = await submitted(service, key="small")
    await first(service.events(job, None), 1)

    assert (service.feed._watched, service.feed._everything) == ({}, set())
    await service.feed.stop()
    assert service.feed._reader is None or service.feed._reader.done()
