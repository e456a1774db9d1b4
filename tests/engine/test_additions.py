"""Destinations that are added to a job: in every state, on the disk first, and through a Redis that loses them."""

from __future__ import annotations

import asyncio
import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import additions, appendix, deliveries, operations
from engine.errors import Conflict, EngineError, Invalid, LedgerUnavailable, NotFound, SpoolUnavailable
from engine.known import known_sidecar
from engine.models import JOB_OVER, SubmitOptions
from engine.records import Lease
from engine.service import AsyncService
from engine.tokens import send
from tests.engine.books import Books, job_id, tid
from tests.engine.rig import PART, Rig
from tests.engine.serving import Drawer, submitted
from tests.engine.test_scripts_command import WAYS

NOBODY = "01940c9e-0000-7000-8000-000000000001"
BIG = b"b" * (PART * 5)  # too large for a pack
SMALL = b"small"

#: What adding says of a job in each state, where its file is in the spool; and where it stays elsewhere.
VERDICTS = {
    "receiving": ("conflict", "conflict"),
    "queued": ("done", "done"),
    "running": ("done", "done"),
    "paused": ("done", "done"),
    "cancelling": ("conflict", "conflict"),
    "succeeded": ("source_gone", "done"),
    "failed": ("done", "done"),
    "partially_succeeded": ("done", "done"),
    "cancelled": ("conflict", "conflict"),
    "expired": ("conflict", "conflict"),
}


# -- the script -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["body", "path"])
@pytest.mark.parametrize("state", WAYS)
def test_whether_something_may_be_added(books: Books, state: str, kind: str) -> None:
    WAYS[state](books)
    before, transfers = books.read(), int(books.job()["transfers"])
    expected = VERDICTS[state][kind == "path"]
    over = state in JOB_OVER

    verdict, now, tokens = books.add(kind=kind)

    assert (verdict, now) == (expected, books.state())
    if verdict != "done":
        assert tokens == []
        assert books.read() == before
        return
    assert books.state() == ("queued" if over else state)
    assert int(books.job()["run"]) == (2 if over else 1)
    assert int(books.job()["transfers"]) == transfers + 1
    added = books.transfer(tid(1, transfers))
    assert (added["destination"], added["state"], added["size"]) == ("third", "pending", books.job()["size"])
    assert [token.transfer for token in tokens] == ([] if state == "paused" else [tid(1, transfers)])
    assert books.add(kind=kind)[0] == "already"


def test_what_was_added_to_a_paused_job_waits_with_it(books: Books) -> None:
    WAYS["paused"](books)
    books.add()

    assert books.ask(tid(1, 1)) == "idle"
    _, _, tokens = books.command("resume")

    assert tid(1, 1) in [token.transfer for token in tokens]
    assert isinstance(books.ask(tid(1, 1)), Lease)


def test_a_file_that_is_kept_no_longer_is_gone(books: Books) -> None:
    WAYS["failed"](books)
    books.later(600)

    assert books.add()[0] == "source_gone"


def test_a_file_that_is_not_ours_is_kept_by_somebody_else(books: Books) -> None:
    WAYS["failed"](books)
    books.later(600)

    assert books.add(kind="path")[0] == "done"


def test_a_run_that_ended_meanwhile_is_not_what_was_meant(books: Books) -> None:
    WAYS["failed"](books)

    assert books.add(run=1)[0] == "ended"
    assert books.state() == "failed"


def test_nothing_is_planned_before_somebody_looked(books: Books) -> None:
    books.accept(unseen=True)
    assert books.add()[0] == "unseen"
    books.seen(books.lease())

    assert books.add()[0] == "done"


def test_the_next_run_does_what_was_added_and_nothing_else(books: Books) -> None:
    WAYS["partially_succeeded"](books)
    books.add(parts=1)

    assert books.ask(tid(1, 1)) == "over"
    books.finish(tid(1, 2))

    assert (books.state(), books.job()["run"]) == ("partially_succeeded", "2")
    assert books.command("retry")[0] == "done"
    books.finish(tid(1, 1))
    assert (books.state(), books.job()["run"]) == ("succeeded", "3")


