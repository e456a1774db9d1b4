"""Leases: which step a token gets, how many may live at once, and what happens when their time runs out."""

from __future__ import annotations

import pytest

from engine import leases
from engine.leases import POISON_CRASHES
from engine.records import Lease
from tests.engine.books import NOON_MS, PART, SESSION, Books, job_id, spec_of, tid

# -- the step ---------------------------------------------------------------------------------------------------------


def test_a_transfer_goes_from_begin_over_its_parts_to_complete(books: Books) -> None:
    books.accept(parts=2)

    steps = []
    while True:
        held = books.lease()
        steps.append((held.step, held.number))
        if held.step == "begin":
            books.begun(held)
        elif held.step == "part":
            books.record(held)
        else:
            books.settle(held)
            break

    assert steps == [("begin", 0), ("part", 1), ("part", 2), ("complete", 0)]
    assert books.state() == "succeeded"


def test_a_small_file_has_one_step(books: Books) -> None:
    books.accept(parts=1)

    held = books.lease()

    assert (held.step, held.number, held.size) == ("whole", 0, PART)
    assert books.transfer()["state"] == "uploading"


def test_a_lease_carries_everything_that_its_step_needs(books: Books) -> None:
    books.accept(parts=2, metadata={"a": "é"})
    books.begin()
    books.later(1)

    held = books.lease()

    assert (held.transfer, held.job, held.mint) == (tid(), job_id(), 1)
    assert (held.destination, held.key, held.url, held.fingerprint) == (
        "media", "key-1", "memory://media/key-1", "f",
    )  # fmt: skip
    assert (held.part_size, held.total, held.size, held.crc32c) == (PART, 2, 2 * PART, "AAAAAA==")
    assert (held.session, held.ending, held.attempt, held.run) == (SESSION, "", 1, 1)
    assert held.spec == spec_of(metadata={"a": "é"})
    assert held.intent_ms == NOON_MS, "when the session was meant to be opened is on record"
    assert held.now_ms == NOON_MS + 1000


def test_an_ending_transfer_gets_its_end(books: Books) -> None:
    books.accept()
    books.begin()
    books.command("cancel")

    held = books.lease()

    assert (held.step, held.number, held.ending, held.session) == ("end", 0, "cancelled", SESSION)


def test_the_first_lease_makes_the_job_run(books: Books) -> None:
    books.accept()
    assert books.state() == "queued"

    books.lease()

    assert books.state() == "running"


# -- reasons for none -------------------------------------------------------------------------------------------------


def test_a_token_for_nobody_dies(books: Books) -> None:
    assert books.ask() == "gone"


def test_a_token_for_a_transfer_that_is_over_dies(books: Books) -> None:
    books.accept(parts=1)
    books.finish()

    assert books.ask() == "over"


def test_a_token_that_finds_nothing_to_do_dies(books: Books) -> None:
    books.accept()
    books.lease()

    assert books.ask() == "idle"
    assert books.tokens() == 0


def test_a_paused_transfer_gives_no_lease(books: Books) -> None:
    books.accept()
    books.begin()
    books.command("pause")

    assert books.ask() == "idle"


def test_part_leases_never_exceed_the_window(books: Books) -> None:
    books.accept(parts=5, window=2)
    books.begin()

    first, second = books.lease(), books.lease()

    assert {first.number, second.number} == {1, 2}
    assert books.ask() == "idle"
    books.record(first)
    assert books.lease().number == 3


# -- stores that take parts in order only ----------------------------------------------------------------------------


def test_while_a_part_waits_to_be_tried_again_nothing_behind_it_goes(books: Books) -> None:
    books.accept(parts=3, window=1, ordered=True)
    books.begin()
    books.record(books.lease())
    books.fail(books.lease(), "retry", seconds=20)
    assert books.ask() == "idle"
    assert books.sweep().tokens == []

    books.later(20)
    again = books.lease()
    assert (again.number, again.attempt) == (2, 2)
    books.record(again)
    assert books.lease().number == 3


def test_a_part_given_back_comes_before_those_behind_it(books: Books) -> None:
    books.accept(parts=3, window=1, ordered=True)
    books.begin()
    books.fail(books.lease(), "snooze")
    assert books.lease().number == 1


def test_a_part_whose_worker_died_comes_before_those_behind_it(books: Books) -> None:
    books.accept(parts=3, window=1, ordered=True)
    books.begin()
    books.lease(seconds=30)
    books.later(31)
    assert books.lease().number == 1


