"""From bucket to bucket: jobs whose source is an object at another destination."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from backends.base import MIB, Properties
from backends.body import BytesBody
from backends.config import load
from backends.errors import AccessDenied, Throttled
from engine import operations, upkeep
from engine.errors import Conflict, Invalid
from engine.models import Sidecar, SubmitOptions
from engine.plugins_file import PluginsFile
from engine.service import AsyncService
from engine.submission import Desk
from tests.engine.rig import PART, Rig, tap
from tests.engine.serving import Drawer

BIG = os.urandom(PART * 3 + 5)
LATE_SECONDS = 24 * 3600


def put(rig: Rig, key: str, data: bytes = BIG, destination: str = "media", **properties: Any) -> None:
    """An object that is there, whoever made it."""
    store: Any = rig.runtime.store(destination).backend
    store.put_whole(key, BytesBody(data), properties=Properties(**properties))


async def submit(service: AsyncService, rig: Rig, of: str = "film.mp4", **options: Any) -> str:
    """A job from `media`, by its id; its tokens are in the drawer."""
    source = {"destination": "media", "key": of}
    given = {"destinations": ["archive"], **options}
    spec = service.prepare(SubmitOptions(source=source, **given), size=None, owner="bootstrap")
    return str((await service.submit_source(spec))["id"])


def work(rig: Rig, drawer: Drawer) -> None:
    """Everything that there is to do now."""
    sent, drawer.sent = drawer.sent, []
    for token in sent:
        rig.work(*token)
    rig.work_all()


def error_of(rig: Rig, job: str) -> str:
    return str(msgspec.json.decode(rig.job(job)["error"])["code"])


# -- what becomes of it -----------------------------------------------------------------------------------------------


async def test_nothing_is_known_of_it_before_a_worker_has_looked(service: AsyncService, rig: Rig) -> None:
    view, _ = await service.job(await submit(service, rig, of="2026/film.mp4"))

    assert (view["name"], view["size"], view["received"], view["content_type"]) == ("film.mp4", None, 0, None)
    assert view["source"] == {
        "kind": "destination", "destination": "media", "key": "2026/film.mp4", "available_until": None,
    }  # fmt: skip
    assert view["transfers"][0]["parts"]["total"] == 0
    assert (await service.parts(view["id"], None))["items"] == []
    assert rig.files() == [f"{view['id']}.path.json"]


async def test_a_store_copies_by_itself_where_it_can(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4", content_type="video/mp4")
    rig.runtime.store("media").backend.read_range = None  # type: ignore[attr-defined]  # nobody may read it
    job = await submit(service, rig, key_template="copies/{name}", metadata={"a": "1"})
    work(rig, drawer)

    view, _ = await service.job(job)
    assert (view["state"], view["size"], view["content_type"]) == ("succeeded", len(BIG), "video/mp4")
    assert rig.archive.read("copies/film.mp4") == BIG
    assert rig.archive.objects["copies/film.mp4"].info.metadata == {"bucketline-job": job, "a": "1"}
    assert view["transfers"][0]["verified_by"] == "checksum"
    rig.bury()
    assert rig.files() == []
    assert rig.space.read("film.mp4") == BIG


async def test_workers_carry_the_bytes_where_it_cannot(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    wire = tap(rig)  # no memory store for the others, from here on
    job = await submit(service, rig, key="film.mp4")
    work(rig, drawer)

    assert rig.state(job) == "succeeded"
    assert rig.archive.read("film.mp4") == BIG
    assert wire.calls.count("read_range") == 4, "each part is read once"
    assert (await service.job(job))[0]["transfers"][0]["parts"] == {
        "total": 4, "sent": 4, "in_flight": 0, "failing": 0,
    }  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1])
async def test_objects_of_every_size(service: AsyncService, rig: Rig, drawer: Drawer, size: int) -> None:
    put(rig, "film.mp4", BIG[:size])
    tap(rig)
    job = await submit(service, rig)
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.archive.read(f"{job}/film.mp4") == BIG[:size]


async def test_parts_that_are_too_large_for_memory_wait_in_a_file_without_a_name(
    service: AsyncService, rig: Rig, drawer: Drawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.drawn.IN_MEMORY", 1000)
    put(rig, "film.mp4", os.urandom(MIB))
    tap(rig)
    job = await submit(service, rig, key="copy")
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("copy") == rig.space.read("film.mp4")
    held = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert [path for path in held if path.startswith(str(rig.settings.spool)) and "deleted" in path] == []


async def test_one_look_is_enough_for_all_destinations(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    job = await submit(service, rig, key="copy", destinations=["archive", "media"])
    rig.work(f"{job}/1")
    assert rig.job(job)["size"] == "", "the first transfer looks for all"
    rig.work(f"{job}/0")
    assert rig.transfer(job, 1)["size"] == rig.job(job)["size"] == str(len(BIG))
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("copy") == rig.space.read("copy") == BIG


async def test_a_copy_that_is_refused_is_carried(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    wire = tap(rig, "archive")

    def refuse(*args: Any) -> None:
        raise AccessDenied("No copies over here.")

    wire.taps["copy_from"] = refuse
    job = await submit(service, rig, key="copy")
    work(rig, drawer)
    assert (rig.state(job), wire.calls.count("copy_from")) == ("succeeded", 1)
    assert rig.archive.read("copy") == BIG
    assert rig.transfer(job)["part_size"] == str(PART)


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "copied"])
@pytest.mark.parametrize("there", [BIG, BIG[::-1]], ids=["same", "other"])
async def test_what_is_there_already_is_skipped_when_it_is_the_same(
    service: AsyncService, rig: Rig, drawer: Drawer, there: bytes, carried: bool
) -> None:
    put(rig, "film.mp4")
    put(rig, "copy", there, "archive")
    if carried:
        tap(rig)
    job = await submit(service, rig, key="copy", on_conflict="skip_same")
    work(rig, drawer)
    view, _ = await service.job(job)
    assert view["state"] == "succeeded"
    assert (view["transfers"][0]["verified_by"] == "skip_same") == (there == BIG)
    assert rig.archive.read("copy") == BIG


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "copied"])
async def test_a_key_that_is_taken(service: AsyncService, rig: Rig, drawer: Drawer, carried: bool) -> None:
    put(rig, "film.mp4")
    put(rig, "copy.mp4", b"mine", "archive")
    if carried:
        tap(rig)
    renamed = await submit(service, rig, key="copy.mp4", on_conflict="rename")
    work(rig, drawer)
    refused = await submit(service, rig, key="copy.mp4", on_conflict="fail")
    work(rig, drawer)
    assert (rig.state(renamed), rig.state(refused), error_of(rig, refused)) == ("succeeded", "failed", "object_exists")
    assert (rig.archive.read("copy.mp4"), rig.archive.read("copy-1.mp4")) == (b"mine", BIG)


async def test_a_worker_that_has_to_go_gives_its_range_back(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    wire = tap(rig)
    job = await submit(service, rig, key="copy")
    rig.work(f"{job}/0")
    rig.work(f"{job}/0")
    before = rig.transfer(job)["attempts"]
    wire.taps["read_range"] = lambda *args: rig.runtime.interrupted.set()
    rig.work(f"{job}/0", lane="parts")
    rig.runtime.interrupted.clear()
    wire.taps.clear()
    assert rig.transfer(job)["attempts"] == before
    rig.books.later(5)
    work(rig, drawer)
    rig.work(f"{job}/0", lane="parts")
    rig.work_all()
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("copy") == BIG


# -- what goes wrong --------------------------------------------------------------------------------------------------


async def test_a_source_that_is_not_there_fails_all_transfers_at_once(
    service: AsyncService, rig: Rig, drawer: Drawer
) -> None:
    job = await submit(service, rig, key="copy", destinations=["archive", "media"])
    work(rig, drawer)
    view, _ = await service.job(job)
    assert (view["state"], view["error"]["code"], view["error"]["retryable"]) == ("failed", "source_missing", False)
    assert [one["state"] for one in view["transfers"]] == ["failed", "failed"]
    assert view["source"]["available_until"] is None
    rig.bury()
    assert rig.files() == [f"{job}.path.json"], "it can be retried"


async def test_retry_works_as_soon_as_it_is_there_however_late(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    job = await submit(service, rig, key="copy")
    work(rig, drawer)
    rig.bury()
    rig.books.later(LATE_SECONDS)
    put(rig, "film.mp4")
    assert rig.books.run(operations.command(job, "retry"))[0] == "done"
    rig.work(f"{job}/0")
    rig.work_all()
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("copy") == BIG


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "copied"])
async def test_a_source_that_changes_between_look_and_end(
    service: AsyncService, rig: Rig, drawer: Drawer, carried: bool
) -> None:
    put(rig, "film.mp4")
    if carried:
        tap(rig)
    job = await submit(service, rig, key="copy")
    rig.work(f"{job}/0")
    put(rig, "film.mp4", BIG[::-1])
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "source_changed")
    assert rig.archive.objects == {}
    assert rig.archive.uploads == {}


async def test_a_source_that_vanishes_midway_and_comes_back(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    wire = tap(rig)
    job = await submit(service, rig, key="copy")
    kept = rig.space.objects["film.mp4"]
    wire.taps["read_range"] = lambda key, offset, size: offset == 2 * PART and rig.space.objects.pop(key, None)
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "source_missing")
    assert rig.archive.uploads == {}
    wire.taps.clear()
    rig.space.objects["film.mp4"] = kept
    await service.command(job, "retry")
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("copy") == BIG


async def test_trouble_at_the_source_passes(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    wire = tap(rig)

    def once(verb: str) -> None:
        def refuse(*args: Any) -> None:
            del wire.taps[verb]
            raise Throttled("Not so fast.", retry_after=1.0)

        wire.taps[verb] = refuse

    once("stat")
    once("read_range")
    job = await submit(service, rig, key="copy")
    for _ in range(4):
        work(rig, drawer)
        rig.books.later(5)
        for _ in range(2):
            rig.work(f"{job}/0", lane="parts")
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("copy") == BIG


async def test_a_source_above_the_limit(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    rig.runtime.settings = msgspec.structs.replace(rig.settings, max_size=len(BIG) - 1)
    job = await submit(service, rig)
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "too_large")


async def test_cancel_before_anybody_looked_ends_it_at_once(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    job = await submit(service, rig, key="copy")
    await service.command(job, "cancel")
    assert rig.state(job) == "cancelled"
    work(rig, drawer)
    assert rig.archive.objects == {}


async def test_pause_holds_the_look_back(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    job = await submit(service, rig, key="copy")
    await service.command(job, "pause")
    work(rig, drawer)
    assert rig.job(job)["size"] == ""
    await service.command(job, "resume")
    work(rig, drawer)
    assert rig.state(job) == "succeeded"


async def test_a_worker_that_dies_while_it_looks_costs_one_look(
    service: AsyncService, rig: Rig, drawer: Drawer
) -> None:
    put(rig, "film.mp4")
    job = await submit(service, rig, key="copy")
    lost = rig.books.lease(f"{job}/0")
    assert lost.step == "look"
    rig.books.later(60)
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.transfer(job).get("lost_begin", "0") == "0"


async def test_what_the_api_has_read_already_of_plugins_toml_is_read_before_the_look(
    service: AsyncService, rig: Rig, drawer: Drawer
) -> None:
    """What is planned must not go to, or come from, where the file said earlier."""
    rig.runtime.plugins = PluginsFile(rig.settings)
    put(rig, "film.mp4", b"the old place's")
    put(rig, "new/film.mp4")
    rig.runtime.store("archive")
    text = rig.plugins.read_text()
    rig.plugins.write_text(text.replace('backend = "memory"', 'backend = "memory"\nprefix = "new/"'))
    service.desk = Desk(load(rig.plugins, {}), rig.settings)
    job = await submit(service, rig, key="copy")
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.archive.read("new/copy") == BIG


async def test_a_source_whose_destination_is_gone(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    job = await submit(service, rig, key="copy")
    del rig.runtime.configuration.destinations["media"]
    rig.runtime._stores.clear()
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "destination_changed")


# -- when Redis loses it ----------------------------------------------------------------------------------------------


async def test_a_job_that_redis_lost_is_made_again_before_the_look(
    service: AsyncService, rig: Rig, drawer: Drawer
) -> None:
    put(rig, "film.mp4")
    job = await submit(service, rig, key="copy")
    rig.books.server.wipe()
    report = rig.reconcile()
    assert report.made_again == [job]
    work(rig, drawer)
    for token in report.tokens:
        rig.work(*token)
    rig.work_all()
    assert rig.archive.read("copy") == BIG
    assert rig.state(job) == "succeeded"


async def test_a_job_that_redis_lost_after_the_look_keeps_its_content(
    service: AsyncService, rig: Rig, drawer: Drawer
) -> None:
    put(rig, "film.mp4")
    tap(rig)
    job = await submit(service, rig, key="copy")
    rig.work(f"{job}/0")
    sidecar = msgspec.json.decode(rig.spool.read_sidecar(job) or b"", type=Sidecar)
    assert (sidecar.spec.source.seen, sidecar.size, sidecar.transfers[0].total) == (True, len(BIG), 4)
    put(rig, "film.mp4", b"another film")
    rig.books.server.wipe()
    for token in rig.reconcile().tokens:
        rig.work(*token)
    rig.work_all()
    assert (rig.state(job), error_of(rig, job)) == ("failed", "source_changed")


async def test_a_look_that_redis_forgot_is_read_from_the_disk(service: AsyncService, rig: Rig, drawer: Drawer) -> None:
    put(rig, "film.mp4")
    job = await submit(service, rig, key="copy")
    before = rig.books.run(upkeep.dump([job]))[0]
    assert before is not None
    rig.work(f"{job}/0")
    sidecar = msgspec.json.decode(rig.spool.read_sidecar(job) or b"", type=Sidecar)
    rig.books.server.wipe()
    unseen = msgspec.json.decode(before[0]["spec"], type=type(sidecar.spec))
    rig.books.run(
        operations.accept_sidecar(
            msgspec.structs.replace(sidecar, spec=unseen, transfers=service.desk.planning.unplanned(unseen)),
            rig.settings,
        )
    )
    put(rig, "film.mp4", b"another film")
    work(rig, drawer)
    rig.work(f"{job}/0")
    rig.work_all()
    assert (rig.state(job), error_of(rig, job)) == ("failed", "source_changed")


# -- what is refused at submit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"destination": "nowhere", "key": "a"}, "/source/destination"),
        ({"destination": "media", "key": "../a"}, "/source/key"),
        ({"destination": "media", "key": "/a"}, "/source/key"),
        ({"destination": "media"}, "/source"),
        ({"key": "a"}, "/source"),
    ],
)
async def test_impossible_sources(service: AsyncService, source: dict[str, str], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        service.prepare(SubmitOptions(source=source), size=None, owner="")
    assert refused.value.errors[0]["pointer"] == pointer


async def test_a_source_is_not_its_own_target(service: AsyncService, rig: Rig) -> None:
    with pytest.raises(Conflict):
        await submit(service, rig, key="film.mp4", destinations=["archive", "media"])
    assert rig.files() == []


@pytest.mark.parametrize("options", [{"checksum": "crc32c:AAAAAA=="}, {"key_template": "{sha256}"}])
async def test_what_nobody_can_know_yet(service: AsyncService, rig: Rig, options: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        await submit(service, rig, **options)
