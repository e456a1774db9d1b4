"""Transfers that begin while their file is still being received: what may go, what waits, and how it is taken back."""

from __future__ import annotations

import pytest

from engine import arrivals, operations
from engine.arrivals import Heard
from tests.engine.books import PART, Books, job_id, plan_of, spec_of, tid

SIZE = 3 * PART


def begin(
    books: Books,
    number: int = 1,
    *,
    to: tuple[str, ...] = ("media",),
    key: str = "",
    retained: bool = False,
    whole: str = "",
    lost: bool = False,
) -> None:
    """A file of three parts is being received, and nothing of it can be read yet. whole: a destination that takes it in
    one call.
    """
    spec = spec_of(number, destinations=list(to), retain_seconds=100)
    plans = [plan_of(name, parts=1 if name == whole else 3, key=key or f"key-{number}") for name in to]
    books.run(arrivals.receive(spec, SIZE, 60, retained=retained))
    assert books.run(arrivals.early(spec, plans, SIZE, 30, lost))


def come(books: Books, parts: float, number: int = 1) -> Heard:
    readable = int(parts * PART)
    return books.run(arrivals.received(job_id(number), readable, 60, readable))


def test_a_part_goes_when_it_has_come(books: Books) -> None:
    begin(books)
    assert books.state() == "receiving"
    assert [token.transfer for token in come(books, 0.9).tokens] == [tid()], "a session can be opened meanwhile"
    books.begin()
    assert books.ask() == "idle"

    assert [token.transfer for token in come(books, 1.9).tokens] == [tid()]
    held = books.lease()
    assert (held.step, held.number, held.size, held.crc32c) == ("part", 1, SIZE, "")
    assert books.record(held).fresh
    assert books.ask() == "idle"
    assert books.transfer()["sent"] == str(PART)


def test_what_comes_while_tokens_are_on_their_way_is_theirs(books: Books) -> None:
    begin(books)
    come(books, 0)
    books.begin()

    assert len(come(books, 1).tokens) == 1
    assert len(come(books, 2).tokens) == 1, "the window is two"
    assert len(come(books, 3).tokens) == 0


def test_no_object_is_made_before_the_file_is_accepted(books: Books) -> None:
    begin(books)
    come(books, 3)
    books.begin()
    books.send(parts=3)
    assert books.transfer()["state"] == "uploading"
    assert books.ask() == "idle"

    answer = books.accept()
    assert (answer.made, answer.state) == (True, "running")
    assert [token.transfer for token in answer.tokens] == [tid()]
    held = books.lease()
    assert (held.step, held.crc32c) == ("complete", "AAAAAA==")
    assert books.settle(held).final == "succeeded"


def test_accepting_lets_the_rest_go(books: Books) -> None:
    begin(books)
    come(books, 1)
    books.begin()
    books.send()

    assert books.accept().tokens
    assert books.finish().final == "succeeded"


def test_one_that_was_accepted_before_anything_began_is_queued(books: Books) -> None:
    begin(books)

    assert books.accept().state == "queued"
    assert books.finish().final == "succeeded"


def test_a_call_that_takes_all_of_the_file_waits_for_all_of_it(books: Books) -> None:
    begin(books, to=("media", "archive"), whole="archive")
    come(books, 3)
    assert books.ask(tid(1, 1)) == "idle"

    plans = [plan_of("media"), plan_of("archive", parts=1)]
    spec = spec_of(destinations=["media", "archive"])
    books.run(
        operations.accept(
            spec, plans, size=SIZE, crc32c="AAAAAA==", sha256="", keep_seconds=600, lease_seconds=30, early=True
        )
    )
    assert books.lease(tid(1, 1)).step == "whole"


def test_a_client_that_leaves_leaves_nothing_at_the_provider(books: Books) -> None:
    begin(books)
    come(books, 1)
    books.begin()
    assert books.run(arrivals.discard(job_id()))
    assert books.run(arrivals.received(job_id(), SIZE, 60)).state == ""

    held = books.lease()
    assert (held.step, held.ending, held.session) == ("end", "cancelled", {"id": "session-1"})
    books.ended(held)
    assert books.read() is None
    assert books.transfer() == {}
    assert books.sweep().tokens == []


def test_a_client_that_leaves_before_anything_began_is_forgotten_at_once(books: Books) -> None:
    begin(books)
    assert books.run(arrivals.discard(job_id()))

    assert books.read() is None
    assert books.server.fields(f"t:{tid()}") == {}


def test_a_dead_reception_is_taken_back(books: Books) -> None:
    begin(books)
    come(books, 1)
    books.begin()
    books.later(61)
    assert books.sweep().dead_receptions == [job_id()]
    assert books.sweep().dead_receptions == []

    books.ended(books.lease(mint=2))
    assert books.read() is None


