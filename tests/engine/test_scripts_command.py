"""Commands on jobs in every state: what each may do is a table, and the states it leads to are those of the models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from engine import arrivals, operations, upkeep
from engine.ledger import PREFIX
from engine.models import JOB_OVER, JOB_STATES, JOB_TRANSITIONS
from tests.engine.books import SESSION, Books, job_id, spec_of, tid

# -- how a job gets into each state -----------------------------------------------------------------------------------


def receiving(books: Books) -> None:
    books.run(arrivals.receive(spec_of(), 48, 60))


def queued(books: Books) -> None:
    books.accept()


def running(books: Books) -> None:
    books.accept()
    books.begin()


def paused(books: Books) -> None:
    running(books)
    books.command("pause")


def cancelling(books: Books) -> None:
    running(books)
    books.command("cancel")


def succeeded(books: Books) -> None:
    books.accept()
    books.finish()


def failed(books: Books) -> None:
    running(books)
    books.lose()


def partially_succeeded(books: Books) -> None:
    books.accept(to=["media", "archive"], parts=1)
    books.finish(tid(1, 0))
    books.lose(tid(1, 1))


def cancelled(books: Books) -> None:
    cancelling(books)
    books.finish()


def expired(books: Books) -> None:
    receiving(books)
    books.run(arrivals.expire(job_id()))


WAYS: dict[str, Callable[[Books], None]] = {
    "receiving": receiving,
    "queued": queued,
    "running": running,
    "paused": paused,
    "cancelling": cancelling,
    "succeeded": succeeded,
    "failed": failed,
    "partially_succeeded": partially_succeeded,
    "cancelled": cancelled,
    "expired": expired,
}

#: (state, command) → (verdict, state afterwards); everything that is not named is a conflict, and changes nothing.
TABLE = {
    ("receiving", "cancel"): ("done", "cancelled"),
    ("queued", "cancel"): ("done", "cancelled"),
    ("running", "cancel"): ("done", "cancelling"),
    ("paused", "cancel"): ("done", "cancelling"),
    ("cancelling", "cancel"): ("already", "cancelling"),
    ("cancelled", "cancel"): ("already", "cancelled"),
    ("queued", "pause"): ("done", "paused"),
    ("running", "pause"): ("done", "paused"),
    ("paused", "pause"): ("already", "paused"),
    ("queued", "resume"): ("already", "queued"),
    ("running", "resume"): ("already", "running"),
    ("paused", "resume"): ("done", "running"),
    ("failed", "retry"): ("done", "queued"),
    ("partially_succeeded", "retry"): ("done", "queued"),
}
ACTIONS = ("cancel", "pause", "resume", "retry")


def reachable(state: str) -> set[str]:
    """What one command may lead to: a cancelled job passes through `cancelling`."""
    direct = JOB_TRANSITIONS[state]
    return {state, *direct, *(JOB_TRANSITIONS["cancelling"] if "cancelling" in direct else ())}


def test_every_state_is_tried() -> None:
    assert set(WAYS) == set(JOB_STATES)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", WAYS)
def test_a_command_does_what_the_table_says(books: Books, state: str, action: str) -> None:
    WAYS[state](books)
    assert books.state() == state
    before = books.read()
    verdict, after = TABLE.get((state, action), ("conflict", state))

    said, now, tokens = books.command(action)

    assert (said, now, books.state()) == (verdict, after, after)
    assert after in reachable(state)
    if verdict != "done":
        assert tokens == []
        assert books.read() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_command_for_nobody_is_missing(books: Books, action: str) -> None:
    assert books.command(action) == ("missing", "", [])


@pytest.mark.parametrize("state", WAYS)
def test_only_what_is_over_can_be_forgotten(books: Books, state: str) -> None:
    WAYS[state](books)

    verdict = books.run(operations.forget(job_id()))

    assert verdict == ("done" if state in JOB_OVER else "conflict")
    assert (books.read() is None) == (state in JOB_OVER)


# -- cancel -----------------------------------------------------------------------------------------------------------


def test_a_job_that_nobody_began_is_cancelled_at_once(books: Books) -> None:
    books.accept(to=["media", "archive"])

    assert books.command("cancel") == ("done", "cancelled", [])
    assert books.ask() == "over"


def test_a_begin_under_way_is_waited_for(books: Books) -> None:
    """It may open a session any moment."""
    books.accept()
    held = books.lease()
    assert books.command("cancel") == ("done", "cancelling", [])
    assert books.ask() == "idle"

    books.begun(held)

    end = books.lease()
    assert (end.step, end.session) == ("end", SESSION)


def test_no_part_is_leased_once_a_job_is_cancelling(books: Books) -> None:
    running(books)
    books.command("cancel")

    assert books.lease().step == "end"
    assert books.ask() == "idle"


def test_cancel_sends_a_token_to_see_to_the_end(books: Books) -> None:
    running(books)

    _, _, tokens = books.command("cancel")

    assert [(token.transfer, token.mint) for token in tokens] == [(tid(), 1)]


def test_a_transfer_that_is_over_stays_so_when_its_job_is_cancelled(books: Books) -> None:
    books.accept(parts=1, to=["media", "archive"])
    books.finish(tid(1, 0))

    verdict, state, _ = books.command("cancel")

    assert (verdict, state) == ("done", "cancelled")
    record = books.read()
    assert record is not None
    assert [one.fields["state"] for one in record.transfers] == ["succeeded", "cancelled"]


def test_cancelling_a_transfer_that_fails_leaves_its_reason(books: Books) -> None:
    running(books)
    books.fail(books.lease(), "fail")

    books.command("cancel")

    held = books.lease()
    assert held.ending == "failed"
    assert books.ended(held).final == "cancelled"
    assert '"unavailable"' in books.transfer()["error"]


def test_cancelling_while_a_transfer_begins_again_ends_it(books: Books) -> None:
    running(books)
    books.fail(books.lease(), "restart")

    books.command("cancel")

    held = books.lease()
    assert held.ending == "cancelled"
    assert books.ended(held).final == "cancelled"


def test_a_cancelled_reception_is_over_for_its_sweeper_too(books: Books) -> None:
    receiving(books)
    books.command("cancel")
    books.later(61)

    assert books.sweep().dead_receptions == []
    assert books.state() == "cancelled"


# -- pause and resume -------------------------------------------------------------------------------------------------


def test_a_part_under_way_may_land_while_the_job_is_paused(books: Books) -> None:
    running(books)
    held = books.lease()
    books.command("pause")

    onward = books.record(held)

    assert (onward.fresh, onward.lane) == (True, "")
    assert books.one().recorded == 1


def test_the_last_part_of_a_paused_job_does_not_complete_it(books: Books) -> None:
    books.accept(parts=2, window=2)
    books.begin()
    first, second = books.lease(), books.lease()
    books.command("pause")
    books.record(first)
    books.record(second)
    assert books.transfer()["state"] == "completing"
    assert books.ask() == "idle"

    books.command("resume")

    assert books.lease().step == "complete"


def test_an_object_that_is_complete_ends_even_a_paused_job(books: Books) -> None:
    books.accept(parts=1)
    held = books.lease()
    books.command("pause")

    assert books.settle(held).final == "succeeded"


def test_resume_sends_a_token_for_every_transfer_with_work(books: Books) -> None:
    books.accept(parts=3, to=["media", "archive"])
    books.begin(tid(1, 0))
    books.command("pause")

    verdict, state, tokens = books.command("resume")

    assert (verdict, state) == ("done", "running")
    assert [token.transfer for token in tokens] == [tid(1, 0), tid(1, 1)]


def test_a_job_that_was_paused_before_it_began_is_queued_again(books: Books) -> None:
    books.accept()
    books.command("pause")

    assert books.command("resume")[:2] == ("done", "queued")


def test_pausing_and_resuming_in_a_hurry_does_not_flood_the_queue(books: Books) -> None:
    books.accept(parts=9, window=2)
    books.begin()

    for _ in range(50):
        books.command("pause")
        books.command("resume")

    assert books.tokens() <= 3


# -- retry ------------------------------------------------------------------------------------------------------------


def test_a_retry_is_the_next_run(books: Books) -> None:
    failed(books)
    books.later(5)

    verdict, state, tokens = books.command("retry")

    assert (verdict, state) == ("done", "queued")
    assert [token.transfer for token in tokens] == [tid()]
    job = books.job()
    assert (job["run"], job["finished"], job["until"], job["error"]) == ("2", "", "0", "")
    held = books.lease()
    assert (held.step, held.run, held.attempt) == ("begin", 2, 1)
    books.begun(held)
    assert books.finish().final == "succeeded"


def test_only_what_is_missing_is_done_again(books: Books) -> None:
    partially_succeeded(books)

    _, _, tokens = books.command("retry")

    assert [token.transfer for token in tokens] == [tid(1, 1)]
    assert books.ask(tid(1, 0)) == "over"
    assert books.finish(tid(1, 1)).final == "succeeded"


def test_a_source_that_is_gone_cannot_be_retried(books: Books) -> None:
    books.accept(keep_seconds=60)
    books.begin()
    books.lose()
    books.later(60)

    assert books.command("retry")[0] == "source_gone"
    assert books.state() == "failed"


def test_a_released_file_cannot_be_retried(books: Books) -> None:
    failed(books)
    books.run(upkeep.released("n1", {job_id(): 0}))

    assert books.command("retry")[0] == "source_gone"


def test_a_retried_job_keeps_its_file_and_its_record(books: Books, client: redis.Redis) -> None:
    failed(books)
    books.command("retry")
    books.later(10**6)

    swept = books.sweep()

    assert (swept.releasable, swept.forgotten) == ([], 0)
    assert client.ttl(f"{PREFIX}job:{job_id()}:events") == -1


def test_a_stale_fence_of_the_run_before_is_refused(books: Books) -> None:
    books.accept(parts=3, window=2)
    books.begin()
    first, second = books.lease(), books.lease()
    books.fail(first, "fail")
    books.later(31)
    books.ended(books.lease())
    books.command("retry")
    books.begin()

    assert not books.record(second).fresh
    assert books.one().recorded == 0


def test_what_was_sent_in_the_run_before_is_not_shown_as_sent(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.send(parts=2)
    books.lose()

    books.command("retry")

    fields = books.transfer()
    assert (fields["sent"], fields["floor"], fields["restarts"], fields["attempts"]) == ("0", "0", "0", "0")


# -- forget -----------------------------------------------------------------------------------------------------------


def test_a_forgotten_job_leaves_only_a_note_for_its_file(books: Books, client: redis.Redis) -> None:
    partially_succeeded(books)

    books.run(operations.forget(job_id()))

    left = {key.decode().removeprefix(PREFIX) for key in client.keys("*")}
    assert left == {"feed", "forgotten", "releasing:n1", "totals"}
    assert books.sweep(node="n1").releasable == [job_id()]
    assert books.run(operations.forget(job_id())) == "missing"
