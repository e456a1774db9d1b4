"""What the ledger answers about jobs, and how it is written down and put back: pages, parts, dumps, ends, epochs."""

from __future__ import annotations

import redis

from engine import notices, operations, upkeep
from engine.endings import FORGOTTEN_RUN
from engine.ledger import PREFIX
from engine.models import JOB_STATES
from engine.records import unpack_receipt
from tests.engine.books import NOON_MS, PART, SESSION, Books, job_id, tid

# -- read, parts, page ------------------------------------------------------------------------------------------------


def test_reading_many_jobs_keeps_their_places(books: Books) -> None:
    books.accept(1)
    books.accept(3)

    found = books.run(operations.read_jobs([job_id(3), job_id(2), job_id(1)]))

    assert [one.spec.id if one else None for one in found] == [job_id(3), None, job_id(1)]
    assert books.run(operations.read_jobs([])) == []


def test_a_job_says_what_hangs_on_its_transfers(books: Books) -> None:
    books.accept(parts=5, window=3)
    books.begin()
    books.send()
    books.fail(books.lease(), "retry", seconds=4)
    books.lease()

    one = books.one()

    assert (one.recorded, one.leased, one.failing, one.next_due_ms) == (1, [3], 1, NOON_MS + 4000)
    assert one.failure is not None
    assert one.failure["code"] == "unavailable"


def test_a_revision_grows_with_every_change_that_shows(books: Books) -> None:
    seen = []

    def look() -> None:
        record = books.read()
        assert record is not None
        seen.append(record.revision)

    books.accept(parts=1)
    look()
    held = books.lease()
    look()
    books.fail(held, "retry")
    look()
    books.settle(books.lease())
    look()
    assert seen == sorted(set(seen))


def test_parts_say_everything_about_each(books: Books) -> None:
    books.accept(parts=5, window=3)
    books.begin()
    books.send()
    books.fail(books.lease(), "retry", seconds=4)
    books.lease()

    found = books.parts()

    assert found["transfer"]["state"] == "uploading"
    assert {name: unpack_receipt(packed)[0] for name, packed in found["receipts"].items()} == {"1": "e1"}
    assert found["leases"] == {"3": str(NOON_MS + 30_000)}
    assert found["due"] == {"2": str(NOON_MS + 4000)}
    assert found["tries"] == {"2": "1", "3": "1"}
    assert set(found["errors"]) == {"2"}


def test_parts_of_nobody_are_empty(books: Books) -> None:
    assert not any(books.parts(tid(9)).values())


def test_pages_go_from_the_newest_to_the_oldest(books: Books) -> None:
    for number in (2, 4, 1, 3):
        books.accept(number)

    first = books.run(operations.page("jobs", "", 3))
    rest = books.run(operations.page("jobs", first[-1], 3))

    assert first == [job_id(4), job_id(3), job_id(2)]
    assert rest == [job_id(1)]
    assert books.run(operations.page("jobs", rest[-1], 3)) == []


def test_a_page_goes_on_behind_a_job_that_is_gone(books: Books) -> None:
    for number in (1, 2, 3):
        books.accept(number, parts=1)
    books.finish(tid(2))
    books.run(operations.forget(job_id(2)))

    assert books.run(operations.page("jobs", job_id(2), 9)) == [job_id(1)]


def test_owners_have_pages_of_their_own(books: Books) -> None:
    books.accept(1, owner="anna")
    books.accept(2, owner="ben")

    assert books.run(operations.page("owner:anna", "", 9)) == [job_id(1)]
    assert books.run(operations.page("owner:nobody", "", 9)) == []


# -- stats ------------------------------------------------------------------------------------------------------------


def test_stats_of_nothing(books: Books) -> None:
    assert books.run(notices.stats()) == {
        "jobs": dict.fromkeys(JOB_STATES, 0), "totals": {}, "active": 0, "workers": [], "now_ms": NOON_MS,
    }  # fmt: skip


def test_stats_count_jobs_bytes_and_transfers(books: Books) -> None:
    books.accept(1, parts=1)
    books.finish(tid(1))
    books.accept(2, parts=4, window=1, to=["media", "archive"])
    books.begin(tid(2))
    books.send(tid(2), 2)

    found = books.run(notices.stats())

    assert {state: count for state, count in found["jobs"].items() if count} == {"running": 1, "succeeded": 1}
    assert found["totals"] == {"received": 5 * PART, "sent": 3 * PART, "ended:succeeded": 1}
    assert found["active"] == 2


# -- states, dump, restore --------------------------------------------------------------------------------------------


def test_states_and_runs_for_reconciliation(books: Books) -> None:
    books.accept(1, run=2)

    assert books.run(operations.states([job_id(1), job_id(2)])) == {job_id(1): ("queued", 2), job_id(2): ("", 0)}
    assert books.run(operations.states([])) == {}


def end_of(books: Books, number: int = 1) -> tuple[dict[str, str], list[dict[str, str]]]:
    (found,) = books.run(upkeep.dump([job_id(number)]))
    assert found is not None
    return found


