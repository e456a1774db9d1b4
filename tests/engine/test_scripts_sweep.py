"""The sweeper's round in the ledger: whatever tokens and owners were lost, work goes on; whatever is over, goes."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
import redis

from engine import arrivals, notices, operations, upkeep
from engine.ledger import PREFIX
from engine.records import Token
from tests.engine.books import NOON_MS, Books, job_id, spec_of, tid

STALL_SECONDS = 2
LOOK_SECONDS = 5


def active(client: redis.Redis) -> dict[str, int]:
    return {member.decode(): int(at) for member, at in client.zrange(f"{PREFIX}active", 0, -1, withscores=True)}


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_that_travel_are_not_doubled(books: Books) -> None:
    books.accept()
    books.later(STALL_SECONDS - 0.1)

    assert books.sweep().tokens == []


def test_a_token_that_was_never_sent_is_minted(books: Books) -> None:
    books.accept()
    books.later(STALL_SECONDS)

    assert books.sweep().tokens == [Token(tid(), 2, "small")]
    assert books.lease(mint=2).step == "begin"


def test_silence_mints_for_all_the_work_there_is(books: Books) -> None:
    books.accept(parts=9, window=4)
    books.begin()
    books.later(60)

    assert books.sweep().tokens == [Token(tid(), 2, "parts")] * 4
    assert books.tokens() == 4


def test_silence_grows_before_the_next_minting(books: Books) -> None:
    """A queue that is merely long must not be filled again and again."""
    books.accept()
    minted = []
    for second in range(200):
        books.later(1)
        if books.sweep().tokens:
            minted.append(second + 1)

    gaps = [after - before for before, after in pairwise(minted)]
    assert len(minted) < 12
    assert gaps == sorted(gaps)
    assert gaps[0] < 10
    assert max(gaps) <= 65


def test_work_that_goes_on_is_not_silent(books: Books) -> None:
    books.accept(parts=9, window=1)
    books.begin()
    for _ in range(8):
        books.later(1)
        books.send()
        assert books.sweep().tokens == []


def test_a_token_resets_the_patience(books: Books) -> None:
    books.accept(parts=9, window=1)
    for _ in range(4):
        books.later(70)
        books.sweep()
    assert books.transfer()["backoff"] != "0"

    books.lease()

    assert books.transfer()["backoff"] == "0"


def test_a_retry_that_is_due_gets_a_token(books: Books) -> None:
    books.accept(parts=1)
    books.fail(books.lease(), "retry", seconds=7)
    assert books.sweep().tokens == []

    books.later(7.001)

    (token,) = books.sweep().tokens
    assert books.lease(mint=token.mint).attempt == 2


def test_an_expired_lease_gets_a_token(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    lost = books.lease(seconds=30)
    books.later(30)

    (token,) = books.sweep().tokens

    assert token.lane == "parts"
    assert books.lease(mint=token.mint).number == lost.number


def test_an_orphaned_completing_gets_a_token(books: Books) -> None:
    books.accept(parts=2, window=1)
    books.begin()
    books.send(parts=2)
    books.later(STALL_SECONDS)

    (token,) = books.sweep().tokens

    assert token.lane == "small"
    assert books.lease(mint=token.mint).step == "complete"


def test_a_transfer_that_is_looked_at_is_looked_at_again(books: Books, client: redis.Redis) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.lease(seconds=30)
    books.later(STALL_SECONDS)

    books.sweep()

    assert active(client) == {tid(): books.now_ms + LOOK_SECONDS * 1000}


def test_one_round_takes_a_bounded_look(books: Books) -> None:
    for number in range(1, 6):
        books.accept(number)
    books.later(STALL_SECONDS)

    assert len(books.sweep(limit=3).tokens) == 3
    assert len(books.sweep(limit=3).tokens) == 2


def test_a_full_queue_gets_no_more_tokens(books: Books) -> None:
    books.accept(1)
    books.accept(2, parts=9, window=4)
    books.begin(tid(2))
    books.later(60)

    full = books.run(upkeep.sweep("w1", {}, "n1", 200, (0, 0)))
    assert full.tokens == []

    books.later(60)
    assert len(books.sweep().tokens) == 1 + 4


# -- what leaves `active` ---------------------------------------------------------------------------------------------


def test_a_paused_transfer_is_not_looked_at(books: Books, client: redis.Redis) -> None:
    books.accept()
    books.begin()
    books.command("pause")
    books.later(60)

    assert books.sweep().tokens == []
    assert active(client) == {}


def test_a_resumed_transfer_is_looked_at_again(books: Books, client: redis.Redis) -> None:
    books.accept()
    books.begin()
    books.command("pause")
    books.later(60)
    books.sweep()

    books.command("resume")

    assert list(active(client)) == [tid()]


def test_a_paused_transfer_whose_part_is_under_way_stays(books: Books, client: redis.Redis) -> None:
    books.accept()
    books.begin()
    books.lease(seconds=30)
    books.command("pause")
    books.later(10)
    books.sweep()
    assert list(active(client)) == [tid()]

    books.later(30)
    books.sweep()
    assert active(client) == {}


def test_a_cancelled_pause_is_looked_at(books: Books, client: redis.Redis) -> None:
    books.accept()
    books.begin()
    books.command("pause")
    books.later(60)
    books.sweep()

    books.command("cancel")

    assert list(active(client)) == [tid()]
    assert books.lease().step == "end"


def test_what_no_longer_exists_is_dropped(books: Books, client: redis.Redis) -> None:
    client.zadd(f"{PREFIX}active", {tid(9): 0})

    assert books.sweep().tokens == []
    assert active(client) == {}


# -- what is over -----------------------------------------------------------------------------------------------------


def test_a_finished_job_s_file_is_looked_after_by_its_own_node(books: Books) -> None:
    books.accept(parts=1)
    books.finish()
    books.later(3)

    assert books.sweep(node="n2").releasable == []
    assert books.sweep(node="n1").releasable == [job_id()]


def test_whoever_ended_a_job_has_a_moment_to_look_after_its_file(books: Books) -> None:
    books.accept(parts=1)
    books.finish()

    assert books.sweep().releasable == []


def test_a_file_that_was_released_is_not_named_again(books: Books) -> None:
    books.accept(parts=1)
    books.finish()
    books.run(upkeep.released("n1", {job_id(): 0}))
    books.later(60)

    assert books.sweep().releasable == []
    assert books.job()["until"] == "0"


def test_a_file_that_is_kept_is_named_when_its_time_is_over(books: Books) -> None:
    books.accept(parts=1)
    books.lose()
    until = int(books.job()["until"])
    books.run(upkeep.released("n1", {job_id(): until}))
    books.later(599)
    assert books.sweep().releasable == []

    books.later(2)
    assert books.sweep().releasable == [job_id()]


def test_a_retry_that_came_first_keeps_the_file(books: Books) -> None:
    books.accept(parts=1)
    books.lose()
    until = books.job()["until"]
    books.command("retry")

    books.run(upkeep.released("n1", {job_id(): 0}))

    books.lose()
    assert books.job()["until"] == until


def test_a_record_is_forgotten_after_its_retention(books: Books, client: redis.Redis) -> None:
    books.accept(parts=1, retain_seconds=100)
    books.finish()
    books.later(99)
    assert books.sweep().forgotten == 0

    books.later(1)
    assert books.sweep().forgotten == 1
    assert books.read() is None
    left = {key.decode().removeprefix(PREFIX) for key in client.keys("*")}
    assert left == {"feed", "releasing:n1", "totals", "workers", "worker:w1"}


# -- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_sweeps_is_seen(books: Books) -> None:
    books.sweep(worker="n1:7")
    books.later(14)
    books.sweep(worker="n1:8")

    (seven, eight) = sorted(books.run(notices.stats())["workers"], key=lambda one: one["name"])
    assert (seven["name"], seven["seen_ms"], seven["pid"]) == ("n1:7", NOON_MS, 1)
    books.later(2)
    assert [one["name"] for one in books.run(notices.stats())["workers"]] == [eight["name"]]


def test_a_sweeper_hears_of_its_round_before(books: Books) -> None:
    assert books.sweep().before_ms == 0
    books.later(1)
    found = books.sweep()
    assert (found.before_ms, found.now_ms) == (NOON_MS, NOON_MS + 1000)


def test_a_sweeper_hears_of_the_epoch(books: Books) -> None:
    assert books.sweep().epoch is None
    books.run(upkeep.mark_reconciled())
    assert books.sweep().epoch == 1


# -- one key, one writer ----------------------------------------------------------------------------------------------


def test_the_second_transfer_of_a_key_waits(books: Books) -> None:
    books.accept(1, key="same")
    books.accept(2, key="same")

    assert books.ask(tid(2)) == "idle"
    assert books.lease(tid(1)).step == "begin"


def test_nobody_overtakes_a_writer_when_a_clock_is_set_back(books: Books) -> None:
    books.accept(2, key="same")
    books.begin(tid(2))
    books.later(-3600)

    books.accept(1, key="same")

    assert books.ask(tid(1)) == "idle"
    assert books.lease(tid(2)).step == "part"


def test_other_keys_and_other_destinations_do_not_wait(books: Books) -> None:
    books.accept(1, key="same")
    books.accept(2, key="other")
    books.accept(3, key="same", to=["archive"])

    assert books.lease(tid(2)).step == books.lease(tid(3)).step == "begin"


@pytest.mark.parametrize("how", ["finish", "lose", "cancel", "forget"])
def test_the_next_writer_is_woken_when_the_key_is_free(books: Books, how: str) -> None:
    books.accept(1, key="same", parts=1)
    books.accept(2, key="same", parts=1)
    assert books.ask(tid(2)) == "idle"
    books.later(1)

    if how == "cancel":
        books.command("cancel", 1)
    else:
        (books.lose if how == "lose" else books.finish)(tid(1))
    if how == "forget":
        books.run(operations.forget(job_id(1)))

    assert books.sweep().tokens == [Token(tid(2), 1, "small")]
    assert books.lease(tid(2)).step == "whole"


def test_writers_of_a_key_take_turns_in_the_order_of_acceptance(books: Books) -> None:
    for number in (3, 1, 2):
        books.accept(number, key="same", parts=1)

    for number in (3, 1, 2):
        others = {1, 2, 3} - {number}
        assert all(isinstance(books.ask(tid(other)), str) for other in others)
        books.finish(tid(number))


def test_a_retried_transfer_takes_its_turn_again(books: Books) -> None:
    books.accept(1, key="same", parts=1)
    books.accept(2, key="same", parts=1)
    books.lose(tid(1))
    books.command("retry", 1)

    assert books.ask(tid(1)) == "idle"
    books.finish(tid(2))
    assert books.lease(tid(1)).step == "whole"


def test_a_waiting_transfer_can_be_cancelled(books: Books) -> None:
    books.accept(1, key="same", parts=1)
    books.accept(2, key="same", parts=1)

    assert books.command("cancel", 2) == ("done", "cancelled", [])
    books.finish(tid(1))


def test_a_reception_s_claims_begin_with_its_acceptance(books: Books) -> None:
    books.run(arrivals.receive(spec_of(1), 48, 60))
    books.later(1)
    books.accept(2, key="same", parts=1)
    books.later(1)
    books.accept(1, key="same", parts=1)

    assert books.lease(tid(2)).step == "whole"
    assert books.ask(tid(1)) == "idle"


# -- events -----------------------------------------------------------------------------------------------------------


def test_the_streams_of_jobs_and_of_all_are_trimmed(books: Books, client: redis.Redis) -> None:
    books.accept()
    for _ in range(600):
        books.command("pause")
        books.command("resume")

    assert client.xlen(f"{PREFIX}job:{job_id()}:events") < 400
    assert client.xlen(f"{PREFIX}feed") == 1201
    last = client.xrevrange(f"{PREFIX}feed", count=1)[0][1]
    assert msgspec.json.decode(last[b"d"])["state"] == "queued"


def test_a_finished_job_s_stream_goes_after_an_hour(books: Books, client: redis.Redis) -> None:
    books.accept(parts=1)
    books.finish()

    assert 0 < client.ttl(f"{PREFIX}job:{job_id()}:events") <= 3600
