"""Leases, retries and progress around the actors, in Dramatiq's own order, over a Redis that may be away."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from dramatiq.middleware import SkipMessage

from backends.errors import AccessDenied, SessionLost, Unavailable
from engine import notices, operations
from engine.driver import LeaseLost
from engine.errors import LedgerUnavailable
from engine.middleware.leasing import renew_forever
from engine.middleware.progress import flush_forever
from engine.retry import GivenBack
from engine.runtime import Errand, current
from tests.engine.rig import PART, Rig, tap

BIG = b"b" * (PART * 2 + 7)


def skipped(rig: Rig) -> str | None:
    """Why the next token is not worked; None when it got its lease."""
    message = rig.take()
    assert message is not None
    try:
        rig.broker.emit_before("process_message", message)
    except SkipMessage as reason:
        return str(reason)
    return None


# -- leasing ----------------------------------------------------------------------------------------------------------


def test_a_token_gets_a_lease_before_its_actor_runs(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")

    assert skipped(rig) is None

    errand = current.get()
    assert errand is not None
    assert (errand.lease.step, errand.lease.job) == ("whole", job)
    assert rig.runtime.errands == {errand.lease.fence: errand}


@pytest.mark.parametrize(("action", "reason"), [("pause", "idle"), ("cancel", "over")])
def test_a_token_without_work_is_skipped(rig: Rig, action: str, reason: str) -> None:
    job = rig.submit(b"small", key="small")
    rig.books.run(operations.command(job, action))

    assert skipped(rig) == reason
    assert current.get() is None
    assert rig.runtime.errands == {}


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), LedgerUnavailable("Redis is away.")])
def test_every_error_of_a_lease_is_a_skipped_message(rig: Rig, error: BaseException) -> None:
    """Dramatiq swallows other exceptions of this hook, and would run the actor without a lease."""
    rig.submit(b"small", key="small")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise error

    rig.books.insist = refuse  # type: ignore[method-assign, assignment]

    assert skipped(rig) == f"no lease: {type(error).__name__}"


def test_a_message_that_makes_no_sense_is_skipped(rig: Rig) -> None:
    rig.submit(b"small", key="small")
    message = rig.take()
    assert message is not None
    message._message = message._message.copy(args=("only one",))

    with pytest.raises(SkipMessage):
        rig.broker.emit_before("process_message", message)


def test_an_actor_that_was_skipped_does_nothing(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.books.run(operations.command(job, "pause"))

    assert rig.work_all() == 1
    assert rig.space.objects == {}


def test_a_lease_is_waited_for_while_redis_is_away(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    rig.books.outage = 3

    rig.work_all()

    assert rig.state(job) == "succeeded"


def test_a_worker_that_leaves_does_not_wait_for_a_lease(rig: Rig) -> None:
    rig.submit(b"small", key="small")
    rig.books.outage = 3
    rig.runtime.stopping.set()

    assert skipped(rig) == "no lease: LedgerUnavailable"


def test_the_errand_is_over_when_its_message_is(rig: Rig) -> None:
    rig.submit(b"small", key="small")
    rig.work_all()

    assert rig.runtime.errands == {}
    assert current.get() is None


def test_a_lease_s_time_is_counted_from_before_it_was_asked_for(rig: Rig) -> None:
    rig.submit(b"small", key="small")
    asked_at = rig.runtime.monotonic()
    rig.books.outage = 1
    rig.books.before = lambda: rig.books.later(5)

    skipped(rig)

    errand = current.get()
    assert errand is not None
    assert errand.renewed_at == asked_at


# -- renewing ---------------------------------------------------------------------------------------------------------


class Rounds:
    """An event that lets a thread's loop go round a number of times, without waiting."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0

    def is_set(self) -> bool:
        return False


