"""The spool against the ledger: what Redis lost is made again, what ended or was deleted stays so."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from engine import arrivals, operations
from engine.models import SubmitOptions
from engine.reconcile import ABANDONED_SECONDS, recover
from engine.restarts import remember_restart
from engine.tokens import send
from tests.engine.rig import PART, Rig

BIG = b"b" * (PART * 2 + 7)


def wipe(rig: Rig) -> None:
    """Redis comes back empty."""
    rig.books.server.wipe()


def go_on(rig: Rig, report: Any) -> None:
    """The tokens of a reconciliation are sent and worked."""
    send(rig.broker, report.tokens, "n1")
    rig.work_all()


# -- what Redis lost --------------------------------------------------------------------------------------------------


def test_a_job_that_redis_lost_is_made_again_and_carried(rig: Rig) -> None:
    job = rig.submit(BIG, key="big", labels={"team": "blue"})
    before = rig.job(job)
    wipe(rig)

    report = rig.reconcile()

    assert report.made_again == [job]
    assert [token.transfer for token in report.tokens] == [f"{job}/0"]
    assert rig.job(job)["spec"] == before["spec"]
    assert rig.job(job)["created"] == before["created"]
    go_on(rig, report)
    assert rig.state(job) == "succeeded"
    assert rig.space.read("big") == BIG


def test_a_file_that_was_committed_and_never_accepted_becomes_a_job(rig: Rig) -> None:
    """The ledger's answer was lost, and its client was told 503: the file counts."""
    sidecar = rig.stage(b"small", key="small")

    report = rig.reconcile()

    assert report.made_again == [sidecar.spec.id]
    go_on(rig, report)
    assert rig.space.read("small") == b"small"


def test_a_reception_that_shows_and_is_committed_becomes_a_job(rig: Rig) -> None:
    sidecar = rig.stage(b"small", key="small")
    rig.books.run(arrivals.receive(sidecar.spec, 5, 60))

    assert rig.reconcile().made_again == [sidecar.spec.id]
    assert rig.state(sidecar.spec.id) == "queued"


