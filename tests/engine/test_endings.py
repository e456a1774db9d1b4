"""The end of jobs on disk: written down first, then the file may go; a file that may be retried stays."""

from __future__ import annotations

import pytest

from engine import operations
from engine.endings import FORGOTTEN_RUN, Undertaker, lay_to_rest
from engine.errors import EngineError, LedgerUnavailable, SpoolUnavailable
from tests.engine.rig import Rig
from tests.servers import eventually


def ended(rig: Rig, how: str = "succeeded") -> str:
    """A job that ended so."""
    job = rig.submit(b"small", key=f"key-{rig.books.now_ms}")
    if how == "succeeded":
        rig.work_all()
    elif how == "cancelled":
        rig.books.run(operations.command(job, "cancel"))
    else:
        rig.books.lose(f"{job}/0")
    rig.books.later(1)
    rig.graves.taken.clear()
    assert rig.state(job) == how
    return job


def rest(rig: Rig, *jobs: str) -> int:
    return lay_to_rest(rig.books, rig.spool, rig.tombstones, "n1", jobs)


@pytest.mark.parametrize("how", ["succeeded", "cancelled"])
def test_a_job_that_needs_its_file_no_more_loses_it(rig: Rig, how: str) -> None:
    job = ended(rig, how)

    assert rest(rig, job) == 1

    assert rig.files() == []
    (tombstone,) = rig.tombstones.scan()
    assert (tombstone.id, tombstone.run, tombstone.forgotten) == (job, 1, False)
    assert tombstone.job == rig.job(job) | {"until": tombstone.job["until"]}
    assert tombstone.transfers == [rig.transfer(job)]


def test_a_failed_job_keeps_its_file_until_its_time_is_over(rig: Rig) -> None:
    job = ended(rig, "failed")

    assert rest(rig, job) == 0
    assert rig.files() == [f"{job}.packed"]
    assert [one.id for one in rig.tombstones.scan()] == [job], "its end is written down all the same"

    rig.books.later(rig.settings.keep_failed_seconds)
    assert rig.books.sweep().releasable == [job]
    assert rest(rig, job) == 1
    assert rig.files() == []
    assert rig.books.run(operations.command(job, "retry"))[0] == "source_gone"


def test_a_job_that_lives_is_left_alone(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")

    assert rest(rig, job) == 0
    assert rig.files() == [f"{job}.packed"]
    assert list(rig.tombstones.scan()) == []


def test_a_job_that_was_retried_meanwhile_is_left_alone(rig: Rig) -> None:
    job = ended(rig, "failed")
    rig.books.run(operations.command(job, "retry"))

    assert rest(rig, job) == 0
    assert len(rig.files()) == 1


def test_a_job_that_its_user_deleted_is_remembered_as_deleted(rig: Rig) -> None:
    job = ended(rig)
    rig.books.run(operations.forget(job))

    assert rest(rig, job) == 1

    (tombstone,) = rig.tombstones.scan()
    assert (tombstone.run, tombstone.forgotten, tombstone.job) == (FORGOTTEN_RUN, True, {})
    assert rig.files() == []


def test_many_ends_are_written_down_at_once(rig: Rig) -> None:
    jobs = [ended(rig) for _ in range(5)]
    lives = rig.submit(b"small", key="lives")

    assert rest(rig, *jobs, lives) == 5

    assert [one.id for one in rig.tombstones.scan()] == jobs
    assert rig.files() == [f"{lives}.packed"]


def test_laying_to_rest_twice_is_harmless(rig: Rig) -> None:
    job = ended(rig)
    rest(rig, job)

    assert rest(rig, job) == 1
    assert rig.books.sweep().releasable == []


def test_no_file_goes_before_its_end_is_written_down(rig: Rig) -> None:
    job = ended(rig)

    def full(ends: object) -> None:
        raise SpoolUnavailable("The disk is full.")

    rig.tombstones.append = full  # type: ignore[method-assign, assignment]

    with pytest.raises(EngineError):
        rest(rig, job)
    assert rig.files() == [f"{job}.packed"]
    rig.books.later(5)
    assert rig.books.sweep().releasable == [job], "the sweeper brings it again"


def test_a_ledger_that_is_away_changes_nothing_on_disk(rig: Rig) -> None:
    job = ended(rig)
    rig.books.outage = 1

    with pytest.raises(LedgerUnavailable):
        rest(rig, job)
    assert len(rig.files()) == 1


# -- the undertaker ---------------------------------------------------------------------------------------------------


def test_the_undertaker_lays_to_rest_what_he_is_given(rig: Rig) -> None:
    jobs = [ended(rig) for _ in range(3)]
    undertaker = Undertaker(rig.books, rig.spool, rig.tombstones, "n1")
    for job in [*jobs, jobs[0]]:
        undertaker.take(job)

    undertaker.start()
    undertaker.stop()

    assert rig.files() == []
    assert [one.id for one in rig.tombstones.scan()] == jobs, "one line for each"


def test_the_undertaker_outlives_an_outage_and_a_full_disk(rig: Rig) -> None:
    first, second, third = (ended(rig) for _ in range(3))
    undertaker = Undertaker(rig.books, rig.spool, rig.tombstones, "n1")
    append = rig.tombstones.append
    refused: list[object] = []

    def full(ends: object) -> None:
        refused.append(ends)
        raise SpoolUnavailable("The disk is full.")

    rig.books.outage = 1
    undertaker.start()
    undertaker.take(first)
    eventually(lambda: rig.books.outage == 0, "Redis was found to be away")
    rig.tombstones.append = full  # type: ignore[method-assign, assignment]
    undertaker.take(second)
    eventually(lambda: bool(refused), "the disk was found to be full")
    rig.tombstones.append = append  # type: ignore[method-assign]
    undertaker.take(third)
    undertaker.stop()

    assert [one.id for one in rig.tombstones.scan()] == [third]
    rig.books.later(5)
    assert set(rig.books.sweep().releasable) == {first, second}
