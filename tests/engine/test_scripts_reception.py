"""Receptions and their acceptance in the ledger: a job exists from its first byte, and becomes real once."""

from __future__ import annotations

import pytest

from engine import arrivals, notices, operations
from engine.models import JOB_STATES
from tests.engine.books import NOON_MS, PART, Books, accept_of, job_id, spec_of, tid


def receive(books: Books, number: int = 1, *, size: int | None = 48) -> bool:
    return books.run(arrivals.receive(spec_of(number), size, 60))


def listed(books: Books, index: str) -> list[str]:
    return books.run(operations.page(index, "", 100))


# -- receive, received, discard ---------------------------------------------------------------------------------------


def test_a_job_exists_from_its_first_byte(books: Books) -> None:
    assert receive(books)

    record = books.read()
    assert record is not None
    assert (record.state, record.fields["size"], record.fields["received"]) == ("receiving", "48", "0")
    assert record.spec == spec_of()
    assert record.transfers == []
    assert listed(books, "jobs") == listed(books, "jobs:receiving") == listed(books, "owner:bootstrap") == [job_id()]


def test_a_body_of_unknown_length_has_no_size_yet(books: Books) -> None:
    receive(books, size=None)

    assert books.job()["size"] == ""


def test_an_id_is_taken_once(books: Books) -> None:
    assert receive(books)
    assert not receive(books, size=1)
    assert books.job()["size"] == "48"


def test_progress_shows_and_keeps_the_reception_alive(books: Books) -> None:
    receive(books)
    books.later(50)
    assert books.run(arrivals.received(job_id(), 20, 60)).state == "receiving"

    books.later(50)
    assert books.sweep().dead_receptions == []
    assert books.job()["received"] == "20"


def test_nobody_s_reception_is_no_job(books: Books) -> None:
    assert books.run(arrivals.received(job_id(), 20, 60)).state == ""
    assert books.job() == {}, "a late report must not make half a job"


def test_what_is_received_after_acceptance_changes_nothing(books: Books) -> None:
    receive(books)
    books.accept()

    assert books.run(arrivals.received(job_id(), 20, 60)).state == "queued"
    assert books.job()["received"] == "48"


def test_a_discarded_reception_leaves_nothing(books: Books) -> None:
    receive(books)
    assert books.run(arrivals.discard(job_id()))

    assert books.read() is None
    assert listed(books, "jobs") == listed(books, "jobs:receiving") == listed(books, "owner:bootstrap") == []
    assert not books.run(arrivals.discard(job_id())), "twice is no error"


def test_an_accepted_job_cannot_be_discarded(books: Books) -> None:
    receive(books)
    books.accept()

    assert not books.run(arrivals.discard(job_id()))
    assert books.state() == "queued"


def test_a_dead_reception_is_forgotten_and_told(books: Books) -> None:
    receive(books)
    books.later(61)

    assert books.sweep().dead_receptions == [job_id()]
    assert books.read() is None
    assert books.sweep().dead_receptions == []


# -- uploads in chunks: they end `expired`, and stay for those who ask ------------------------------------------------


def upload(books: Books) -> None:
    books.run(arrivals.receive(spec_of(retain_seconds=100), 48, 60, retained=True))


@pytest.mark.parametrize("by_time", [True, False], ids=["nobody went on with it", "its spool says so"])
def test_an_upload_that_does_not_go_on_expires(books: Books, by_time: bool) -> None:
    upload(books)
    books.run(arrivals.received(job_id(), 20, 60))
    if by_time:
        books.later(61)
        books.sweep()
    else:
        assert books.run(arrivals.expire(job_id())) == "expired"

    record = books.read()
    assert record is not None
    assert (record.state, record.fields["received"]) == ("expired", "20")
    assert record.fields["finished"] == str(books.now_ms)
    assert listed(books, "jobs:expired") == listed(books, "jobs") == [job_id()]
    assert books.run(arrivals.received(job_id(), 30, 60)).state == "expired"
    assert not books.accept().made, "it cannot come back"
    assert books.run(arrivals.expire(job_id())) == "expired", "twice is no error"
    assert books.sweep().dead_receptions == []


def test_an_expired_job_is_kept_as_long_as_any_other(books: Books) -> None:
    upload(books)
    books.run(arrivals.expire(job_id()))
    books.later(99)
    books.sweep()
    assert books.state() == "expired"

    books.later(2)
    books.sweep()
    assert books.read() is None


def test_a_cancelled_upload_is_kept_as_long_too(books: Books) -> None:
    upload(books)
    assert books.command("cancel")[:2] == ("done", "cancelled")
    books.later(101)
    books.sweep()

    assert books.read() is None


def test_what_was_accepted_does_not_expire(books: Books) -> None:
    upload(books)
    books.accept()

    assert books.run(arrivals.expire(job_id())) == "queued"
    assert books.run(arrivals.expire(job_id(2))) == ""


# -- accept -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [True, False], ids=["shown before", "never shown"])
def test_acceptance_makes_the_job_with_its_transfers(books: Books, shown: bool) -> None:
    if shown:
        receive(books, size=None)

    answer = books.accept(to=["media", "archive"])

    assert answer.made
    assert [(token.transfer, token.mint) for token in answer.tokens] == [(tid(1, 0), 1), (tid(1, 1), 1)]
    assert answer.record is not None
    assert answer.record == books.read()
    fields = answer.record.fields
    assert (fields["state"], fields["size"], fields["received"], fields["run"]) == ("queued", "48", "48", "1")
    assert fields["created"] == str(NOON_MS)
    assert [one.fields["state"] for one in answer.record.transfers] == ["pending", "pending"]
    assert listed(books, "jobs:queued") == [job_id()]
    assert listed(books, "jobs:receiving") == []


def test_accepting_twice_is_harmless(books: Books) -> None:
    books.accept()
    books.begin()
    before = books.read()

    again = books.accept(parts=9)

    assert (again.made, again.state, again.tokens) == (False, "running", [])
    assert books.read() == before


def test_an_accepted_reception_does_not_die(books: Books) -> None:
    receive(books)
    books.accept()
    books.later(120)

    assert books.sweep().dead_receptions == []
    assert books.state() == "queued"


def test_a_remade_job_looks_first_for_what_its_lost_life_left(books: Books) -> None:
    books.accept(remade=True, run=3)

    held = books.lease()

    assert held.lost_begin
    assert held.run == 3


def test_a_first_life_has_lost_nothing(books: Books) -> None:
    books.accept()

    assert not books.lease().lost_begin


def test_totals_grow_once_per_job(books: Books) -> None:
    books.accept()
    books.accept()

    assert books.run(notices.stats())["totals"] == {"received": 3 * PART}


def test_the_answer_of_accept_is_what_read_says(books: Books) -> None:
    answer = books.run(accept_of(1, parts=1))

    assert answer.record is not None
    assert answer.record.revision == 1
    assert answer.record.now_ms == NOON_MS


def test_every_state_has_an_index_of_its_own(books: Books) -> None:
    receive(books, 1)
    books.accept(2)
    books.accept(3)
    books.begin(tid(3))

    found = {state: listed(books, f"jobs:{state}") for state in JOB_STATES}

    assert {state: ids for state, ids in found.items() if ids} == {
        "receiving": [job_id(1)],
        "queued": [job_id(2)],
        "running": [job_id(3)],
    }
