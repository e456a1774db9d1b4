"""The driver makes a step's calls, and none more once the lease may be somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from backends.config import load
from backends.errors import AccessDenied, IntegrityError, ShortBody, Unavailable
from engine import leases, operations
from engine.driver import LeaseLost, perform
from engine.errors import EngineError
from engine.plugins_file import PluginsFile
from engine.records import Lease
from engine.retry import GivenBack
from engine.runtime import Errand
from engine.submission import Desk
from engine.work import Begun, Ended, Recorded, Redefined, Settled
from tests.engine.rig import PART, Rig, tap

BIG = bytes(range(256)) * (PART * 2 // 256) + b"the end"


def errand_of(rig: Rig, job: str) -> Errand:
    """The next step of the job, leased."""
    return Errand(rig.books.lease(f"{job}/0"), rig.runtime.monotonic())


def done(rig: Rig, job: str) -> Lease:
    """The next step of the job is done and reported."""
    errand = errand_of(rig, job)
    outcome = perform(rig.runtime, errand)
    held = errand.lease
    if isinstance(outcome, Begun):
        rig.books.run(leases.begun(held, outcome.session))
    elif isinstance(outcome, Recorded):
        rig.books.run(leases.record(held, outcome.size, outcome.packed, outcome.proved))
    return held


# -- what is carried --------------------------------------------------------------------------------------------------


def test_a_job_is_carried_step_by_step(rig: Rig) -> None:
    job = rig.submit(BIG, key="big", metadata={"a": "é"})
    assert [done(rig, job).step for _ in range(4)] == ["begin", "part", "part", "part"]

    outcome = perform(rig.runtime, errand_of(rig, job))

    assert isinstance(outcome, Settled)
    assert outcome.verified_by == "checksum"
    assert rig.space.read("big") == BIG
    assert rig.space.objects["big"].info.metadata == {"a": "é", "bucketline-job": job}


def test_bytes_are_read_back_in_full(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    tapped = tap(rig)
    told = tapped.backend.put_whole
    tapped.backend.put_whole = lambda *args, **kwargs: _untold(told(*args, **kwargs))

    outcome = perform(rig.runtime, errand_of(rig, job))

    assert isinstance(outcome, Settled)
    assert outcome.verified_by == "read_back"
    assert tapped.calls == ["put_whole", "read_range"]


def test_an_object_that_cannot_be_read_back_in_full_is_not_whole(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    tapped = tap(rig)
    told = tapped.backend.put_whole
    tapped.backend.put_whole = lambda *args, **kwargs: _untold(told(*args, **kwargs))
    tapped.backend.read_range = lambda key, offset, size: iter([b"sm"])

    with pytest.raises(IntegrityError, match="2 bytes"):
        perform(rig.runtime, errand_of(rig, job))
    assert rig.space.objects == {}, "what is not whole does not stay"


def _untold(info: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(info, checksum=None)


def test_an_empty_object_needs_no_reading(rig: Rig) -> None:
    job = rig.submit(b"", key="empty")
    tapped = tap(rig)
    told = tapped.backend.put_whole
    tapped.backend.put_whole = lambda *args, **kwargs: _untold(told(*args, **kwargs))

    assert isinstance(perform(rig.runtime, errand_of(rig, job)), Settled)
    assert tapped.calls == ["put_whole"]


# -- leases -----------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_once_the_lease_is_lost(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    tapped = tap(rig)
    errand = errand_of(rig, job)
    errand.lost = True

    with pytest.raises(LeaseLost):
        perform(rig.runtime, errand)
    assert tapped.calls == []


def test_a_lease_that_nobody_renewed_in_time_counts_as_lost(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    tapped = tap(rig)
    errand = errand_of(rig, job)
    rig.books.later(rig.settings.lease_seconds + 0.1)

    with pytest.raises(LeaseLost):
        perform(rig.runtime, errand)
    assert tapped.calls == []


def test_a_lease_lost_between_two_calls_stops_before_the_next(rig: Rig) -> None:
    job = rig.submit(b"small", key="small", on_conflict="rename")
    tapped = tap(rig)
    errand = errand_of(rig, job)
    tapped.taps["stat"] = lambda key: setattr(errand, "lost", True)

    with pytest.raises(LeaseLost):
        perform(rig.runtime, errand)
    assert tapped.calls == ["stat"]


def test_a_key_is_chosen_only_by_who_holds_the_lease(rig: Rig) -> None:
    rig.submit(b"first", key="same")
    rig.work_all()
    job = rig.submit(b"second", key="same", on_conflict="rename")
    errand = errand_of(rig, job)
    rig.books.later(31)
    rescuer = errand_of(rig, job)
    errand.renewed_at = rig.runtime.monotonic()  # it believes that it still has it

    with pytest.raises(LeaseLost):
        perform(rig.runtime, errand)
    assert isinstance(perform(rig.runtime, rescuer), Settled)
    assert rig.space.read("same-1") == b"second"


# -- shutdown ---------------------------------------------------------------------------------------------------------


def test_an_interrupted_worker_makes_no_further_call(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    tapped = tap(rig)
    rig.runtime.interrupted.set()

    with pytest.raises(GivenBack) as given:
        perform(rig.runtime, errand_of(rig, job))
    assert not isinstance(given.value, LeaseLost)
    assert tapped.calls == []


@pytest.mark.parametrize("how", ["read", "readinto"])
@pytest.mark.parametrize("why", ["interrupted", "lost"])
def test_a_body_gives_back_midway(rig: Rig, how: str, why: str) -> None:
    job = rig.submit(BIG, key="big")
    done(rig, job)
    errand = errand_of(rig, job)
    seen: list[bytes] = []

    def send(session: Any, number: int, body: Any) -> None:
        reader = body.open()
        seen.append(reader.read(1000))
        if why == "interrupted":
            rig.runtime.interrupted.set()
        else:
            errand.lost = True
        reader.read(1000) if how == "read" else reader.readinto(bytearray(1000))

    tap(rig).taps["put_part"] = send

    with pytest.raises(GivenBack):
        perform(rig.runtime, errand)
    assert seen == [BIG[:1000]]


def test_reading_back_gives_back_midway(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    tapped = tap(rig)
    told = tapped.backend.put_whole
    tapped.backend.put_whole = lambda *args, **kwargs: _untold(told(*args, **kwargs))
    tapped.taps["read_range"] = lambda *args: rig.runtime.interrupted.set()

    with pytest.raises(GivenBack):
        perform(rig.runtime, errand_of(rig, job))


def test_a_wrapped_body_is_as_good_as_the_body_itself(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    done(rig, job)
    seen: dict[str, Any] = {}

    def send(session: Any, number: int, body: Any) -> None:
        path, offset = body.file()
        with body.open() as reader:
            seen["all"] = reader.read()
            assert reader.tell() == PART
            reader.seek(10)
            seen["again"] = reader.read(5)
            assert reader.readable()
            assert reader.seekable()
        seen["size"], seen["crc32c"], seen["file"] = body.size, body.crc32c, path.read_bytes()[offset:][: body.size]

    tap(rig).taps["put_part"] = send
    outcome = perform(rig.runtime, errand_of(rig, job))

    assert isinstance(outcome, Recorded)
    assert seen["all"] == seen["file"] == BIG[:PART]
    assert seen["again"] == BIG[10:15]
    assert seen["size"] == PART
    assert seen["crc32c"] is not None


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unavailable("Away."), AccessDenied("No."), ShortBody("Short.")])
def test_what_a_step_cannot_handle_comes_out_as_it_is(rig: Rig, error: Exception) -> None:
    job = rig.submit(BIG, key="big")
    done(rig, job)

    def refuse(*args: Any) -> None:
        raise error

    tap(rig).taps["put_part"] = refuse

    with pytest.raises(type(error)) as raised:
        perform(rig.runtime, errand_of(rig, job))
    assert raised.value is error


def test_a_file_that_vanished_from_the_spool_is_gone(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.spool.release(job)

    with pytest.raises(EngineError) as raised:
        perform(rig.runtime, errand_of(rig, job))
    assert raised.value.code == "source_gone"


def test_a_file_that_changed_in_the_spool_is_never_sent_as_it_is(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    staged = rig.spool.source(job)
    with staged.path.open("r+b") as file:
        file.seek(staged.start)
        file.write(b"SMALL")

    with pytest.raises(Exception) as raised:
        perform(rig.runtime, errand_of(rig, job))
    assert getattr(raised.value, "code", None) == "source_corrupt"
    assert rig.space.objects == {}


def test_an_end_needs_no_source(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    done(rig, job)
    rig.books.run(operations.command(job, "cancel"))
    for path in (rig.settings.spool / "jobs").iterdir():
        path.unlink()

    assert isinstance(perform(rig.runtime, errand_of(rig, job)), Ended)
    assert rig.space.uploads == {}


def test_a_changed_file_is_noticed_by_the_first_step_that_needs_it(rig: Rig) -> None:
    """The API may have read it before: what it planned must not go where the file said earlier."""
    rig.runtime.plugins = PluginsFile(rig.settings)
    store = rig.runtime.store("media")
    rig.plugins.write_text(rig.plugins.read_text().replace('backend = "memory"', 'backend = "memory"\nprefix = "new/"'))
    rig.desk = Desk(load(rig.plugins, {}), rig.settings)
    job = rig.submit(b"small", key="small")

    errand = errand_of(rig, job)
    outcome = perform(rig.runtime, errand)

    assert isinstance(outcome, Settled)
    assert rig.space.read("new/small") == b"small"
    assert rig.runtime.store("media") is not store


def test_what_was_replaced_is_closed_when_nobody_uses_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.runtime.plugins = PluginsFile(rig.settings)
    store, kept = rig.runtime.store("media"), rig.runtime.store("archive")
    closed: list[object] = []
    monkeypatch.setattr(type(store.backend), "close", lambda self: closed.append(self))
    errand = errand_of(rig, rig.submit(b"small", key="small"))
    rig.runtime.errands[errand.lease.fence] = errand
    text = rig.plugins.read_text()
    rig.plugins.write_text(text.replace('backend = "memory"', 'backend = "memory"\nprefix = "new/"', 1))

    rig.runtime.refresh()
    rig.runtime.close_retired()
    assert closed == []
    del rig.runtime.errands[errand.lease.fence]
    rig.runtime.close_retired()
    assert closed == [store.backend]
    assert rig.runtime.store("archive") is kept


# -- destinations that change -----------------------------------------------------------------------------------------


def redefine(rig: Rig) -> None:
    text = rig.plugins.read_text()
    rig.plugins.write_text(
        text.replace('backend = "memory"', 'backend = "memory"\nprefix = "new/"').replace("64KiB", "128KiB")
    )
    rig.runtime.configuration = load(rig.plugins, {})
    rig.runtime._stores.clear()


def test_a_destination_that_is_gone_says_what_to_do(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.plugins.write_text(rig.plugins.read_text().partition("[destinations.archive]")[0].replace("media]", "other]"))
    rig.plugins.write_text(rig.plugins.read_text().replace('default = "media"', 'default = "other"'))
    rig.runtime.configuration = load(rig.plugins, {})

    with pytest.raises(EngineError) as raised:
        perform(rig.runtime, errand_of(rig, job))
    assert raised.value.code == "destination_changed"


def test_a_destination_that_is_defined_anew_gets_a_new_plan(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    done(rig, job)
    redefine(rig)

    outcome = perform(rig.runtime, errand_of(rig, job))

    assert isinstance(outcome, Redefined)
    assert (outcome.plan.key, outcome.plan.part_size, outcome.plan.total) == ("new/big", 2 * PART, 2)


def test_what_was_begun_on_a_definition_that_is_gone_cannot_be_taken_back(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    done(rig, job)
    rig.books.run(operations.command(job, "cancel"))
    redefine(rig)

    with pytest.raises(EngineError) as raised:
        perform(rig.runtime, errand_of(rig, job))
    assert raised.value.code == "destination_changed"
    assert not raised.value.retryable