def test_a_job_that_the_ledger_knows_is_left_alone(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    rig.process(rig.take())  # type: ignore[arg-type]
    before = rig.books.run(operations.read_jobs([job]))

    report = rig.reconcile()

    assert (report.seen, report.made_again, report.tokens) == (1, [], [])
    assert rig.books.run(operations.read_jobs([job])) == before


def test_a_session_that_redis_forgot_is_closed(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    rig.process(rig.take())  # type: ignore[arg-type]
    assert len(rig.space.uploads) == 1
    for upload in rig.space.uploads.values():
        upload.started_at_ms = rig.books.now_ms
    while rig.take():
        pass
    wipe(rig)

    go_on(rig, rig.reconcile())

    assert rig.state(job) == "succeeded"
    assert rig.space.uploads == {}


def test_an_object_that_was_complete_when_redis_was_lost_is_not_sent_again(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.work_all()
    kept = rig.space.objects["small"]
    wipe(rig)

    go_on(rig, rig.reconcile())

    assert rig.state(job) == "succeeded"
    assert rig.space.objects["small"] is kept


def test_reconciling_twice_changes_nothing(rig: Rig) -> None:
    rig.submit(b"small", key="small")
    wipe(rig)
    rig.reconcile()

    again = rig.reconcile()

    assert (again.made_again, again.tokens) == ([], [])


# -- ends -------------------------------------------------------------------------------------------------------------


def test_an_end_that_redis_lost_is_put_back(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.work_all()
    rig.bury()
    before = rig.job(job)
    wipe(rig)

    report = rig.reconcile()

    assert report.ends_restored == [job]
    assert {name: rig.job(job)[name] for name in ("state", "run", "finished", "spec")} == {
        name: before[name] for name in ("state", "run", "finished", "spec")
    }


def test_an_end_is_put_back_over_an_older_state(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    rig.process(rig.take())  # type: ignore[arg-type]
    older = rig.books.server.save()
    rig.work_all()
    rig.bury()
    rig.books.server.load(older)
    assert rig.state(job) == "running"

    report = rig.reconcile()

    assert report.ends_restored == [job]
    assert rig.state(job) == "succeeded"
    assert rig.books.ask(f"{job}/0") == "over"


def test_a_light_comparison_leaves_old_ends_to_a_full_one(rig: Rig) -> None:
    """Every minute, an hour of ends is not read again; a ledger that was lost is noticed by its epoch."""
    rig.submit(b"small", key="small")
    rig.work_all()
    rig.bury()
    wipe(rig)

    assert rig.reconcile(full=False).ends_restored == []


def test_a_failure_that_redis_lost_is_put_back_with_its_file(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.books.lose(f"{job}/0")
    rig.graves.take(job)
    rig.bury()
    assert len(rig.files()) == 1
    while rig.take():
        pass
    wipe(rig)

    report = rig.reconcile()

    assert (report.ends_restored, report.made_again) == ([job], [])
    assert rig.state(job) == "failed"
    verdict, _, tokens = rig.books.run(operations.command(job, "retry"))
    assert verdict == "done"
    send(rig.broker, tokens, "n1")
    rig.work_all()
    assert rig.state(job) == "succeeded"


def test_what_is_over_is_laid_to_rest(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.work_all()
    rig.graves.taken.clear()  # the worker died before it could

    assert rig.reconcile().released == 1
    assert rig.files() == []
    assert rig.state(job) == "succeeded"


def test_a_job_that_its_user_deleted_does_not_come_back(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.work_all()
    rig.bury()
    rig.books.run(operations.forget(job))
    rig.graves.take(job)
    rig.bury()
    wipe(rig)

    report = rig.reconcile()

    assert (report.made_again, report.ends_restored) == ([], [])
    assert rig.job(job) == {}


def test_a_deleted_job_is_deleted_again_from_an_older_state(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.work_all()
    rig.bury()
    older = rig.books.server.save()
    rig.books.run(operations.forget(job))
    rig.graves.take(job)
    rig.bury()
    rig.books.server.load(older)

    rig.reconcile()

    assert rig.job(job) == {}


def test_a_deleted_job_whose_file_a_power_cut_brought_back_is_released(rig: Rig) -> None:
    job = rig.submit(bytes(2 << 20), key="big")
    kept = {path: path.read_bytes() for path in (rig.settings.spool / "jobs").iterdir()}
    rig.work_all()
    rig.books.run(operations.forget(job))
    rig.bury()
    assert rig.files() == []
    for path, data in kept.items():
        path.write_bytes(data)

    report = rig.reconcile()

    assert (report.made_again, report.released) == ([], 1)
    assert rig.files() == []


# -- wishes -----------------------------------------------------------------------------------------------------------


def failed(rig: Rig) -> str:
    job = rig.submit(b"small", key="small")
    while rig.take():
        pass
    rig.books.lose(f"{job}/0")
    rig.graves.take(job)
    rig.bury()
    return job


def test_a_wish_for_another_run_that_the_ledger_never_heard_is_fulfilled(rig: Rig) -> None:
    job = failed(rig)
    remember_restart(rig.spool, job, 2)

    report = rig.reconcile()

    assert report.restarted == [job]
    assert rig.job(job)["run"] == "2"
    go_on(rig, report)
    assert rig.state(job) == "succeeded"


def test_a_run_that_redis_lost_is_begun_again(rig: Rig) -> None:
    """Its end of before is on disk, and so is the wish, which is younger."""
    job = failed(rig)
    remember_restart(rig.spool, job, 2)
    rig.books.run(operations.command(job, "retry"))
    wipe(rig)

    report = rig.reconcile()

    assert (report.made_again, report.ends_restored) == ([job], [])
    assert rig.job(job)["run"] == "2"
    go_on(rig, report)
    assert rig.state(job) == "succeeded"


def test_a_run_that_a_rollback_undid_is_begun_again(rig: Rig) -> None:
    job = failed(rig)
    older = rig.books.server.save()
    remember_restart(rig.spool, job, 2)
    rig.books.run(operations.command(job, "retry"))
    rig.books.server.load(older)

    report = rig.reconcile()

    assert report.restarted == [job]
    assert (rig.state(job), rig.job(job)["run"]) == ("queued", "2")


def test_a_wish_that_was_fulfilled_is_not_fulfilled_twice(rig: Rig) -> None:
    job = failed(rig)
    remember_restart(rig.spool, job, 2)
    rig.books.run(operations.command(job, "retry"))
    rig.books.lose(f"{job}/0")

    assert rig.reconcile().restarted == []
    assert rig.state(job) == "failed"


# -- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"version": 1}', b"\xff\xfe"], ids=["empty", "torn", "partial", "binary"]
)
def test_a_sidecar_that_cannot_be_read_is_reported_and_kept(rig: Rig, data: bytes) -> None:
    job = rig.submit(b"small", key="small")
    other = rig.submit(b"other", key="other")
    wipe(rig)
    (rig.settings.spool / "jobs" / f"{job}.json").write_bytes(data)

    report = rig.reconcile()

    assert report.unreadable == [job]
    assert report.made_again == [other], "one bad file does not stop the others"
    assert f"{job}.packed" in rig.files()
    assert (rig.settings.spool / "jobs" / f"{job}.json").read_bytes() == data


# -- receptions -------------------------------------------------------------------------------------------------------


def incoming(rig: Rig, monkeypatch: pytest.MonkeyPatch, *, age: float) -> str:
    """A reception's file that nobody wrote to for so long."""
    sidecar = rig.desk.prepare(SubmitOptions(key="x"), size=None, owner="")
    file = rig.spool.receive(sidecar.id, None)
    file.write(b"x" * (2 << 20))
    now = time.time() + age
    monkeypatch.setattr("engine.reconcile.time", SimpleNamespace(time=lambda: now))
    return sidecar.id


def test_the_file_of_a_reception_that_nobody_continues_goes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming(rig, monkeypatch, age=ABANDONED_SECONDS + 61)

    assert rig.reconcile().incoming_removed == 1
    assert list(rig.spool.incomings()) == []


def test_the_file_of_a_young_reception_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job may not have shown itself yet, or Redis may have lost it."""
    incoming(rig, monkeypatch, age=ABANDONED_SECONDS - 60)

    assert rig.reconcile().incoming_removed == 0
    assert len(list(rig.spool.incomings())) == 1


def test_the_file_of_a_reception_that_the_ledger_knows_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = incoming(rig, monkeypatch, age=ABANDONED_SECONDS * 10)
    spec = rig.desk.prepare(SubmitOptions(key="x"), size=None, owner="", job=job)
    rig.books.run(arrivals.receive(spec, None, 60))

    assert rig.reconcile().incoming_removed == 0


# -- on command -------------------------------------------------------------------------------------------------------


def test_recover_does_the_same_on_command(rig: Rig, redis_url: str) -> None:
    job = rig.submit(b"small", key="small")
    wipe(rig)

    report = recover(rig.settings)

    assert report.made_again == [job]
    assert rig.books.sweep().epoch == 1
    assert rig.files() == [f"{job}.packed"]