def test_where_order_does_not_matter_the_others_go_on(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.fail(books.lease(), "retry", seconds=20)
    assert books.lease().number == 2


# -- time that runs out -----------------------------------------------------------------------------------------------


def test_an_expired_lease_is_rescued(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    lost = books.lease(seconds=30)
    books.later(29.9)
    assert books.ask() == "idle"

    books.later(0.2)
    taken = books.lease()

    assert (taken.number, taken.attempt) == (lost.number, 2)
    assert taken.fence != lost.fence


def test_who_was_rescued_is_refused(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    lost = books.lease()
    books.later(31)
    taken = books.lease()

    refused = books.record(lost)

    assert (refused.fresh, refused.lane) == (False, "")
    assert books.one().recorded == 0
    assert books.record(taken).fresh


def test_an_expired_lease_that_nobody_took_may_still_commit(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    held = books.lease()
    books.later(3600)

    assert books.record(held).fresh
    assert books.one().recorded == 1
    assert books.one().leased == []


def test_a_deadline_too_far_away_counts_as_run_out(books: Books) -> None:
    """It was written before a clock was set back."""
    books.accept(parts=3, window=1)
    books.begin()
    lost = books.lease(seconds=30)
    books.later(-120)

    taken = books.lease(seconds=30)

    assert (taken.number, taken.attempt) == (lost.number, 2)
    assert not books.record(lost).fresh


def test_a_deadline_within_twice_a_lease_is_believed(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.lease(seconds=30)
    books.later(-29)

    assert books.ask() == "idle"


@pytest.mark.parametrize("parts", [1, 3], ids=["whole", "begin"])
def test_a_lost_begin_is_remembered(books: Books, parts: int) -> None:
    """A session may be open at the provider that the ledger does not know."""
    books.accept(parts=parts)
    assert not books.lease().lost_begin
    books.later(31)

    again = books.lease()

    assert again.lost_begin
    assert again.attempt == 2
    assert again.intent_ms == NOON_MS, "the first intent stays: strays are as old as that"


# -- poison -----------------------------------------------------------------------------------------------------------


def crash(books: Books, times: int) -> Lease | str:
    found: Lease | str = ""
    for _ in range(times):
        found = books.ask()
        books.later(31)
    return found


def test_a_part_that_kills_its_workers_ends_the_transfer(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()

    crash(books, POISON_CRASHES)
    assert books.ask() == "poison"

    held = books.lease()
    assert (held.step, held.ending) == ("end", "failed")
    assert books.ended(held).final == "failed"
    assert '"poison"' in books.job()["error"]


def test_one_crash_less_is_no_poison(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()

    crash(books, POISON_CRASHES - 1)

    assert books.lease().attempt == POISON_CRASHES


def test_crashes_of_different_parts_do_not_add_up(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    for _ in range(3):
        crash(books, POISON_CRASHES - 2)
        books.record(books.lease())

    assert books.lease().step == "complete"


def test_an_end_that_kills_its_workers_is_given_up(books: Books) -> None:
    """Its session goes on record, for somebody to look at."""
    books.accept()
    books.begin()
    books.command("cancel")

    crash(books, POISON_CRASHES)
    assert books.ask() == "poison"

    assert books.state() == "cancelled"
    assert set(books.server.orphans()) == {tid()}


# -- mints ------------------------------------------------------------------------------------------------------------


def remint(books: Books) -> int:
    """Silence makes the sweeper mint anew: the tokens of before are stale."""
    books.later(10)
    (token, *_) = books.sweep().tokens
    return token.mint


def test_a_stale_token_still_works_but_dies_afterwards(books: Books) -> None:
    books.accept(parts=4, window=1)
    books.begin()
    mint = remint(books)
    assert mint == 2

    stale = books.lease(mint=1)
    onward = books.record(stale)

    assert onward.fresh
    assert onward.lane == "", "its successor travels already"
    assert books.tokens() == 1


def test_a_stale_token_fills_a_gap(books: Books) -> None:
    books.accept(parts=4, window=1)
    books.begin()
    mint = remint(books)
    held = books.lease(mint=1)
    assert books.ask(mint=mint) == "idle"

    onward = books.record(held)

    assert (onward.lane, onward.mint) == ("parts", mint)
    assert books.tokens() == 1


def test_a_stale_token_without_work_takes_nobody_with_it(books: Books) -> None:
    books.accept(parts=4, window=1)
    books.begin()
    mint = remint(books)
    books.lease(mint=mint)

    assert books.ask(mint=1) == "idle"
    assert books.tokens() == 1


def test_attempts_are_counted_before_the_work(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.lease()

    assert books.transfer()["attempts"] == "2"
    assert books.parts()["tries"] == {"1": "1"}


# -- renew ------------------------------------------------------------------------------------------------------------


def test_a_renewed_lease_lives_on(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    held = books.lease()
    books.later(20)
    assert books.run(leases.renew([held], 30)) == [True]

    books.later(29)
    assert books.ask() == "idle"


def test_a_lease_of_somebody_else_is_not_renewed(books: Books) -> None:
    books.accept(parts=3, window=2)
    books.begin()
    lost, kept = books.lease(), books.lease()
    books.later(20)
    books.run(leases.renew([kept], 30))
    books.later(20)
    taken = books.lease()
    assert taken.number == lost.number

    assert books.run(leases.renew([lost, kept, taken], 30)) == [False, True, True]


def test_an_expired_lease_that_nobody_took_can_be_renewed(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    held = books.lease()
    books.later(300)

    assert books.run(leases.renew([held], 30)) == [True]
    assert books.ask() == "idle"


def test_a_lease_of_a_job_that_is_gone_is_not_renewed(books: Books) -> None:
    books.accept(parts=1)
    held = books.lease()
    books.settle(held)

    assert books.run(leases.renew([held], 30)) == [False]
    assert books.one().leased == []