def test_a_dump_has_the_hashes_as_they_are(books: Books) -> None:
    books.accept(parts=1, to=["media", "archive"])
    books.finish(tid(1, 0))
    books.lose(tid(1, 1))

    job, transfers = end_of(books)

    assert job == books.job()
    assert transfers == [books.transfer(tid(1, 0)), books.transfer(tid(1, 1))]
    assert books.run(upkeep.dump([job_id(2)])) == [None]


def test_an_end_that_redis_lost_is_put_back(books: Books) -> None:
    books.accept(parts=1)
    books.finish()
    job, transfers = end_of(books)
    before = books.read()
    books.server.wipe()

    assert books.run(upkeep.restore(job_id(), job, transfers))

    after = books.read()
    assert before is not None
    assert after is not None
    assert after.transfers == before.transfers
    assert after.state == "succeeded"
    assert books.run(operations.page("jobs:succeeded", "", 9)) == [job_id()]
    assert books.run(operations.page("owner:bootstrap", "", 9)) == [job_id()]
    assert not books.run(upkeep.restore(job_id(), job, transfers)), "now the ledger knows"


def test_an_end_rules_over_an_older_state(books: Books) -> None:
    books.accept(parts=3)
    books.begin()
    older = books.server.save()
    books.finish()
    job, transfers = end_of(books)
    books.server.load(older)
    assert books.state() == "running"

    assert books.run(upkeep.restore(job_id(), job, transfers))

    assert books.state() == "succeeded"
    assert books.ask() == "over"
    assert books.run(operations.page("jobs:running", "", 9)) == []
    assert books.sweep().tokens == []


def test_an_end_of_an_earlier_run_does_not_rule(books: Books) -> None:
    books.accept(parts=1)
    books.lose()
    job, transfers = end_of(books)
    books.command("retry")

    assert not books.run(upkeep.restore(job_id(), job, transfers))
    assert books.state() == "queued"


def test_a_restored_failure_can_still_be_retried(books: Books) -> None:
    books.accept(parts=1)
    books.lose()
    job, transfers = end_of(books)
    books.server.wipe()
    books.run(upkeep.restore(job_id(), job, transfers))

    assert books.command("retry")[0] == "done"
    assert books.finish().final == "succeeded"


def test_a_restored_end_frees_its_key(books: Books) -> None:
    books.accept(1, key="same", parts=1)
    older = books.server.save()
    books.finish(tid(1))
    job, transfers = end_of(books)
    books.server.load(older)
    books.accept(2, key="same", parts=1)

    books.run(upkeep.restore(job_id(1), job, transfers))

    assert books.lease(tid(2)).step == "whole"


def test_a_restored_end_expires_like_any_other(books: Books) -> None:
    books.accept(parts=1, retain_seconds=100)
    books.finish()
    job, transfers = end_of(books)
    books.server.wipe()
    books.run(upkeep.restore(job_id(), job, transfers))
    books.later(101)

    assert books.sweep().forgotten == 1


def test_a_deletion_rules_over_every_run() -> None:
    assert FORGOTTEN_RUN > 10**9


# -- epoch, suspect ---------------------------------------------------------------------------------------------------


def test_epochs_only_grow(books: Books) -> None:
    assert books.run(upkeep.mark_reconciled()) == 1
    assert books.run(upkeep.mark_reconciled()) == 2
    assert books.run(upkeep.mark_reconciled(40)) == 41
    assert books.run(upkeep.mark_reconciled(7)) == 42


def test_after_a_rollback_every_transfer_under_way_is_suspect(books: Books) -> None:
    """It may have opened a session that the ledger does not know."""
    books.accept(1)
    books.accept(2)
    books.begin(tid(2))
    books.accept(3, parts=1)
    books.finish(tid(3))

    assert books.run(upkeep.suspect_sessions()) == 2

    held = books.lease(tid(1))
    assert held.lost_begin
    assert books.lease(tid(2)).session == SESSION


def test_a_suspect_transfer_that_waits_is_not_cancelled_unseen(books: Books) -> None:
    books.accept(1)
    books.run(upkeep.suspect_sessions())

    assert books.command("cancel")[1] == "cancelling"
    assert books.lease().step == "end"


def test_a_begin_that_was_suspect_is_clean_after_its_end(books: Books) -> None:
    books.accept(1)
    books.run(upkeep.suspect_sessions())
    books.fail(books.lease(), "restart")
    books.ended(books.lease())

    assert not books.lease().lost_begin


# -- checks of destinations -------------------------------------------------------------------------------------------


def test_a_check_is_noted_for_who_asked_and_as_health(books: Books, client: redis.Redis) -> None:
    assert books.run(notices.noted_checks("r1")) == (None, {})

    books.run(notices.note_check("r1", "media", {"ok": True}))

    assert books.run(notices.noted_checks("r1")) == ({"ok": True}, {"media": {"ok": True}})
    assert books.run(notices.noted_checks("r2")) == (None, {"media": {"ok": True}})
    assert 0 < client.ttl(f"{PREFIX}check:r1") <= 600