def test_the_end_of_each_run_is_owed_a_webhook(books: Books) -> None:
    books.accept(webhook="https://hooks.example/")
    books.finish()
    books.add(kind="path")
    assert "satisfied" not in books.job()
    books.finish(tid(1, 1))

    assert sorted(books.run(deliveries.hooks_of(job_id()))) == [f"{job_id()}.{run}.succeeded" for run in (1, 2)]


def test_what_waits_for_the_same_key_has_its_turn(books: Books) -> None:
    books.accept(1, to=["third"], key="same")
    books.begin(tid(1))
    books.accept(2, key="same")
    books.add(number=2, key="same")

    assert books.ask(tid(2, 1)) == "idle"
    books.finish(tid(1))
    assert isinstance(books.ask(tid(2, 1)), Lease)


def test_what_redis_lost_may_have_a_session(books: Books) -> None:
    books.accept()
    books.add(remade=True)

    assert books.lease(tid(1, 1)).lost_begin


# -- the service ------------------------------------------------------------------------------------------------------


async def add(service: AsyncService, job: str, *names: str) -> tuple[list[str], list[str]]:
    """Where the job goes now, and what was new."""
    from engine.access import EVERYTHING

    view, new = await service.add_destinations(job, names, EVERYTHING)
    return [one["destination"] for one in view["transfers"]], new


def work(rig: Rig, drawer: Drawer) -> None:
    send(rig.broker, drawer.sent, "n1")
    drawer.sent.clear()
    rig.work_all()


async def from_path(service: AsyncService, root: Path, data: bytes = SMALL) -> str:
    """A job whose file stays where it is."""
    (root / "film").write_bytes(data)
    service.desk.settings = msgspec.structs.replace(service.settings, allowed_roots=[root])
    options = SubmitOptions(source={"path": str(root / "film")}, key="film")
    spec = service.prepare(options, size=None, owner="bootstrap")
    return str((await service.submit_source(spec))["id"])


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["packed", "of its own"])
async def test_a_running_job_goes_to_one_more(service: AsyncService, rig: Rig, drawer: Drawer, data: bytes) -> None:
    job = await submitted(service, data, key="film", content_type="video/mp4")

    assert await add(service, job, "archive") == (["media", "archive"], ["archive"])
    assert await add(service, job, "archive", "media") == (["media", "archive"], [])
    await asyncio.to_thread(work, rig, drawer)

    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == rig.archive.read("film") == data
    rig.bury()
    assert rig.files() == []


async def test_two_who_add_the_same_at_once_add_it_once(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, BIG, key="film")

    await asyncio.gather(*(add(service, job, "archive") for _ in range(4)))

    assert rig.job(job)["transfers"] == "2"


async def test_listed_by_what_was_added(service: AsyncService) -> None:
    job = await submitted(service)
    await add(service, job, "archive")

    asked: dict[str, Any] = {"state": None, "labels": {}, "q": None, "limit": 10, "cursor": None, "owner": None}
    found = await service.jobs(destination="archive", **asked)
    assert [one["id"] for one in found["items"]] == [job]


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["packed", "of its own"])
async def test_a_failed_job_goes_on_elsewhere(service: AsyncService, rig: Rig, drawer: Drawer, data: bytes) -> None:
    job = await submitted(service, data, key="film")
    drawer.sent.clear()
    rig.books.lose(f"{job}/0")
    rig.graves.take(job)
    rig.bury()

    await add(service, job, "archive")
    assert (rig.state(job), rig.job(job)["run"]) == ("queued", "2")
    await asyncio.to_thread(work, rig, drawer)

    assert rig.state(job) == "partially_succeeded"
    assert rig.archive.read("film") == data
    with pytest.raises(Invalid, match="retry") as refused:
        await add(service, job, "media")
    assert refused.value.errors == [{"pointer": "/destinations/0", "detail": refused.value.detail}]


