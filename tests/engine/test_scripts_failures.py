"""What the ledger remembers of attempts that failed: after they were made good, and no longer than the job."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from engine import operations
from engine.leases import POISON_CRASHES, REMEMBERED
from tests.engine.books import NOON_MS, TROUBLE, Books, job_id, tid

KEPT = 20


@pytest.fixture
def sending(books: Books) -> Books:
    """A transfer of three parts, one at a time, whose session is open."""
    books.accept(parts=3, window=1)
    books.begin()
    return books


def failed(books: Books, transfer: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = books.parts(transfer)["failed"]
    return found


def told(books: Books, transfer: str | None = None) -> list[tuple[int, str, int, int, str]]:
    return [(one["run"], one["step"], one["number"], one["attempt"], one["code"]) for one in failed(books, transfer)]


def test_what_was_made_good_stays_known_to_the_end_and_behind_it(sending: Books) -> None:
    throttled = {**TROUBLE, "code": "throttled", "detail": "<b>Slower!</b> \N{SNOWMAN}"}
    sending.fail(sending.lease(), "retry")
    sending.later(1)
    sending.fail(sending.lease(), "retry", problem=throttled)
    sending.later(1)
    sending.record(sending.lease())
    expected = [(1, "part", 1, 1, "unavailable"), (1, "part", 1, 2, "throttled")]
    assert told(sending) == expected
    assert sending.parts()["errors"] == {}

    sending.finish()
    assert sending.state() == "succeeded"
    assert told(sending) == expected
    assert [one["at"] for one in failed(sending)] == [NOON_MS, NOON_MS + 1000]
    assert failed(sending)[1] == {
        **throttled, "at": NOON_MS + 1000, "run": 1, "step": "part", "number": 1, "attempt": 2,
    }  # fmt: skip


def test_only_the_latest_are_kept(sending: Books) -> None:
    for _ in range(KEPT + 5):
        sending.fail(sending.lease(), "retry")

    assert [one["attempt"] for one in failed(sending)] == list(range(6, KEPT + 6))


def test_each_is_bounded(sending: Books) -> None:
    sending.fail(sending.lease(), "retry", problem={**TROUBLE, "detail": "\N{SNOWMAN}" * 5000})

    (one,) = failed(sending)
    assert one["detail"] == "\N{SNOWMAN}" * (REMEMBERED - 1) + "…"
    assert len(sending.parts()["errors"]["1"]) > 5000, "what fails now is told in full"


def test_what_is_nobody_s_failure_is_not_remembered(sending: Books) -> None:
    sending.fail(sending.lease(), "snooze")
    late = sending.lease()
    sending.command("cancel")
    sending.fail(late, "retry")

    assert failed(sending) == []


def test_every_other_decision_is(sending: Books) -> None:
    sending.fail(sending.lease(), "restart")
    held = sending.lease()
    assert held.step == "end"
    sending.fail(held, "retry")
    sending.fail(sending.lease(), "give_up")

    assert told(sending)[:2] == [(1, "part", 1, 1, "unavailable"), (1, "end", 0, 1, "unavailable")]
    assert told(sending)[2][:3] == (1, "end", 0)
    assert sending.state() == "failed"


def test_a_report_that_comes_twice_is_remembered_once(sending: Books) -> None:
    held = sending.lease()
    sending.fail(held, "retry")
    sending.fail(held, "retry")

    assert len(failed(sending)) == 1


def test_the_next_run_knows_of_the_one_before(sending: Books) -> None:
    sending.lose()
    assert sending.state() == "failed"
    sending.command("retry")
    sending.fail(sending.lease(), "retry")

    assert told(sending) == [(1, "part", 1, 1, "unavailable"), (2, "begin", 0, 1, "unavailable")]


def test_an_attempt_that_was_lost_with_its_worker_is_one_that_failed(sending: Books) -> None:
    for _ in range(POISON_CRASHES):
        sending.ask()
        sending.later(31)
    assert sending.ask() == "poison"

    assert [row[3:] for row in told(sending)] == [
        *((attempt, "worker_lost") for attempt in range(1, POISON_CRASHES)),
        (POISON_CRASHES, "poison"),
    ]


def test_a_source_that_cannot_be_had_is_told_of_every_transfer(books: Books) -> None:
    books.accept(unseen=True, to=("media", "archive"))
    books.fail(books.lease(), "fail")

    assert books.state() == "failed"
    assert told(books, tid()) == told(books, tid(transfer=1)) == [(1, "look", 0, 1, "unavailable")]


@pytest.mark.parametrize("how", ["by its user", "by time"])
def test_nothing_stays_of_a_job_that_is_forgotten(sending: Books, client: redis.Redis, how: str) -> None:
    sending.lose()
    assert client.keys(f"*{tid()}:failed")
    if how == "by its user":
        assert sending.run(operations.forget(job_id())) == "done"
    else:
        sending.later(10_000_000)
        assert sending.sweep().forgotten == 1

    assert client.keys("*:failed") == []
