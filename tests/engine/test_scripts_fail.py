"""Failed steps: what was decided about them is written down, once, and never costs what it must not."""

from __future__ import annotations

import msgspec
import pytest

from tests.engine.books import NOON_MS, TROUBLE, Books, tid


@pytest.fixture
def sending(books: Books) -> Books:
    """A transfer of three parts, one at a time, whose session is open."""
    books.accept(parts=3, window=1)
    books.begin()
    return books


# -- retry ------------------------------------------------------------------------------------------------------------


def test_a_part_that_is_tried_again_is_due_at_its_time(sending: Books) -> None:
    held = sending.lease()
    sending.fail(held, "retry", seconds=5)

    assert sending.parts()["due"] == {"1": str(NOON_MS + 5000)}
    assert sending.lease().number == 2, "the others do not wait"
    sending.later(5)
    record = sending.one()
    assert (record.failing, record.next_due_ms) == (1, NOON_MS + 5000)
    assert record.failure is not None
    assert record.failure["code"] == TROUBLE["code"]


def test_a_due_part_goes_before_new_ones(sending: Books) -> None:
    sending.fail(sending.lease(), "retry", seconds=5)
    sending.later(5)

    held = sending.lease()

    assert (held.number, held.attempt) == (1, 2)


def test_a_step_knows_since_when_it_fails(sending: Books) -> None:
    sending.fail(sending.lease(), "retry", seconds=5)
    sending.later(5)
    held = sending.lease()
    assert held.failing_since_ms == NOON_MS
    sending.fail(held, "retry", seconds=5)
    sending.later(5)

    assert sending.lease().failing_since_ms == NOON_MS, "since the first failure, not the last"


def test_a_step_knows_how_often_it_failed_in_the_same_way(sending: Books) -> None:
    other = {**TROUBLE, "code": "throttled"}
    seen = []
    for problem in (TROUBLE, TROUBLE, other, TROUBLE):
        held = sending.lease()
        seen.append((held.failed_with, held.failed_alike))
        sending.fail(held, "retry", problem=problem)
        sending.later(1)

    assert seen == [("", 0), ("unavailable", 1), ("unavailable", 2), ("throttled", 1)]


def test_a_late_failure_of_who_was_rescued_is_refused(sending: Books) -> None:
    lost = sending.lease()
    sending.later(31)
    taken = sending.lease()

    assert not sending.fail(lost, "fail").fresh
    assert sending.transfer()["ending"] == ""
    assert sending.record(taken).fresh


def test_a_failure_that_is_reported_twice_counts_once(sending: Books) -> None:
    held = sending.lease()
    assert sending.fail(held, "retry").fresh
    assert not sending.fail(held, "retry").fresh


@pytest.mark.parametrize("parts", [1, 3], ids=["whole", "begin"])
def test_a_begin_whose_answer_failed_may_have_left_a_session(books: Books, parts: int) -> None:
    books.accept(parts=parts)
    books.fail(books.lease(), "retry")

    assert books.lease().lost_begin


def test_the_token_of_a_step_that_waits_dies(books: Books) -> None:
    """The sweeper sends another when it is due."""
    books.accept()

    onward = books.fail(books.lease(), "retry", seconds=5)

    assert (onward.fresh, onward.lane) == (True, "")
    assert books.tokens() == 0
    books.later(5.001)
    assert [token.transfer for token in books.sweep().tokens] == [tid()]


# -- snooze -----------------------------------------------------------------------------------------------------------


def test_what_is_given_back_costs_no_attempt(sending: Books) -> None:
    held = sending.lease()

    sending.fail(held, "snooze")

    again = sending.lease()
    assert (again.number, again.attempt) == (1, 1)
    assert sending.transfer()["attempts"] == "2", "begin, and this one"
    assert sending.parts()["errors"] == {}


# -- restart ----------------------------------------------------------------------------------------------------------


