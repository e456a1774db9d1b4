"""The engine's face towards the API: asking, commanding, waiting, and what it says when something is in the way."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import notices, operations
from engine.actors import check_result
from engine.errors import Conflict, EngineError, Invalid, LedgerUnavailable, NotFound, SpoolFull
from engine.models import JOB_STATES, Sidecar, SubmitOptions
from engine.service import AsyncService
from engine.spool import Spool
from tests.engine.rig import PART, Rig
from tests.engine.serving import Drawer, submitted

NOBODY = "01940c9e-0000-7000-8000-000000000001"
BIG = b"b" * (PART * 3)


def failed(rig: Rig, job: str) -> None:
    rig.books.lose(f"{job}/0")


# -- asking -----------------------------------------------------------------------------------------------------------


async def test_a_job_and_its_revision(service: AsyncService) -> None:
    job = await submitted(service, key="k")

    view, revision = await service.job(job)
    paused, _ = await service.command(job, "pause")
    _, later = await service.job(job)

    assert (view["id"], view["state"], view["key"]) == (job, "queued", "k")
    assert paused["state"] == "paused"
    assert later > revision


async def test_nobody_s_job_is_not_found(service: AsyncService) -> None:
    for ask in (
        service.job(NOBODY), service.parts(NOBODY, None), service.command(NOBODY, "pause"),
        service.command(NOBODY, "retry"), service.forget(NOBODY), service.wait(NOBODY, 1),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await ask


async def test_parts_of_each_destination(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, BIG, destinations=["media", "archive"])
    rig.work(f"{job}/1")
    rig.books.record(rig.books.lease(f"{job}/1"))

    media, archive = await service.parts(job, "media"), await service.parts(job, "archive")

    assert [part["state"] for part in media["items"]] == ["pending"] * 3
    assert [part["state"] for part in archive["items"]] == ["sent", "pending", "pending"]
    assert await service.parts(job, None) == media


async def test_parts_of_a_destination_that_is_none_of_the_job_s(service: AsyncService) -> None:
    job = await submitted(service)

    with pytest.raises(NotFound, match="media"):
        await service.parts(job, "archive")


async def test_a_reception_has_no_parts_yet(service: AsyncService) -> None:
    spec = service.prepare(SubmitOptions(), size=None, owner="")
    reception = await service.receive(spec, None)
    await reception.progress()

    assert await service.parts(spec.id, None) == {"items": [], "failures": []}
    await reception.discard()


# -- waiting ----------------------------------------------------------------------------------------------------------


async def test_waiting_ends_with_the_job(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service)
    waiting = asyncio.ensure_future(service.wait(job, 60))
    await asyncio.to_thread(rig.work, f"{job}/0")

    assert (await waiting)["state"] == "succeeded"


async def test_waiting_for_what_is_over_ends_at_once(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service)
    failed(rig, job)

    assert (await service.wait(job, 60))["state"] == "failed"


async def test_waiting_ends_with_its_time(service: AsyncService) -> None:
    job = await submitted(service)

    assert (await service.wait(job, 0.01))["state"] == "queued"


# -- commands ---------------------------------------------------------------------------------------------------------


async def test_a_command_says_whether_it_changed_anything(service: AsyncService) -> None:
    job = await submitted(service)

    assert [(await service.command(job, "pause"))[1] for _ in range(2)] == [True, False]
    assert [(await service.command(job, "resume"))[1] for _ in range(2)] == [True, False]
    assert [(await service.command(job, "cancel"))[1] for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("action", "words"),
    [("cancel", "be cancelled"), ("pause", "be paused"), ("resume", "be resumed"), ("retry", "be retried")],
)
async def test_a_command_that_cannot_be_says_why(service: AsyncService, rig: Rig, action: str, words: str) -> None:
    job = await submitted(service)
    rig.work(f"{job}/0")

    with pytest.raises(Conflict, match=f"succeeded cannot {words}"):
        await service.command(job, action)


async def test_commands_send_their_tokens(service: AsyncService, drawer: Drawer, rig: Rig) -> None:
    job = await submitted(service, BIG)
    rig.work(f"{job}/0")
    drawer.sent.clear()

    await service.command(job, "cancel")

    assert [token.transfer for token in drawer.sent] == [f"{job}/0"]


async def test_a_retry_is_on_disk_before_it_is_in_the_ledger(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service)
    failed(rig, job)
    run = service.ledger.run

    async def look_first(operation: operations.Operation[Any]) -> Any:
        if operation.script == "command":
            data = rig.spool.read_sidecar(job)
            assert data is not None
            assert msgspec.json.decode(data, type=Sidecar).run == 2
        return await run(operation)

    service.ledger.run = look_first  # type: ignore[method-assign, assignment]

    view, changed = await service.command(job, "retry")

    assert (view["state"], view["run"], changed) == ("queued", 2, True)


async def test_a_retry_whose_file_is_gone_says_so(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service)
    failed(rig, job)
    rig.spool.release(job)

    with pytest.raises(Conflict) as refused:
        await service.command(job, "retry")
    assert refused.value.code == "source_gone"
    assert rig.state(job) == "failed"


async def test_a_retry_of_a_job_that_succeeded_leaves_the_disk_alone(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service)
    rig.work(f"{job}/0")
    before = rig.spool.read_sidecar(job)

    with pytest.raises(Conflict):
        await service.command(job, "retry")
    assert rig.spool.read_sidecar(job) == before


async def test_only_what_is_over_can_be_forgotten(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service)
    with pytest.raises(Conflict):
        await service.forget(job)
    rig.work(f"{job}/0")

    await service.forget(job)

    with pytest.raises(NotFound):
        await service.job(job)


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rooted(service: AsyncService, tmp_path: Path) -> Path:
    """A directory whose files may be submitted by their path."""
    root = tmp_path / "mine"
    root.mkdir()
    service.desk.settings = msgspec.structs.replace(service.settings, allowed_roots=[root])
    return root


def path_of(service: AsyncService, path: Path, **options: Any) -> Any:
    return service.prepare(SubmitOptions(source={"path": str(path)}, **options), size=None, owner="")


async def test_a_path_becomes_a_job_whose_bytes_stay_where_they_are(
    service: AsyncService, drawer: Drawer, rig: Rig, rooted: Path
) -> None:
    (rooted / "film.mp4").write_bytes(BIG)

    view = await service.submit_source(path_of(service, rooted / "film.mp4", key="film"))

    assert (view["name"], view["size"], view["source"]["kind"]) == ("film.mp4", len(BIG), "path")
    assert rig.files() == [f"{view['id']}.path.json"]
    for token in drawer.sent:
        rig.work(*token)
    rig.work_all()
    assert rig.state(view["id"]) == "succeeded"
    assert rig.space.read("film") == BIG
    rig.bury()
    assert (rooted / "film.mp4").read_bytes() == BIG, "it is not ours to remove"


async def test_a_path_that_changed_meanwhile_is_not_sent(service: AsyncService, rig: Rig, rooted: Path) -> None:
    (rooted / "film.mp4").write_bytes(BIG)
    view = await service.submit_source(path_of(service, rooted / "film.mp4", key="film"))
    (rooted / "film.mp4").write_bytes(b"another film")

    rig.work(f"{view['id']}/0")
    rig.work_all()

    error = msgspec.json.decode(rig.job(view["id"])["error"])
    assert (rig.state(view["id"]), error["code"]) == ("failed", "source_changed")
    assert rig.space.objects == {}


async def test_a_path_has_no_checksum_that_could_be_compared(service: AsyncService, rooted: Path) -> None:
    (rooted / "film.mp4").write_bytes(BIG)

    for options in ({"checksum": "sha256:" + "0" * 64}, {"key_template": "{sha256}"}):
        with pytest.raises(Invalid):
            await service.submit_source(path_of(service, rooted / "film.mp4", **options))


async def test_a_path_that_vanished_is_refused(service: AsyncService, rig: Rig, rooted: Path) -> None:
    (rooted / "film.mp4").write_bytes(BIG)
    spec = path_of(service, rooted / "film.mp4")
    (rooted / "film.mp4").unlink()

    with pytest.raises(Invalid) as refused:
        await service.submit_source(spec)
    assert refused.value.errors[0]["pointer"] == "/source/path"
    assert rig.files() == []


@pytest.mark.parametrize("what", ["a link", "a folder that is a link", "a pipe", "a loop"])
async def test_what_came_to_the_path_meanwhile_is_not_read(
    service: AsyncService, rig: Rig, rooted: Path, tmp_path: Path, what: str
) -> None:
    (rooted / "in").mkdir()
    film = rooted / "in" / "film.mp4"
    film.write_bytes(BIG)
    spec = path_of(service, film)
    if what == "a folder that is a link":
        film.parent.rename(tmp_path / "outside")
        film.parent.symlink_to(tmp_path / "outside")
    else:
        film.rename(tmp_path / "film.mp4")
        make = {"a link": lambda: film.symlink_to(tmp_path / "film.mp4"), "a pipe": lambda: os.mkfifo(film)}
        make.get(what, lambda: film.symlink_to(film.name))()

    with pytest.raises(Invalid) as refused:
        await service.submit_source(spec)
    assert refused.value.errors[0]["pointer"] == "/source/path"
    assert rig.files() == []


async def test_a_path_is_pinned_as_it_was_when_its_size_was_told(service: AsyncService, rig: Rig, rooted: Path) -> None:
    film = rooted / "film.mp4"
    film.write_bytes(b"another film")
    spec = path_of(service, film, key="film")
    film.unlink()
    film.write_bytes(BIG)

    view = await service.submit_source(spec)
    rig.work(f"{view['id']}/0")
    rig.work_all()

    assert (view["size"], rig.state(view["id"])) == (len(BIG), "succeeded")
    assert rig.space.read("film") == BIG


async def test_a_folder_that_becomes_a_link_before_the_work_is_not_followed(
    service: AsyncService, rig: Rig, rooted: Path, tmp_path: Path
) -> None:
    """Even to the file that was accepted: size, time of change and inode are right."""
    (rooted / "in").mkdir()
    (rooted / "in" / "film.mp4").write_bytes(BIG)
    view = await service.submit_source(path_of(service, rooted / "in" / "film.mp4", key="film"))
    (rooted / "in").rename(tmp_path / "outside")
    (rooted / "in").symlink_to(tmp_path / "outside")

    rig.work(f"{view['id']}/0")
    rig.work_all()

    error = msgspec.json.decode(rig.job(view["id"])["error"])
    assert (rig.state(view["id"]), error["code"]) == ("failed", "source_gone")
    assert rig.space.objects == {}


# -- destinations -----------------------------------------------------------------------------------------------------


async def test_destinations_as_configured(service: AsyncService) -> None:
    media, archive = service.destinations.shown()

    assert (media["name"], media["backend"], media["default"], media["kind"]) == (
        "media",
        "memory",
        True,
        "destination",
    )
    assert media["url"].startswith("memory://")
    assert not archive["default"]


async def test_a_destination_has_the_result_of_its_last_check(service: AsyncService, rig: Rig) -> None:
    assert (await service.destinations.one("media"))["health"] is None

    rig.books.run(notices.note_check("r", "media", check_result(rig.runtime, "media")))

    health = (await service.destinations.one("media"))["health"]
    assert [one["health"] for one in await service.destinations.all()] == [health, None]
    assert health["ok"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", health["at"])
    assert all(step["ok"] for step in health["steps"])


async def test_a_destination_that_is_none(service: AsyncService) -> None:
    for ask in (service.destinations.one("nowhere"), service.destinations.check("nowhere")):
        with pytest.raises(NotFound) as refused:
            await ask
        assert refused.value.code == "unknown_destination"


async def test_a_check_is_done_by_a_worker(service: AsyncService, drawer: Drawer, rig: Rig) -> None:
    def ask_check(destination: str, request: str) -> None:
        rig.books.run(notices.note_check(request, destination, check_result(rig.runtime, destination)))

    drawer.ask_check = ask_check  # type: ignore[method-assign]

    found = await service.destinations.check("media")

    assert found["ok"]
    assert found["health"]["ok"]
    assert rig.space.objects == {}, "nothing of it stays"


async def test_a_check_that_nobody_answers(service: AsyncService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.destinations.CHECK_SECONDS", 0)

    with pytest.raises(EngineError) as refused:
        await service.destinations.check("media")
    assert refused.value.code == "check_timeout"
    assert refused.value.retryable


def test_a_check_of_a_destination_that_a_worker_does_not_know(rig: Rig) -> None:
    found = check_result(rig.runtime, "nowhere")

    assert not found["ok"]
    assert found["name"] == "nowhere"


# -- health -----------------------------------------------------------------------------------------------------------


async def test_stats_in_numbers(service: AsyncService, rig: Rig) -> None:
    job = await submitted(service, BIG)
    rig.work(f"{job}/0")
    rig.books.sweep(worker="n1:7")

    found = await service.health.stats()

    assert set(found["jobs"]) == set(JOB_STATES)
    assert (found["jobs"]["running"], found["bytes"]) == (1, {"received": len(BIG), "sent": 0})
    assert found["queues"]["active_transfers"] == 1
    assert found["queues"]["waiting"] == {"small.n1": 1, "high.n1": 0, "parts.n1": 0, "low.n1": 0}
    assert found["spool"]["used"] >= len(BIG)
    assert [one["name"] for one in found["workers"]] == ["n1:7"]


async def test_ready_with_redis_a_spool_and_a_worker(service: AsyncService, rig: Rig) -> None:
    before = await service.health.ready()
    rig.books.sweep()
    after = await service.health.ready()

    assert (before["ready"], before["checks"]["workers"]["ok"]) == (False, False)
    assert after["ready"]
    assert all(check["ok"] for check in after["checks"].values())


async def test_not_ready_without_redis(service: AsyncService) -> None:
    async def away(operation: Any) -> Any:
        raise LedgerUnavailable("Redis is away.")

    service.ledger.run = away  # type: ignore[method-assign]

    found = await service.health.ready()

    assert not found["ready"]
    assert (found["checks"]["redis"]["ok"], found["checks"]["spool"]["ok"]) == (False, True)


async def test_not_ready_with_a_full_spool(service: AsyncService, rig: Rig) -> None:
    rig.books.sweep()
    service.spool = Spool(rig.settings.spool, limit=1, durability="cache")
    service.spool.open()
    await submitted(service, b"")
    service.spool._space.announce("x", 1)

    found = await service.health.ready()

    assert (found["ready"], found["checks"]["spool"]["ok"]) == (False, False)
    with pytest.raises(SpoolFull):
        service.room(1)