def test_the_leases_of_running_errands_are_renewed(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    skipped(rig)
    errand = current.get()
    assert errand is not None
    rig.books.later(20)
    rounds = Rounds(1)
    rig.runtime.interrupted = rounds  # type: ignore[assignment]

    renew_forever(rig.runtime)

    assert errand.renewed_at == rig.runtime.monotonic()
    assert not errand.lost
    assert rounds.waited[0] <= rig.settings.lease_seconds / 3
    rig.books.later(29)
    assert not rig.runtime.stale(errand)
    assert isinstance(rig.books.ask(f"{job}/0"), str)


def test_an_errand_whose_lease_is_somebody_else_s_hears_of_it(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    skipped(rig)
    errand = current.get()
    assert errand is not None
    rig.books.later(31)
    rig.books.lease(f"{job}/0")
    rig.runtime.interrupted = Rounds(2)  # type: ignore[assignment]

    renew_forever(rig.runtime)

    assert errand.lost
    assert rig.runtime.stale(errand)


def test_renewing_outlives_an_outage(rig: Rig) -> None:
    rig.submit(b"small", key="small")
    skipped(rig)
    errand = current.get()
    assert errand is not None
    rig.books.later(5)
    rig.books.outage = 1
    rig.runtime.interrupted = Rounds(2)  # type: ignore[assignment]

    renew_forever(rig.runtime)

    assert errand.renewed_at == rig.runtime.monotonic()


# -- retries ----------------------------------------------------------------------------------------------------------


def fails(rig: Rig, verb: str, *errors: BaseException) -> None:
    """The next calls of this verb raise these, one each."""
    waiting = list(errors)

    def refuse(*args: Any) -> None:
        if waiting:
            raise waiting.pop(0)

    tap(rig).taps[verb] = refuse


def test_a_transient_error_is_tried_again_when_it_is_due(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    fails(rig, "put_whole", Unavailable("Away.", retry_after=7))

    rig.work_all()

    assert rig.state(job) == "running"
    (record,) = rig.books.run(operations.read_jobs([job]))
    assert record is not None
    (one,) = record.transfers
    assert one.next_due_ms == rig.books.now_ms + 7000
    assert one.failure is not None
    assert (one.failure["code"], one.failure["detail"], one.failure["attempt"], one.failure["retryable"]) == (
        "unavailable", "Away.", 1, True,
    )  # fmt: skip

    rig.books.later(7)
    rig.work(f"{job}/0")
    assert rig.state(job) == "succeeded"


def test_a_permanent_error_ends_the_job_with_a_reason(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    fails(rig, "put_part", AccessDenied("The key may not write here."))

    rig.work_all()

    assert rig.state(job) == "failed"
    problem = msgspec.json.decode(rig.job(job)["error"])
    assert (problem["code"], problem["detail"], problem["retryable"]) == (
        "access_denied", "The key may not write here.", False,
    )  # fmt: skip
    assert rig.space.uploads == {}, "nothing is left at the provider"
    assert rig.graves.taken == [job]


def test_attempts_run_out(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    fails(rig, "put_whole", Unavailable("Away."), Unavailable("Still."))
    rig.work_all()
    rig.books.later(10)

    rig.work(f"{job}/0")
    rig.work_all()

    assert rig.state(job) == "failed"
    assert msgspec.json.decode(rig.job(job)["error"])["detail"] == "Still."


def test_a_lost_session_begins_again(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    fails(rig, "put_part", SessionLost("No such upload."))

    rig.work_all()

    assert rig.state(job) == "succeeded"
    assert rig.transfer(job)["sent"] == str(len(BIG))
    assert rig.space.read("big") == BIG
    assert rig.space.uploads == {}


def test_a_bug_in_a_step_is_a_failure_without_its_text(rig: Rig) -> None:
    """Unforeseen errors may say anything; what they say stays in the log."""
    job = rig.submit(b"small", key="small")
    fails(rig, "put_whole", RuntimeError("secret=hunter2"), RuntimeError("secret=hunter2"))
    rig.work_all()
    (record,) = rig.books.run(operations.read_jobs([job]))
    assert record is not None

    failure = record.transfers[0].failure
    assert failure is not None
    assert failure["code"] == "unexpected"
    assert "hunter2" not in str(failure)


def test_shutdown_costs_no_attempt(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    tapped = tap(rig)
    tapped.taps["put_part"] = lambda session, number, body: (rig.runtime.interrupted.set(), body.open().read(1))
    message = rig.take()
    assert message is not None
    rig.process(message)
    before = int(rig.transfer(job)["attempts"])

    rig.work(f"{job}/0", lane="parts")

    assert int(rig.transfer(job)["attempts"]) == before
    rig.runtime.interrupted.clear()
    tapped.taps.clear()
    held = rig.books.lease(f"{job}/0")
    assert (held.step, held.number, held.attempt) == ("part", 1, 1)
    assert rig.books.parts(f"{job}/0")["errors"] == {}


def test_who_lost_the_lease_reports_nothing(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    taken: list[Any] = []

    def rescue(*args: Any) -> None:
        rig.books.later(31)
        taken.append(rig.books.lease(f"{job}/0"))
        errand = current.get()
        assert errand is not None
        errand.lost = True
        args[1].open().read()

    tap(rig).taps["put_whole"] = rescue
    rig.work_all()

    assert rig.books.settle(taken[0]).final == "succeeded", "its lease was not taken from it"
    assert rig.books.run(notices.stats())["jobs"]["failed"] == 0


def test_a_lease_that_ran_out_is_given_back(rig: Rig) -> None:
    """Nobody has taken it: it can be worked again at once, and no attempt is spent."""
    job = rig.submit(b"small", key="small")
    tap(rig).taps["put_whole"] = lambda key, body: (rig.books.later(31), body.open().read())

    message = rig.take()
    assert message is not None
    rig.process(message)

    assert rig.books.parts(f"{job}/0")["tries"].get("0", "0") == "0"
    assert rig.books.lease(f"{job}/0").attempt == 1


def test_a_failure_looks_at_the_source_afresh(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    fails(rig, "put_whole", Unavailable("Away."))
    rig.work_all()

    assert rig.runtime._sources == {}
    assert rig.state(job) == "running"


@pytest.mark.parametrize("error", [LeaseLost(), GivenBack()])
def test_giving_back_is_no_exception_that_a_library_would_catch(error: BaseException) -> None:
    assert not isinstance(error, Exception)


# -- progress ---------------------------------------------------------------------------------------------------------


def test_a_finished_step_is_recorded_through_an_outage(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")
    tap(rig).taps["put_whole"] = lambda *args: setattr(rig.books, "outage", 4)

    rig.work_all()

    assert rig.state(job) == "succeeded"
    assert rig.books.outage == 0


def test_a_decision_is_recorded_through_an_outage(rig: Rig) -> None:
    job = rig.submit(b"small", key="small")

    def refuse(*args: Any) -> None:
        rig.books.outage = 4
        raise AccessDenied("No.")

    tap(rig).taps["put_whole"] = refuse
    rig.work_all()

    assert rig.state(job) == "failed"


@pytest.mark.parametrize("failing", [False, True], ids=["a finished step", "a failed step"])
def test_a_process_that_must_go_stops_insisting(rig: Rig, failing: bool) -> None:
    """What it could not report is found again: the lease runs out, and the object tells."""
    job = rig.submit(b"small", key="small")

    def outage(*args: Any) -> None:
        rig.books.outage = 10**6
        rig.books.before = rig.runtime.interrupted.set
        if failing:
            raise Unavailable("Away.")

    tapped = tap(rig)
    tapped.taps["put_whole"] = outage
    message = rig.take()
    assert message is not None
    rig.process(message)
    assert rig.runtime.errands == {}

    rig.books.outage = 0
    rig.runtime.interrupted.clear()
    tapped.taps.clear()
    rig.books.later(31)
    rig.work(f"{job}/0")
    assert rig.state(job) == "succeeded"
    assert tapped.calls.count("put_whole") == (2 if failing else 1)


def test_a_token_that_cannot_be_sent_is_left_to_the_sweeper(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")

    def away(*args: Any) -> None:
        raise ConnectionError("Redis is away.")

    message = rig.take()
    assert message is not None
    rig.broker.enqueue_many = away  # type: ignore[method-assign, assignment]
    rig.process(message)

    assert rig.transfer(job)["state"] == "uploading"


def test_a_session_brings_its_tokens_into_the_queue(rig: Rig) -> None:
    rig.submit(BIG, key="big")
    message = rig.take()
    assert message is not None
    rig.process(message)

    assert (rig.queued("small"), rig.queued("parts")) == (0, 2)


def test_owed_progress_is_told_soon(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    rig.process(rig.take())  # type: ignore[arg-type]
    rig.process(rig.take())  # type: ignore[arg-type]
    assert rig.runtime.owed == {job}
    assert rig.job(job)["dirty"] == "1"
    rig.runtime.interrupted = Rounds(2)  # type: ignore[assignment]

    flush_forever(rig.runtime)

    assert rig.runtime.owed == set()
    assert rig.job(job)["dirty"] == "0"


def test_progress_that_is_owed_stays_owed_through_an_outage(rig: Rig) -> None:
    job = rig.submit(BIG, key="big")
    rig.process(rig.take())  # type: ignore[arg-type]
    rig.process(rig.take())  # type: ignore[arg-type]
    rig.books.outage = 1
    rig.runtime.interrupted = Rounds(1)  # type: ignore[assignment]

    flush_forever(rig.runtime)

    assert rig.runtime.owed == {job}


def test_an_errand_without_an_outcome_records_nothing(rig: Rig) -> None:
    """The actor was not run, for whatever reason: there is nothing to make a fact of."""
    job = rig.submit(b"small", key="small")
    skipped(rig)
    assert isinstance(current.get(), Errand)

    rig.broker.emit_after("process_message", rig.take(), result=None)

    assert rig.state(job) == "running"
