"""Idempotency-Keys on a real Valkey: who is the first, who waits, who is told what, whatever dies or is lost."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import once, operations, upkeep
from engine.errors import Conflict, EngineError, LedgerUnavailable
from engine.models import Once, Sidecar
from engine.once import Answered
from engine.receptions import Reception
from engine.service import AsyncService
from tests.engine.books import Books, job_id
from tests.engine.rig import Rig
from tests.engine.serving import accepted, received


@pytest.fixture(autouse=True)
def _compared(books: Books) -> None:
    books.run(upkeep.mark_reconciled())


async def first(service: AsyncService, name: str = "k", fingerprint: str = "f") -> Once:
    found = await service.repeats.claim(name, fingerprint)
    assert isinstance(found, Once), found
    return found


async def replayed(service: AsyncService, name: str = "k", fingerprint: str = "f") -> Answered:
    found = await service.repeats.claim(name, fingerprint)
    assert isinstance(found, Answered), found
    return found


async def arrived(service: AsyncService, held: Once, data: bytes = b"small", **options: Any) -> Reception:
    reception = await received(service, data, **options)
    reception.spec = msgspec.structs.replace(reception.spec, once=held)
    return reception


async def bound(service: AsyncService, reception: Reception) -> None:
    assert reception.spec.once is not None
    await service.repeats.bind(reception.spec.once, [reception.spec.id])


async def only_on_disk(service: AsyncService, held: Once) -> Reception:
    """Its request was told 503: the file is kept, and the ledger does not know of it."""
    lost = await arrived(service, held)
    await bound(service, lost)
    lost.commit(lost.finish())
    lost.done()
    await service.repeats.release(held)
    return lost


async def refused(service: AsyncService, fingerprint: str = "f") -> str:
    with pytest.raises(EngineError) as caught:
        await service.repeats.claim("k", fingerprint)
    return caught.value.code


def lapse(client: redis.Redis) -> None:
    """The process of the first request is dead for so long that its time has run out."""
    client.hset("bucketline:once:k", "until", 1)


async def test_answered_word_by_word(service: AsyncService) -> None:
    held = await first(service)
    assert await refused(service) == "idempotency_busy"
    job = (await accepted(service, await arrived(service, held)))["id"]
    assert (await replayed(service)) == Answered(0, "", b"", [job]), "accepted is enough"

    await service.repeats.answer(held, 202, "/there", b"the words")

    assert await replayed(service) == Answered(202, "/there", b"the words", [job])
    assert await refused(service, "another") == "idempotency_mismatch"


async def test_who_waits_is_told_for_how_long(service: AsyncService) -> None:
    await first(service)
    with pytest.raises(Conflict) as caught:
        await service.repeats.claim("k", "f")
    assert caught.value.retryable and 1 <= (caught.value.retry_after or 0) <= 5


async def test_a_failure_frees_the_key(service: AsyncService) -> None:
    held = await first(service)
    await service.repeats.release(held)
    again = await first(service)
    await service.repeats.release(held)
    assert await refused(service) == "idempotency_busy", "the first one has nothing to say any more"
    assert again.fence != held.fence


async def test_who_is_silent_loses_it(service: AsyncService, client: redis.Redis) -> None:
    held = await first(service)
    lapse(client)
    assert await service.repeats.renew(held)
    assert await refused(service) == "idempotency_busy"
    lapse(client)
    await first(service)
    assert not await service.repeats.renew(held)


async def test_who_wakes_up_later_makes_no_second_job(service: AsyncService, rig: Rig, client: redis.Redis) -> None:
    frozen = await arrived(service, await first(service))
    lapse(client)
    job = (await accepted(service, await arrived(service, await first(service))))["id"]

    with pytest.raises(Conflict) as caught:
        await accepted(service, frozen)

    assert caught.value.code == "idempotency_busy"
    assert (await replayed(service)).jobs == [job]
    assert [one for one, _ in rig.spool.sidecars()] == [job]


async def test_who_wakes_up_amid_accepting_makes_none_either(
    service: AsyncService, rig: Rig, client: redis.Redis
) -> None:
    frozen = await arrived(service, await first(service))
    await bound(service, frozen)
    lapse(client)
    job = (await accepted(service, await arrived(service, await first(service))))["id"]
    sidecar = frozen.finish()
    frozen.commit(sidecar)

    answer = rig.books.run(operations.accept_sidecar(sidecar, rig.settings))
    report = rig.reconcile()

    assert (answer.made, answer.state) == (False, "superseded")
    assert report.made_again == [] and report.released == 1
    assert [one for one, _ in rig.spool.sidecars()] == [job]
    frozen.done()


async def test_killed_between_disk_and_ledger(service: AsyncService, client: redis.Redis) -> None:
    """The bytes are durable, and the ledger never heard of them: the next one with the key looks there."""
    dead = await arrived(service, await first(service))
    await bound(service, dead)
    dead.commit(dead.finish())
    dead.done()
    assert await refused(service) == "idempotency_busy"
    lapse(client)

    assert (await replayed(service)).jobs == [dead.spec.id]
    assert (await service.job(dead.spec.id))[0]["state"] == "queued"


async def test_a_lost_answer_of_the_ledger(service: AsyncService) -> None:
    """503: the file is kept. Sent again, it is that job at once, without waiting for the lease."""
    lost = await only_on_disk(service, await first(service))
    assert (await replayed(service)).jobs == [lost.spec.id]


async def test_what_was_refused_late_may_be_corrected(service: AsyncService) -> None:
    """Its checksum was wrong, say: what it had bound is on no disk."""
    held = await first(service)
    await bound(service, await arrived(service, held))
    await service.repeats.release(held)

    again = await service.repeats.claim("k", "another fingerprint")

    assert again.fence != held.fence
    assert await refused(service) == "idempotency_mismatch", "now the first request is the other one"


async def test_a_job_that_only_the_disk_knows_is_no_other_request_s(service: AsyncService) -> None:
    await only_on_disk(service, await first(service))

    assert await refused(service, "another fingerprint") == "idempotency_mismatch"


async def test_all_files_of_a_form_or_none(service: AsyncService, rig: Rig, client: redis.Redis) -> None:
    held = await first(service)
    files = [await arrived(service, held, b"file %d" % number) for number in range(3)]
    ids = [one.spec.id for one in files]
    await service.repeats.bind(held, ids)
    for one in files:
        one.spec = msgspec.structs.replace(one.spec, once=msgspec.structs.replace(held, of=3))
        one.commit(one.finish())
        one.done()
    sidecar = msgspec.json.decode(rig.spool.read_sidecar(ids[0]) or b"", type=Sidecar)
    rig.books.run(operations.accept_sidecar(sidecar, rig.settings))  # and here its process died
    assert await refused(service) == "idempotency_busy"
    lapse(client)

    assert (await replayed(service)).jobs == ids
    assert {(await service.job(job))[0]["state"] for job in ids} == {"queued"}


async def test_several_in_the_order_of_the_form(service: AsyncService) -> None:
    held = await first(service)
    files = [await arrived(service, held, b"file %d" % number) for number in range(12)]
    made = await service.accept_all(files)
    assert (await replayed(service)).jobs == [job["id"] for job in made]


@pytest.mark.parametrize("over", [False, True], ids=["running", "over"])
async def test_a_redis_that_lost_all(over: bool, service: AsyncService, rig: Rig, client: redis.Redis) -> None:
    job = (await accepted(service, await arrived(service, await first(service))))["id"]
    if over:
        rig.work(f"{job}/0")
        assert (await service.job(job))[0]["state"] == "succeeded"
        assert rig.bury() == 1
    client.flushall()

    with pytest.raises(LedgerUnavailable):
        await service.repeats.claim("k", "f")
    rig.reconcile()
    rig.books.run(upkeep.mark_reconciled())

    assert (await replayed(service)).jobs == [job]
    assert await refused(service, "another") == "idempotency_mismatch"


async def test_an_empty_redis_beside_an_empty_disk_is_a_new_one(service: AsyncService, client: redis.Redis) -> None:
    client.flushall()
    await first(service)


async def test_lost_amid_a_body(service: AsyncService, client: redis.Redis) -> None:
    held = await first(service)
    coming = await arrived(service, held)
    client.flushall()
    assert await service.repeats.renew(held)
    job = (await accepted(service, coming))["id"]
    assert (await replayed(service)).jobs == [job]


async def test_a_key_ends_after_a_day(service: AsyncService, client: redis.Redis) -> None:
    await accepted(service, await arrived(service, await first(service)))
    assert 86_000_000 < client.pttl("bucketline:once:k") <= 86_400_000


async def test_a_claim_of_another_node_waits_for_its_disk(service: AsyncService, rig: Rig, client: redis.Redis) -> None:
    held = await first(service)
    rig.books.run(once.renew(held, 60, "elsewhere", ["some-job"]))
    lapse(client)
    now = client.time()
    client.hset("bucketline:once:k", "until", now[0] * 1000 - 1000)
    assert await refused(service) == "idempotency_busy"
    client.hset("bucketline:once:k", "until", now[0] * 1000 - 181_000)
    await first(service)


steps = st.lists(
    st.tuples(st.sampled_from(["claim", "bind", "accept", "release", "answer", "lapse", "renew"]), st.integers(0, 3)),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whatever_happens_there_is_one_job(books: Books, client: redis.Redis, drawn: list[tuple[str, int]]) -> None:
    """Four requests with one key, in any order of steps, any of which may be dead for a while."""
    client.flushall()
    books.run(upkeep.mark_reconciled())
    numbers = itertools.count(1)
    held: dict[int, Once] = {}
    jobs: dict[int, str] = {}
    made: set[str] = set()
    for word, who in drawn:
        mine = held.get(who)
        if word == "lapse":
            client.hset("bucketline:once:k", "until", 1) if client.exists("bucketline:once:k") else None
        elif word == "claim" and mine is None:
            wish = Once("k", "f", str(who))
            verdict = books.run(once.claim(wish, 60, "n1"))
            if verdict.word == "look":
                verdict = books.run(once.claim(wish, 60, "n1", verdict.ids))
            if verdict.word == "mine":
                held[who], jobs[who] = wish, job_id(next(numbers))
            elif made:
                assert verdict.answered is not None and set(verdict.answered.jobs) == made
        elif mine is not None and word == "bind":
            books.run(once.renew(mine, 60, "n1", [jobs[who]]))
        elif mine is not None and word == "renew":
            books.run(once.renew(mine, 60, "n1"))
        elif mine is not None and word == "release":
            books.run(once.release(mine))
            del held[who]
        elif mine is not None and word == "answer":
            books.run(once.answer(mine, 202, "", jobs[who].encode()))
        elif mine is not None and word == "accept" and books.accept(int(jobs[who][-12:]), once=mine).made:
            made.add(jobs[who])
        assert len(made) <= 1
        if made:
            verdict = books.run(once.claim(Once("k", "f", "watcher"), 60, "n1"))
            assert verdict.answered is not None and set(verdict.answered.jobs) == made
            assert verdict.answered.body in (b"", *(job.encode() for job in made))


def test_another_payload_is_told_from_the_first(books: Books) -> None:
    books.run(upkeep.mark_reconciled())
    assert books.run(once.claim(Once("k", "f", "1"), 60, "n1")).word == "mine"
    assert books.run(once.claim(Once("k", "f", "1"), 60, "n1")).word == "mine", "asked again: the answer was lost"
    assert books.run(once.claim(Once("k", "g", "2"), 60, "n1")).word == "other"
    assert books.run(once.claim(Once("k", "f", "2"), 60, "n1")).word == "busy"
