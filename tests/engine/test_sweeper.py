"""The sweeper of a worker: lost tokens are sent again, and a ledger that fell back is compared with the spool."""

from __future__ import annotations

import os

import pytest
import redis
from structlog.testing import capture_logs

from engine import arrivals, operations, upkeep, worker
from engine.config import host_name
from engine.errors import LedgerUnavailable
from engine.ledger import unavailable, why_away
from engine.sweeper import RECONCILE_SECONDS, SWEEP_SECONDS, TOKENS_ALWAYS, TOKENS_PER_THREAD, Sweeper
from tests.engine.rig import PART, Rig

BIG = b"b" * (PART * 9)


@pytest.fixture
def sweeper(rig: Rig) -> Sweeper:
    """One that has swept once: the ledger is reconciled."""
    found = Sweeper(rig.runtime, rig.broker, "n1:1")
    found.round()
    return found


def test_two_processes_have_two_names_though_all_else_is_the_same() -> None:
    """In containers both are process 1, of a host and a node that may be called the same."""
    assert worker.own_name() != worker.own_name()
    assert worker.own_name().startswith(f"{host_name()}:{os.getpid()}:")


def lose_tokens(rig: Rig) -> None:
    rig.broker.client.flushdb()


def age(rig: Rig, sweeper: Sweeper, seconds: float) -> None:
    """Time passes, and the sweeper does its rounds."""
    for _ in range(int(seconds)):
        rig.books.later(1)
        sweeper.round()


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_lost_tokens_are_sent_again(rig: Rig, sweeper: Sweeper) -> None:
    job = rig.submit(b"small", key="small")
    lose_tokens(rig)

    age(rig, sweeper, 3)

    assert rig.queued("small") == 1
    rig.work_all()
    assert rig.state(job) == "succeeded"


def test_a_part_that_is_due_gets_its_token(rig: Rig, sweeper: Sweeper) -> None:
    job = rig.submit(BIG, key="big")
    rig.process(rig.take())  # type: ignore[arg-type]
    held = rig.books.lease(f"{job}/0")
    rig.books.fail(held, "retry", seconds=5)
    lose_tokens(rig)

    rig.books.later(60)
    age(rig, sweeper, 1)
    rig.work_all()

    assert rig.state(job) == "succeeded"
    assert rig.space.read("big") == BIG


