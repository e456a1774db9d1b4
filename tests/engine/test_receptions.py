"""Receptions: a file becomes a job when it is durable and the ledger says so; until then it leaves no trace."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from typing import Any

import pytest

from engine import operations
from engine.errors import ChecksumMismatch, Conflict, EngineError, Invalid, LedgerUnavailable, SpoolFull, TooLarge
from engine.models import SubmitOptions
from engine.receptions import Reception
from engine.service import AsyncService
from tests.engine.rig import PART, Rig
from tests.engine.serving import Drawer, Gate, accepted, break_ledger, hold, received, sha256, submitted

BIG = b"b" * (PART * 40)  # more than is received without a file


def states(rig: Rig, *jobs: str) -> list[str]:
    return [rig.state(job) for job in jobs]


# -- accepted ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"small", BIG], ids=["empty", "small", "big"])
@pytest.mark.parametrize("announce", [True, False], ids=["announced", "of unknown size"])
async def test_a_file_becomes_a_job(
    service: AsyncService, drawer: Drawer, rig: Rig, data: bytes, announce: bool
) -> None:
    reception = await received(service, data, announce=announce, key="k")

    view = await accepted(service, reception)

    assert (view["state"], view["size"], view["received"]) == ("queued", len(data), len(data))
    assert [token.transfer for token in drawer.sent] == [f"{view['id']}/0"]
    pair, one = [f"{view['id']}.data", f"{view['id']}.json"], [f"{view['id']}.packed"]
    assert rig.files() == (pair if data == BIG else one)
    assert rig.spool.source(view["id"]).size == len(data)


async def test_what_was_accepted_is_what_is_carried(service: AsyncService, drawer: Drawer, rig: Rig) -> None:
    job = await submitted(service, BIG, key="big")

    for token in drawer.sent:
        rig.work(*token)
    rig.work_all()

    assert rig.state(job) == "succeeded"
    assert rig.space.read("big") == BIG


async def test_a_small_file_never_shows_as_receiving(service: AsyncService, rig: Rig) -> None:
    await submitted(service)  # Redis is known to answer
    reception = await received(service, b"small")

    assert rig.state(reception.spec.id) == ""
    await accepted(service, reception)


async def test_a_long_reception_shows_with_its_progress(service: AsyncService, rig: Rig) -> None:
    spec = service.prepare(SubmitOptions(), size=len(BIG), owner="")
    reception = await service.receive(spec, len(BIG))
    assert rig.state(spec.id) == "receiving"

    reception.write(BIG[:1000])
    await reception.progress()

    assert rig.job(spec.id)["received"] == "1000"
    await reception.discard()


async def test_a_reception_that_redis_forgot_shows_again(service: AsyncService, rig: Rig) -> None:
    spec = service.prepare(SubmitOptions(), size=len(BIG), owner="")
    reception = await service.receive(spec, len(BIG))
    rig.books.server.wipe()

    await reception.progress()

    assert rig.state(spec.id) == "receiving"
    await reception.discard()


async def test_options_may_come_after_the_file(service: AsyncService, rig: Rig) -> None:
    reception = await received(service, b"small", announce=False)
    before = reception.spec

    reception.revise(SubmitOptions(key="chosen", labels={"a": "b"}))
    view = await accepted(service, reception)

    assert (view["id"], view["key"], view["labels"]) == (before.id, "chosen", {"a": "b"})
    assert reception.spec.created_ms == before.created_ms


async def test_options_that_come_after_the_file_are_examined_like_any(service: AsyncService) -> None:
    reception = await received(service, b"small", announce=False)

    with pytest.raises(Invalid):
        reception.revise(SubmitOptions(key="../up"))
    await reception.discard()


async def test_a_key_made_of_the_content_is_known_at_last(service: AsyncService) -> None:
    reception = await received(service, b"small", announce=False)

    reception.revise(SubmitOptions(key_template="{sha256}"))
    view = await accepted(service, reception)

    assert view["key"] == sha256(b"small")


# -- refused ----------------------------------------------------------------------------------------------------------


async def test_a_discarded_reception_leaves_no_trace(service: AsyncService, rig: Rig) -> None:
    reception = await received(service, BIG)

    await reception.discard()
    await reception.discard()

    assert rig.files() == []
    assert list(rig.spool.incomings()) == []
    assert rig.job(reception.spec.id) == {}


@pytest.mark.parametrize("script", ["receive", "received"])
@pytest.mark.parametrize("words", ["on their way", "there, with the answer on its way"])
async def test_what_is_told_while_it_is_discarded_does_not_make_it_again(
    service: AsyncService, rig: Rig, script: str, words: str
) -> None:
    """The request has failed, and how much had come by then is still being told."""
    await service.health.stats()  # Redis has just answered: then only what is large is made known at once
    reception = await received(service, b"small" if script == "receive" else BIG)
    held, go_on = hold(service, script, after=words != "on their way")

    telling = asyncio.create_task(reception.progress())
    await held.wait()
    discarding = asyncio.create_task(reception.discard())
    done, _ = await asyncio.wait({discarding}, timeout=0.2)
    go_on.set()
    await asyncio.gather(telling, discarding)

    assert not done, "it waits for what is being told"
    assert rig.job(reception.spec.id) == {}
    assert rig.files() == []


async def test_a_reception_whose_making_had_no_answer_leaves_no_trace(service: AsyncService, rig: Rig) -> None:
    await service.health.stats()
    reception = await received(service, b"small")
    break_ledger(service, "receive", after=True)
    with pytest.raises(LedgerUnavailable):
        await reception.progress()

    await reception.discard()

    assert rig.job(reception.spec.id) == {}


async def test_bytes_that_are_not_those_announced_leave_no_trace(service: AsyncService, rig: Rig) -> None:
    reception = await received(service, b"small", checksum=f"sha256:{sha256(b'other')}")

    with pytest.raises(ChecksumMismatch):
        await accepted(service, reception)
    assert rig.files() == []
    assert rig.job(reception.spec.id) == {}


async def test_a_body_that_was_cut_leaves_no_trace(service: AsyncService, rig: Rig) -> None:
    spec = service.prepare(SubmitOptions(), size=10, owner="")
    reception = await service.receive(spec, 10)
    reception.write(b"short")

    with pytest.raises(EngineError) as refused:
        await accepted(service, reception)
    assert refused.value.code == "truncated"
    assert rig.files() == []


async def test_more_than_was_announced_is_refused(service: AsyncService) -> None:
    spec = service.prepare(SubmitOptions(), size=3, owner="")
    reception = await service.receive(spec, 3)

    with pytest.raises(TooLarge):
        reception.write(b"more")
    await reception.discard()


async def test_a_big_file_is_refused_before_its_body_when_redis_is_away(service: AsyncService, rig: Rig) -> None:
    break_ledger(service, "receive", after=False)
    spec = service.prepare(SubmitOptions(), size=len(BIG), owner="")

    with pytest.raises(LedgerUnavailable):
        await service.receive(spec, len(BIG))
    assert list(rig.spool.incomings()) == []


# -- requests that are cancelled: their clients have left -------------------------------------------------------------


def keepers() -> list[asyncio.Task[Any]]:
    """What keeps receptions alive."""
    return [task for task in asyncio.all_tasks() if "_keep_alive" in repr(task.get_coro())]


async def leave(service: AsyncService, receiving: asyncio.Task[Reception], go_on: Any) -> None:
    """The request ends where it is, and what it waits for comes behind that."""
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    assert receiving.cancelled()
    go_on.set()
    await service.keeping.stop()


@pytest.mark.parametrize("data", [b"small", BIG], ids=["small", "big"])
@pytest.mark.parametrize("after", [True, False], ids=["answer on its way", "on its way"])
async def test_who_leaves_while_the_ledger_is_told_leaves_no_trace(
    service: AsyncService, rig: Rig, data: bytes, after: bool
) -> None:
    used, spec = service.spool.usage().used, service.prepare(SubmitOptions(), size=len(data), owner="")
    held, go_on = hold(service, "receive", after=after)
    receiving = asyncio.create_task(service.receive(spec, len(data)))
    await held.wait()

    await leave(service, receiving, go_on)

    assert keepers() == []
    assert list(rig.spool.incomings()) == []
    assert service.spool.usage().used == used
    assert rig.job(spec.id) == {}


async def test_who_leaves_while_room_is_made_leaves_no_trace(
    service: AsyncService, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, spec = service.spool.usage().used, service.prepare(SubmitOptions(), size=len(BIG), owner="")
    gate = Gate(service.spool.receive)
    monkeypatch.setattr(service.spool, "receive", gate)
    receiving = asyncio.create_task(service.receive(spec, len(BIG)))
    await asyncio.to_thread(gate.waiting.wait)

    await leave(service, receiving, gate.go_on)

    assert list(rig.spool.incomings()) == []
    assert service.spool.usage().used == used


# -- cancelled --------------------------------------------------------------------------------------------------------


async def test_a_cancelled_reception_hears_of_it(service: AsyncService, rig: Rig) -> None:
    spec = service.prepare(SubmitOptions(), size=len(BIG), owner="")
    reception = await service.receive(spec, len(BIG))
    await service.command(spec.id, "cancel")

    with pytest.raises(Conflict):
        await reception.progress()
    await reception.discard()
    assert rig.state(spec.id) == "cancelled"


async def test_a_cancelled_reception_is_not_accepted(service: AsyncService, drawer: Drawer, rig: Rig) -> None:
    reception = await received(service, BIG)
    await service.command(reception.spec.id, "cancel")

    with pytest.raises(Conflict):
        await accepted(service, reception)

    assert rig.files() == []
    assert rig.state(reception.spec.id) == "cancelled"
    assert drawer.sent == []
    assert rig.reconcile().made_again == []


# -- answers that are lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [True, False], ids=["answer lost", "never asked"])
async def test_a_lost_answer_keeps_the_file(service: AsyncService, rig: Rig, after: bool) -> None:
    """Whether the job is there cannot be known: reconciliation finds out, and nothing is lost."""
    reception = await received(service, b"small", key="k")
    job = reception.spec.id
    break_ledger(service, "accept", after=after)

    with pytest.raises(LedgerUnavailable):
        await accepted(service, reception)

    assert rig.files() == [f"{job}.packed"]
    assert rig.reconcile().made_again == ([] if after else [job])
    assert rig.state(job) == "queued"


async def test_a_lost_answer_ends_the_reception_s_signs_of_life(service: AsyncService) -> None:
    reception = await received(service, BIG)
    break_ledger(service, "accept", after=False)

    with pytest.raises(LedgerUnavailable):
        await accepted(service, reception)

    await asyncio.wait({reception._keeper})
    assert reception._keeper.cancelled()


@pytest.mark.parametrize("data", [b"small", BIG], ids=["small", "big"])
@pytest.mark.parametrize("call", ["write", "sync"])
async def test_a_full_disk_at_the_last_moment_leaves_no_trace(
    service: AsyncService, rig: Rig, monkeypatch: pytest.MonkeyPatch, data: bytes, call: str
) -> None:
    other = await submitted(service, b"another")
    reception = await received(service, data)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(service.spool._disk, call, full)
        with pytest.raises(SpoolFull):
            await accepted(service, reception)
    await reception.discard()

    assert rig.files() == [f"{other}.packed"]
    assert await submitted(service, data)


# -- all or none ------------------------------------------------------------------------------------------------------


async def three(service: AsyncService, **of_the_last: Any) -> list[Reception]:
    return [
        await received(service, BIG, key="one"),
        await received(service, BIG, key="two"),
        await received(service, BIG, key="three", **of_the_last),
    ]


async def test_all_files_of_a_form_become_jobs(service: AsyncService, drawer: Drawer, rig: Rig) -> None:
    receptions = await three(service)

    views = await service.accept_all(receptions)

    assert [view["key"] for view in views] == ["one", "two", "three"]
    assert [token.transfer for token in drawer.sent] == [f"{view['id']}/0" for view in views]
    assert len(rig.files()) == 6


async def test_one_wrong_file_refuses_all(service: AsyncService, drawer: Drawer, rig: Rig) -> None:
    receptions = await three(service, checksum=f"sha256:{sha256(b'other')}")

    with pytest.raises(ChecksumMismatch):
        await service.accept_all(receptions)

    assert rig.files() == []
    assert states(rig, *(one.spec.id for one in receptions)) == ["", "", ""]
    assert drawer.sent == []


async def test_files_of_one_form_never_replace_each_other(service: AsyncService, rig: Rig) -> None:
    receptions = [await received(service, data, key_template="{yyyy}/photo") for data in (b"one", b"two")]

    with pytest.raises(Invalid, match="one in place of the other"):
        await service.accept_all(receptions)

    assert rig.files() == []
    assert states(rig, *(one.spec.id for one in receptions)) == ["", ""]


@pytest.mark.parametrize(
    ("second", "wish"), [(b"one", "replace"), (b"two", "rename")], ids=["equal files", "one is renamed"]
)
async def test_a_shared_key_does_no_harm(service: AsyncService, rig: Rig, second: bytes, wish: Any) -> None:
    receptions = [
        await received(service, data, key_template="{yyyy}/photo", on_conflict=wish) for data in (b"one", second)
    ]

    views = await service.accept_all(receptions)

    assert len({view["key"] for view in views}) == 1
    assert len(rig.files()) == 2


async def test_a_disk_that_fills_up_midway_refuses_all(service: AsyncService, rig: Rig) -> None:
    receptions = await three(service)

    def full(sidecar: object) -> None:
        raise EngineError("No space left.", code="spool_full", retryable=True)

    receptions[2].commit = full  # type: ignore[method-assign, assignment]

    with pytest.raises(EngineError):
        await service.accept_all(receptions)
    assert rig.files() == []
    assert states(rig, *(one.spec.id for one in receptions)) == ["", "", ""]


@pytest.mark.parametrize("data", [b"small", BIG], ids=["small", "big"])
async def test_a_mistake_of_ours_refuses_all_like_any_other(
    service: AsyncService, rig: Rig, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    used, receptions = service.spool.usage().used, [await received(service, data, key=key) for key in ("one", "two")]
    finish, calls = service.desk.planning.finish, itertools.count(1)

    def second_breaks(*words: Any) -> Any:
        return finish(*words) if next(calls) == 1 else {}["planned"]

    monkeypatch.setattr(service.desk.planning, "finish", second_breaks)

    with pytest.raises(KeyError):
        await service.accept_all(receptions)
    await asyncio.wait({one._keeper for one in receptions})
    assert (rig.files(), list(rig.spool.incomings())) == ([], [])
    assert service.spool.usage().used == used
    assert states(rig, *(one.spec.id for one in receptions)) == ["", ""]


async def test_a_mistake_of_ours_midway_takes_back_what_is_durable(service: AsyncService, rig: Rig) -> None:
    receptions = await three(service)

    def broken(sidecar: object) -> None:
        raise KeyError("committed")

    receptions[2].commit = broken  # type: ignore[method-assign, assignment]

    with pytest.raises(KeyError):
        await service.accept_all(receptions)
    assert rig.files() == []
    assert states(rig, *(one.spec.id for one in receptions)) == ["", "", ""]


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_one_cancelled_file_takes_the_others_with_it(
    service: AsyncService, drawer: Drawer, rig: Rig, which: int
) -> None:
    receptions = await three(service)
    await service.command(receptions[which].spec.id, "cancel")

    with pytest.raises(Conflict):
        await service.accept_all(receptions)

    assert rig.files() == []
    assert set(states(rig, *(one.spec.id for one in receptions))) <= {"", "cancelled"}
    assert drawer.sent == []
    assert rig.reconcile().made_again == [], "none of them comes back"


async def test_an_outage_midway_loses_none_of_them(service: AsyncService, rig: Rig) -> None:
    receptions = await three(service)
    break_ledger(service, "accept", after=False)

    with pytest.raises(LedgerUnavailable):
        await service.accept_all(receptions)

    jobs = [one.spec.id for one in receptions]
    assert len(rig.files()) == 6
    assert sorted(rig.reconcile().made_again) == sorted(jobs)
    assert states(rig, *jobs) == ["queued"] * 3


async def test_a_command_on_a_reception_is_known_to_the_ledger(service: AsyncService, rig: Rig) -> None:
    reception = await received(service, BIG)

    with pytest.raises(Conflict):
        await service.command(reception.spec.id, "pause")
    await reception.discard()
    assert rig.books.run(operations.states([reception.spec.id])) == {reception.spec.id: ("", 0)}