def test_a_reception_that_was_given_up_too_early_begins_again(books: Books) -> None:
    begin(books)
    come(books, 1)
    books.begin()
    books.later(61)
    books.sweep()
    assert come(books, 2) == Heard("", [])
    books.run(arrivals.receive(spec_of(), SIZE, 60))
    assert not books.run(arrivals.early(spec_of(), [plan_of()], SIZE, 30, True)), "it is still being taken back"

    books.ended(books.lease(mint=2))
    begin(books, lost=True)
    assert come(books, 2).tokens
    assert books.accept().made
    assert books.finish().final == "succeeded"


def test_a_reception_that_was_given_up_too_early_is_accepted_all_the_same(books: Books) -> None:
    begin(books, to=("media", "archive"))
    come(books, 1)
    books.begin()
    books.begin(tid(1, 1))
    books.later(61)
    books.sweep()
    books.ended(books.lease(mint=2))
    assert books.transfer()["state"] == "cancelled"

    assert books.accept(to=("media", "archive"), key="key-1").made
    for one in (tid(1, 0), tid(1, 1)):
        mint = int(books.transfer(one)["mint"])
        if books.transfer(one)["ending"] == "restart":
            books.ended(books.lease(one, mint=mint))
        books.finish(one, mint=mint)
    assert books.state() == "succeeded"


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
def test_an_upload_in_chunks_that_nobody_goes_on_with_is_taken_back_and_expires(books: Books, begun: bool) -> None:
    begin(books, retained=True)
    if begun:
        come(books, 1)
        books.begin()
    books.run(arrivals.expire(job_id()))
    if begun:
        assert books.state() == "receiving"
        assert books.run(arrivals.received(job_id(), SIZE, 60)).state == "expired"
        books.ended(books.lease())

    assert books.state() == "expired"
    assert books.transfer()["state"] == "cancelled"


def test_cancel_takes_back_what_was_sent(books: Books) -> None:
    begin(books)
    come(books, 1)
    books.begin()
    assert books.command("cancel")[:2] == ("done", "cancelling")
    assert books.run(arrivals.received(job_id(), SIZE, 60)).state == "cancelling"

    books.ended(books.lease())
    assert books.state() == "cancelled"


def test_pausing_has_to_wait(books: Books) -> None:
    begin(books)
    assert books.command("pause")[0] == "conflict"


def test_a_destination_that_fails_meanwhile_fails_the_job_only_when_it_is_one(books: Books) -> None:
    begin(books)
    come(books, 1)
    books.lose()
    assert (books.state(), books.transfer()["state"]) == ("receiving", "failed")

    assert books.accept().made
    assert books.state() == "failed"
    assert books.command("retry")[0] == "done"
    assert books.finish(mint=1).final == "succeeded"


def test_a_file_that_shrank_is_sent_anew(books: Books) -> None:
    begin(books)
    come(books, 2)
    books.begin()
    books.send(parts=2)
    assert come(books, 1.5).tokens, "a power cut took the second part; what comes now may be something else"

    held = books.lease()
    assert (held.step, held.ending) == ("end", "restart")
    books.ended(held)
    assert (books.transfer()["state"], books.transfer()["available"]) == ("pending", "1")
    assert books.accept().made
    assert books.finish().final == "succeeded"


def test_a_file_that_shrank_before_its_parts_went_is_sent_on(books: Books) -> None:
    begin(books)
    come(books, 2)
    books.begin()
    books.send()
    come(books, 1)

    assert books.ask() == "idle"
    assert books.transfer()["ending"] == ""


def test_who_is_whole_overtakes_who_is_still_being_received(books: Books) -> None:
    begin(books, 1, key="same")
    come(books, 1)
    books.begin()
    begin(books, 2, key="same")
    assert books.accept(3, key="same").made
    assert books.ask(tid(3)) == "idle", "one key has one writer: the first one's session is taken back before"

    books.ended(books.lease(tid(1)))
    assert books.finish(tid(3)).final == "succeeded"
    assert books.ask(tid(2)) != "idle", "then they go on in turn"


def test_begun_twice_it_stays_as_it_is(books: Books) -> None:
    begin(books)
    come(books, 1)
    books.begin()

    assert not books.run(arrivals.early(spec_of(), [plan_of()], SIZE, 30, True))
    assert books.transfer()["state"] == "uploading"


def test_nobody_s_reception_begins_nothing(books: Books) -> None:
    assert not books.run(arrivals.early(spec_of(), [plan_of()], SIZE, 30, False))
    books.accept()
    assert not books.run(arrivals.early(spec_of(), [plan_of()], SIZE, 30, False))


def test_what_redis_lost_is_looked_for(books: Books) -> None:
    begin(books, lost=True)
    come(books, 0)

    assert books.lease().lost_begin