def test_a_lost_session_is_ended_and_begun_again(sending: Books) -> None:
    sending.send()
    sending.fail(sending.lease(), "restart")

    held = sending.lease()
    assert (held.step, held.ending) == ("end", "restart")
    sending.ended(held)
    assert sending.lease().step == "begin"


def test_a_session_that_is_lost_again_fails_the_transfer(sending: Books) -> None:
    sending.fail(sending.lease(), "restart")
    sending.ended(sending.lease())
    sending.begin()

    sending.fail(sending.lease(), "restart")

    held = sending.lease()
    assert held.ending == "failed"
    assert sending.ended(held).final == "failed"


def test_leases_that_live_are_waited_for_before_the_end(books: Books) -> None:
    books.accept(parts=3, window=2)
    books.begin()
    first, second = books.lease(), books.lease()
    books.fail(first, "restart")

    assert books.ask() == "idle"
    books.record(second)
    assert books.lease().step == "end"


# -- fail -------------------------------------------------------------------------------------------------------------


def test_a_permanent_failure_ends_the_transfer_after_its_session(sending: Books) -> None:
    sending.fail(sending.lease(), "fail")
    assert sending.state() == "running"

    held = sending.lease()
    assert (held.step, held.ending, held.attempt) == ("end", "failed", 1)
    assert sending.ended(held).final == "failed"
    assert msgspec.json.decode(sending.job()["error"])["code"] == TROUBLE["code"]


def test_a_begin_that_was_refused_has_made_nothing_to_end(books: Books) -> None:
    books.accept()

    onward = books.fail(books.lease(), "fail")

    assert onward.final == "failed"


def test_a_begin_that_may_have_made_something_is_ended(books: Books) -> None:
    books.accept()
    books.fail(books.lease(), "retry")

    assert books.fail(books.lease(), "fail").final == ""
    assert books.lease().step == "end"


def test_the_first_reason_is_the_one_that_is_kept(books: Books) -> None:
    books.accept(parts=3, window=2)
    books.begin()
    first, second = books.lease(), books.lease()
    books.fail(first, "fail", problem={**TROUBLE, "code": "access_denied"})

    books.fail(second, "fail", problem={**TROUBLE, "code": "session_lost"})
    books.ended(books.lease())

    assert msgspec.json.decode(books.job()["error"])["code"] == "access_denied"


@pytest.mark.parametrize("kind", ["retry", "snooze", "restart", "fail"])
def test_a_part_that_fails_while_its_transfer_ends_is_nobody_s_concern(books: Books, kind: str) -> None:
    books.accept(parts=3, window=2)
    books.begin()
    held = books.lease()
    books.command("cancel")
    assert books.ask() == "idle", "the end waits for the part"

    onward = books.fail(held, kind, seconds=5)

    assert (onward.fresh, onward.lane) == (True, "small"), "its token sees to the end at once"
    end = books.lease()
    assert (end.step, end.ending) == ("end", "cancelled")
    assert books.ended(end).final == "cancelled"


# -- the end itself fails ---------------------------------------------------------------------------------------------


def test_an_end_is_tried_again(sending: Books) -> None:
    sending.command("cancel")
    sending.fail(sending.lease(), "retry", seconds=5)
    assert sending.ask() == "idle"
    sending.later(5)

    held = sending.lease()

    assert (held.step, held.attempt, held.ending) == ("end", 2, "cancelled")


@pytest.mark.parametrize(
    ("begin_end", "state"),
    [("cancel", "cancelled"), ("fail", "failed"), ("restart", "failed")],
)
def test_an_end_that_is_given_up_puts_the_session_on_record(sending: Books, begin_end: str, state: str) -> None:
    if begin_end == "cancel":
        sending.command("cancel")
    else:
        sending.fail(sending.lease(), begin_end)

    onward = sending.fail(sending.lease(), "give_up")

    assert onward.final == state
    orphan = msgspec.json.decode(sending.server.fields("orphans")[tid()])
    assert (orphan["destination"], orphan["key"]) == ("media", "key-1")
    assert '"session-1"' in orphan["session"]
    if state == "failed":
        assert sending.job()["error"] != ""