def test_a_queue_that_is_away_costs_a_round_and_nothing_else(
    rig: Rig, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit(b"small", key="small")
    lose_tokens(rig)

    def away(*args: object) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(rig.broker, "enqueue_many", away)
        age(rig, sweeper, 3)
    assert rig.queued("small") == 0

    age(rig, sweeper, 30)
    assert rig.queued("small") >= 1


def test_a_queue_that_cannot_be_counted_gets_no_tokens(
    rig: Rig, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit(b"small", key="small")

    def away(queue_name: str) -> int:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(rig.broker, "waiting", away)
    rig.books.later(60)

    assert sweeper.round().tokens == []


def test_a_long_queue_is_not_filled_further(rig: Rig, sweeper: Sweeper) -> None:
    """Many jobs that wait their turn look silent; their tokens are in the queue all the same."""
    jobs = 200
    for number in range(jobs):
        rig.submit(b"x", key=f"key-{number}")

    age(rig, sweeper, 120)

    assert rig.queued("small") <= jobs + 120 * TOKENS_ALWAYS
    assert TOKENS_PER_THREAD * rig.settings.threads < jobs


def test_dead_receptions_lose_their_files(rig: Rig, sweeper: Sweeper) -> None:
    from engine.models import SubmitOptions

    spec = rig.desk.prepare(SubmitOptions(key="x"), size=None, owner="")
    incoming = rig.spool.receive(spec.id, None)
    incoming.write(b"x" * (2 << 20))
    rig.books.run(arrivals.receive(spec, None, 60))
    assert len(list(rig.spool.incomings())) == 1
    rig.books.later(61)

    sweeper.round()

    assert list(rig.spool.incomings()) == []
    assert rig.job(spec.id) == {}


def test_finished_jobs_go_to_the_undertaker(rig: Rig, sweeper: Sweeper) -> None:
    job = rig.submit(b"small", key="small")
    rig.work_all()
    rig.graves.taken.clear()  # the worker that ended it died
    rig.books.later(5)

    sweeper.round()

    assert rig.graves.taken == [job]


# -- trust ------------------------------------------------------------------------------------------------------------


def test_a_new_ledger_is_compared_with_the_spool_before_it_is_trusted(rig: Rig) -> None:
    sidecar = rig.stage(b"small", key="small")
    sweeper = Sweeper(rig.runtime, rig.broker, "n1:1")

    sweeper.round()

    assert rig.state(sidecar.spec.id) == "queued"
    assert sweeper.epoch == 1
    rig.work_all()
    assert rig.state(sidecar.spec.id) == "succeeded"


def test_a_ledger_that_was_wiped_is_filled_again_at_once(rig: Rig, sweeper: Sweeper) -> None:
    job = rig.submit(BIG, key="big")
    rig.books.server.wipe()
    lose_tokens(rig)

    sweeper.round()

    assert rig.state(job) == "queued"
    rig.work_all()
    assert rig.state(job) == "succeeded"


def test_an_epoch_only_grows_even_over_a_wiped_ledger(rig: Rig, sweeper: Sweeper) -> None:
    before = sweeper.epoch
    rig.books.server.wipe()

    rig.books.later(1)
    sweeper.round()

    assert sweeper.epoch > before


def test_a_rollback_is_noticed_by_the_sweeper_s_own_last_round(rig: Rig, sweeper: Sweeper) -> None:
    """Most rollbacks lose a second: the epoch is still the same."""
    age(rig, sweeper, 2)
    older = rig.books.server.save()
    age(rig, sweeper, 2)
    job = rig.submit(b"small", key="small")
    rig.books.server.load(older)
    lose_tokens(rig)
    assert rig.state(job) == ""

    rig.books.later(1)
    sweeper.round()

    assert rig.state(job) == "queued"


def test_after_a_rollback_sessions_are_suspect(rig: Rig, sweeper: Sweeper) -> None:
    job = rig.submit(BIG, key="big")
    age(rig, sweeper, 1)
    older = rig.books.server.save()
    age(rig, sweeper, 1)
    rig.process(rig.take())  # type: ignore[arg-type]
    for upload in rig.space.uploads.values():
        upload.started_at_ms = rig.books.now_ms
    rig.books.server.load(older)
    rig.books.later(1)
    sweeper.round()
    assert rig.transfer(job)["lost_begin"] == "1"

    age(rig, sweeper, 5)
    rig.work_all()

    assert rig.state(job) == "succeeded"
    assert rig.space.uploads == {}, "the session that the ledger forgot is closed"


def test_an_end_that_a_rollback_undid_is_put_back(rig: Rig, sweeper: Sweeper) -> None:
    job = rig.submit(b"small", key="small")
    age(rig, sweeper, 1)
    older = rig.books.server.save()
    age(rig, sweeper, 1)
    rig.work_all()
    rig.bury()
    rig.books.server.load(older)
    assert rig.state(job) == "queued"

    rig.books.later(1)
    sweeper.round()

    assert rig.state(job) == "succeeded"


def test_a_calm_ledger_is_compared_once_a_minute(rig: Rig, sweeper: Sweeper) -> None:
    epoch = sweeper.epoch
    sidecar = rig.stage(b"small", key="small")
    age(rig, sweeper, RECONCILE_SECONDS - 1)
    assert rig.state(sidecar.spec.id) == ""

    age(rig, sweeper, 1)

    assert rig.state(sidecar.spec.id) == "queued"
    assert sweeper.epoch == epoch + 1


def test_a_sweeper_that_starts_beside_others_trusts_the_ledger(rig: Rig, sweeper: Sweeper) -> None:
    another = Sweeper(rig.runtime, rig.broker, "n1:2")

    another.round()
    rig.books.later(1)
    another.round()
    rig.books.later(1)
    sweeper.round()

    assert not another.older
    assert not sweeper.older


def test_an_outage_in_the_middle_of_a_comparison_is_made_up_for(rig: Rig) -> None:
    sidecar = rig.stage(b"small", key="small")
    sweeper = Sweeper(rig.runtime, rig.broker, "n1:1")
    run = rig.books.run
    away = iter([False, True])

    def sometimes(operation: operations.Operation[object]) -> object:
        if operation.script == "accept" and next(away, False) is False:
            raise LedgerUnavailable("Redis is away.")
        return run(operation)

    rig.books.run = sometimes  # type: ignore[method-assign, assignment]
    with pytest.raises(LedgerUnavailable):
        sweeper.round()
    rig.books.run = run  # type: ignore[method-assign]
    assert run(upkeep.sweep("n1:2", {}, "n1")).epoch is None, "what was not compared is not trusted"

    rig.books.later(1)
    sweeper.round()

    assert rig.state(sidecar.spec.id) == "queued"


# -- the thread -------------------------------------------------------------------------------------------------------


class Rounds:
    """A process that goes on for so many rounds."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0


def test_a_round_that_fails_does_not_end_the_sweeping(rig: Rig, sweeper: Sweeper) -> None:
    failures: list[Exception] = [LedgerUnavailable("Redis is away."), RuntimeError("a bug")]
    done: list[int] = []

    def sometimes() -> None:
        if failures:
            raise failures.pop(0)
        done.append(1)

    sweeper.round = sometimes  # type: ignore[method-assign, assignment]
    rounds = Rounds(4)
    rig.runtime.stopping = rounds  # type: ignore[assignment]

    sweeper.forever()

    assert len(done) == 2
    assert set(rounds.waited) == {SWEEP_SECONDS}


# -- Redis is away ----------------------------------------------------------------------------------------------------


def test_of_an_outage_its_beginning_its_reason_and_its_end_are_told(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise unavailable(OSError("refused")) from redis.ConnectionError("refused at 127.0.0.1:6379")

    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr(sweeper, "round", away)
            for _ in range(3):
                sweeper.try_round()
        sweeper.try_round()
        sweeper.try_round()

    first, last = lines
    assert first["event"].startswith("Redis does not answer") and first["why"].endswith("refused at 127.0.0.1:6379")
    assert last["event"] == "Redis answers again"


def test_a_password_that_is_missing_is_told_as_such() -> None:
    assert "redis://:PASSWORD@" in why_away(redis.AuthenticationError("HELLO must be called"))