async def test_the_file_of_a_job_that_succeeded_is_gone(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    job = await submitted(service)
    await asyncio.to_thread(work, rig, drawer)

    with pytest.raises(Conflict, match="submit it again") as refused:
        await add(service, job, "archive")

    assert refused.value.code == "source_gone"
    rig.bury()
    assert rig.files() == []


@pytest.mark.parametrize("buried", [True, False], ids=["laid to rest", "just over"])
async def test_a_file_that_stays_elsewhere_is_sent_again(
    service: AsyncService, rig: Rig, drawer: Drawer, tmp_path: Path, buried: bool
) -> None:
    job = await from_path(service, tmp_path)
    await asyncio.to_thread(work, rig, drawer)
    if buried:
        rig.bury()
        assert rig.files() == []

    await add(service, job, "archive")
    rig.bury()
    assert f"{job}.more" in rig.files()
    await asyncio.to_thread(work, rig, drawer)

    assert (rig.state(job), rig.job(job)["run"]) == ("succeeded", "2")
    assert rig.archive.read("film") == SMALL
    rig.bury()
    assert rig.files() == []


async def test_an_undertaker_who_comes_late_takes_nothing_of_the_next_run(
    service: AsyncService, rig: Rig, drawer: Drawer, tmp_path: Path
) -> None:
    """He saw the end of the first run, and stood still before the file: the disk tells him of the second."""
    job = await from_path(service, tmp_path)
    await asyncio.to_thread(work, rig, drawer)
    await add(service, job, "archive")

    rig.spool.release(job, 1)

    assert known_sidecar(rig.spool, job) is not None
    rig.spool.release(job, 2)
    assert known_sidecar(rig.spool, job) is None


async def test_a_file_that_changed_is_not_sent(service: AsyncService, rig: Rig, drawer: Drawer, tmp_path: Path) -> None:
    job = await from_path(service, tmp_path)
    (tmp_path / "film").write_bytes(b"another")

    with pytest.raises(EngineError) as refused:
        await add(service, job, "archive")
    assert refused.value.code == "source_changed"


@pytest.mark.parametrize("state", ["paused", "cancelled"])
async def test_a_command_came_first(service: AsyncService, rig: Rig, state: str) -> None:
    job = await submitted(service)
    await service.command(job, "pause" if state == "paused" else "cancel")

    if state == "paused":
        assert (await add(service, job, "archive"))[1] == ["archive"]
        return
    with pytest.raises(Conflict, match="cancelled gets no further destination"):
        await add(service, job, "archive")


async def test_unknown_jobs_and_destinations(service: AsyncService) -> None:
    with pytest.raises(NotFound):
        await add(service, NOBODY, "archive")
    job = await submitted(service)

    with pytest.raises(Invalid) as refused:
        await add(service, job, "media", "archiv")

    assert refused.value.code == "unknown_destination"
    assert refused.value.errors[0]["pointer"] == "/destinations/1"


async def test_a_source_that_nobody_looked_at(service: AsyncService) -> None:
    options = SubmitOptions(source={"destination": "media", "key": "film"}, destinations=["archive"])
    spec = service.prepare(options, size=None, owner="bootstrap")
    job = str((await service.submit_source(spec))["id"])

    with pytest.raises(Conflict, match="in a moment") as refused:
        await add(service, job, "media")
    assert refused.value.retryable


async def test_an_object_is_not_copied_onto_itself(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    job = await copied(service, rig, drawer)

    with pytest.raises(Conflict, match="cannot be the target"):
        await add(service, job, "media")


async def copied(service: AsyncService, rig: Rig, drawer: Drawer) -> str:
    job = await submitted(service, BIG, key="film")
    options = SubmitOptions(source={"destination": "media", "key": "film"}, destinations=["archive"], key="film")
    await asyncio.to_thread(work, rig, drawer)
    spec = service.prepare(options, size=None, owner="bootstrap")
    job = str((await service.submit_source(spec))["id"])
    await asyncio.to_thread(work, rig, drawer)
    assert rig.state(job) == "succeeded"
    return job


async def test_another_node_has_the_file(service: AsyncService) -> None:
    job = await submitted(service)
    service.settings = msgspec.structs.replace(service.settings, node="n2")

    with pytest.raises(EngineError, match="n1") as refused:
        await add(service, job, "archive")
    assert refused.value.code == "wrong_node"


# -- the disk ---------------------------------------------------------------------------------------------------------


async def test_it_is_on_disk_before_it_is_in_the_ledger(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service)
    run = service.ledger.run

    async def look_first(operation: operations.Operation[Any]) -> Any:
        if operation.script == "add":
            known = known_sidecar(rig.spool, job)
            assert known is not None
            assert [plan.destination for plan in known.transfers] == ["media", "archive"]
        return await run(operation)

    service.ledger.run = look_first  # type: ignore[method-assign, assignment]
    await add(service, job, "archive")


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["packed", "of its own"])
@pytest.mark.parametrize("full", [True, False])
async def test_a_lost_answer_is_made_good(
    service: AsyncService, rig: Rig, drawer: Drawer, data: bytes, full: bool
) -> None:
    """The process dies, or Redis is away, between the disk and the ledger: the wish is on record, and is done."""
    job = await submitted(service, data, key="film")
    run = service.ledger.run

    async def away(operation: operations.Operation[Any]) -> Any:
        if operation.script == "add":
            raise LedgerUnavailable("Redis is away.")
        return await run(operation)

    service.ledger.run = away  # type: ignore[method-assign, assignment]
    with pytest.raises(LedgerUnavailable):
        await add(service, job, "archive")

    report = rig.reconcile(full=full)
    assert (report.extended, report.made_again) == ([job], [])
    assert rig.reconcile(full=full).extended == []
    send(rig.broker, report.tokens, "n1")
    await asyncio.to_thread(work, rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("film") == data


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["packed", "of its own"])
@pytest.mark.parametrize("over", [True, False], ids=["next run", "same run"])
async def test_a_redis_that_lost_everything_gets_it_all_again(
    service: AsyncService, rig: Rig, drawer: Drawer, data: bytes, over: bool
) -> None:
    job = await submitted(service, data, key="film")
    drawer.sent.clear()
    if over:
        rig.books.lose(f"{job}/0")
        rig.graves.take(job)
        rig.bury()
    await add(service, job, "archive")
    drawer.sent.clear()
    rig.books.server.wipe()

    report = rig.reconcile()
    assert (report.made_again, report.ends_restored) == ([job], [])
    assert rig.job(job)["run"] == ("2" if over else "1")
    send(rig.broker, report.tokens, "n1")
    await asyncio.to_thread(rig.work_all)

    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == rig.archive.read("film") == data
    rig.graves.take(job)
    rig.bury()
    assert rig.files() == []


async def test_a_next_run_that_redis_lost_is_made_again_without_the_first_one_s_sidecar(
    service: AsyncService, rig: Rig, drawer: Drawer, tmp_path: Path
) -> None:
    job = await from_path(service, tmp_path, BIG)
    await asyncio.to_thread(work, rig, drawer)
    rig.bury()
    await add(service, job, "archive")
    drawer.sent.clear()
    rig.books.server.wipe()

    report = rig.reconcile()
    assert (report.made_again, report.ends_restored) == ([job], [])
    send(rig.broker, report.tokens, "n1")
    await asyncio.to_thread(rig.work_all)

    assert rig.state(job) == "succeeded"
    assert rig.archive.read("film") == BIG


async def test_what_the_ledger_refuses_keeps_no_file(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    """The last moment of a failed job's file: the disk has the wish for a next run, and the ledger says no."""
    job = await submitted(service, BIG)
    drawer.sent.clear()
    rig.books.lose(f"{job}/0")
    run = service.ledger.run

    async def too_late(operation: operations.Operation[Any]) -> Any:
        if operation.script == "add":
            rig.books.server.client.hset(f"bucketline:job:{job}", "until", 0)  # type: ignore[attr-defined]
        return await run(operation)

    service.ledger.run = too_late  # type: ignore[method-assign, assignment]
    with pytest.raises(Conflict) as refused:
        await add(service, job, "archive")
    assert refused.value.code == "source_gone"
    rig.graves.take(job)
    rig.bury()

    rig.reconcile(full=False)

    assert rig.files() == []
    assert rig.state(job) == "failed"


async def test_a_wish_that_came_too_late_is_cleared_away(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    job = await submitted(service)
    known = known_sidecar(rig.spool, job)
    await asyncio.to_thread(work, rig, drawer)
    rig.bury()
    rig.spool.appendix.append(job, msgspec.json.encode(known))

    rig.reconcile()

    assert rig.files() == []
    assert rig.state(job) == "succeeded"


async def test_a_retry_after_an_addition_is_remembered(
    service: AsyncService, rig: Rig, drawer: Drawer, tmp_path: Path
) -> None:
    """Also where the only thing on disk is what was added."""
    job = await from_path(service, tmp_path)
    await asyncio.to_thread(work, rig, drawer)
    rig.bury()
    await add(service, job, "archive")
    drawer.sent.clear()
    rig.books.lose(f"{job}/1")
    rig.graves.take(job)
    rig.bury()

    await service.command(job, "retry")
    drawer.sent.clear()
    rig.books.server.wipe()
    report = rig.reconcile()

    assert report.made_again == [job]
    assert (rig.job(job)["run"], rig.job(job)["transfers"]) == ("3", "2")


def test_a_process_that_stands_still_holds_nobody_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = rig.submit(SMALL)
    rig.spool.appendix.append(job, b'{"run":1}')
    monkeypatch.setattr(appendix, "LOCK_SECONDS", 0.05)

    with (rig.settings.spool / "jobs" / f"{job}.more").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SpoolUnavailable):
            rig.spool.appendix.append(job, b'{"run":2}')
        with pytest.raises(SpoolUnavailable):
            rig.spool.release(job, 1)

    rig.spool.release(job, 1)
    assert rig.files() == []


def test_those_who_append_and_those_who_remove_lose_no_line(rig: Rig) -> None:
    """Each line is of a later run than the one that is removed."""
    job = rig.submit(SMALL)

    def append(run: int) -> None:
        rig.spool.appendix.append(job, b'{"run":%d}' % run)

    with ThreadPoolExecutor(6) as threads:
        for run in range(2, 40):
            done = [threads.submit(append, run) for _ in range(3)]
            gone = [threads.submit(rig.spool.appendix.remove, job, run - 1) for _ in range(3)]
            assert [one.result() for one in done] == [None] * 3
            assert all(one.result() in (True, False) for one in gone)
            assert len([line for line in rig.spool.appendix.read(job) if line == b'{"run":%d}' % run]) == 3


def test_a_torn_line_counts_for_nothing(rig: Rig) -> None:
    job = rig.submit(SMALL)
    known = known_sidecar(rig.spool, job)
    path = rig.settings.spool / "jobs" / f"{job}.more"
    path.write_bytes(b'\n{"run":9,"spe')
    assert known_sidecar(rig.spool, job) == known

    rig.spool.appendix.append(job, msgspec.json.encode(msgspec.structs.replace(known, run=4)))

    found = known_sidecar(rig.spool, job)
    assert found is not None
    assert found.run == 4


def test_the_layers_agree_on_what_is_closed() -> None:
    assert set(additions.CLOSED) == {state for state, verdicts in VERDICTS.items() if verdicts[0] == "conflict"}


async def test_waiting_ends_with_the_run_that_was_added(
    service: AsyncService, rig: Rig, drawer: Drawer, tmp_path: Path
) -> None:
    job = await from_path(service, tmp_path)
    await asyncio.to_thread(work, rig, drawer)
    await add(service, job, "archive")

    waiting = asyncio.ensure_future(service.wait(job, 60))
    await asyncio.to_thread(work, rig, drawer)

    assert ((await waiting)["state"], (await waiting)["run"]) == ("succeeded", 2)
