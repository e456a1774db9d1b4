"""What steps report: sessions, receipts, ends; each counts once, and only from who holds the lease."""

from __future__ import annotations

import msgspec
import pytest
import redis

from engine import leases, notices, operations
from engine.ledger import PREFIX
from engine.models import TransferPlan
from engine.records import Onward, unpack_receipt
from tests.engine.books import NOON_MS, PART, SESSION, Books, job_id, plan_of, spec_of, tid

REFUSED = Onward(False, "", 0, 0)


def kinds(client: redis.Redis, number: int = 1) -> list[str]:
    return [fields[b"k"].decode() for _, fields in client.xrange(f"{PREFIX}job:{job_id(number)}:events")]


# -- begun ------------------------------------------------------------------------------------------------------------


def test_an_open_session_brings_as_many_tokens_as_the_window_has_room(books: Books) -> None:
    books.accept(parts=10, window=4)

    onward = books.begun(books.lease())

    assert (onward.fresh, onward.lane, onward.mint, onward.extra) == (True, "parts", 1, 3)
    assert books.tokens() == 4
    assert books.transfer()["state"] == "uploading"
    assert books.lease().session == SESSION


def test_no_more_tokens_than_parts(books: Books) -> None:
    books.accept(parts=2, window=8)

    assert books.begun(books.lease()).extra == 1


def test_a_chosen_key_comes_with_the_session(books: Books) -> None:
    books.accept()

    books.begun(books.lease(), key="key-1-1", url="memory://media/key-1-1")

    held = books.lease()
    assert (held.key, held.url) == ("key-1-1", "memory://media/key-1-1")


def test_a_session_of_somebody_who_was_rescued_is_refused(books: Books) -> None:
    books.accept()
    lost = books.lease()
    books.later(31)
    books.begun(books.lease())

    assert books.run(leases.begun(lost, {"id": "another"})) == REFUSED
    assert msgspec.json.decode(books.transfer()["session"]) == SESSION


def test_begin_s_failures_are_forgotten_when_it_succeeds(books: Books) -> None:
    books.accept()
    books.fail(books.lease(), "retry")
    books.begin()

    found = books.parts()
    assert (found["tries"], found["errors"]) == ({}, {})


# -- choose -----------------------------------------------------------------------------------------------------------


def test_a_chosen_key_outlives_who_chose_it(books: Books) -> None:
    books.accept(parts=1)
    held = books.lease()
    assert books.run(leases.choose(held, "key-1-1", "memory://media/key-1-1"))
    books.later(31)

    again = books.lease()

    assert (again.key, again.url) == ("key-1-1", "memory://media/key-1-1")
    assert not books.run(leases.choose(held, "key-1-2", "x")), "only who holds the lease may choose"


def test_a_chosen_key_claims_what_was_asked_for(books: Books) -> None:
    """Two jobs that rename must not choose at the same time."""
    books.accept(1, key="same")
    books.accept(2, key="same")
    books.run(leases.choose(books.lease(tid(1)), "same-1", "x"))

    assert books.ask(tid(2)) == "idle"


# -- redefine ---------------------------------------------------------------------------------------------------------


def anew(**changes: object) -> TransferPlan:
    """The plan of job 1 on another definition of its destination: two parts, at another key."""
    return msgspec.structs.replace(plan_of(parts=2, key="new/key-1"), fingerprint="g", **changes)


def test_a_destination_that_is_defined_anew_gets_the_transfer_again(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.send()
    held = books.lease()

    onward = books.run(leases.redefine(held, anew()))

    assert (onward.fresh, onward.lane) == (True, "small")
    assert books.one().recorded == 0
    orphan = msgspec.json.decode(books.server.fields("orphans")[tid()])
    assert (orphan["key"], "session-1" in orphan["session"]) == ("key-1", True), "the old session is on record"
    again = books.lease()
    assert (again.step, again.key, again.total, again.fingerprint, again.session) == (
        "begin", "new/key-1", 2, "g", None,
    )  # fmt: skip
    books.begun(again)
    assert books.finish().final == "succeeded"


def test_whoever_else_worked_on_the_old_definition_is_refused(books: Books) -> None:
    books.accept(parts=3, window=2)
    books.begin()
    first, second = books.lease(), books.lease()
    books.run(leases.redefine(first, anew()))

    assert not books.record(second).fresh
    assert not books.run(leases.redefine(second, anew())).fresh, "once is enough"
    assert books.lease().step == "begin"


def test_a_redefined_transfer_waits_for_its_new_key(books: Books) -> None:
    books.accept(2, key="new/key-1")
    books.begin(tid(2))
    books.accept(1)
    books.later(-3600)

    books.run(leases.redefine(books.lease(tid(1)), anew()))

    assert books.ask(tid(1)) == "idle"
    assert books.lease(tid(2)).step == "part"


def test_a_transfer_that_ends_is_not_begun_again_elsewhere(books: Books) -> None:
    books.accept(parts=3, window=2)
    books.begin()
    held = books.lease()
    books.command("cancel")

    assert not books.run(leases.redefine(held, anew())).fresh


# -- lanes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "begins", "sends", "completes"),
    [("high", "small", "high", "small"), ("normal", "small", "parts", "small"), ("low", "low", "low", "low")],
)
def test_a_job_s_priority_is_the_lane_of_its_tokens(
    books: Books, priority: str, begins: str, sends: str, completes: str
) -> None:
    plan = msgspec.structs.replace(plan_of(parts=2, window=1), priority=priority)
    books.run(
        operations.accept(
            spec_of(priority=priority), [plan], size=2 * PART, crc32c="", sha256="", keep_seconds=60, lease_seconds=30
        )
    )
    books.later(2)

    lanes = [books.sweep().tokens[0].lane, books.begun(books.lease(mint=2)).lane]
    lanes += [books.record(books.lease(mint=2)).lane for _ in range(2)]

    assert lanes == [begins, sends, sends, completes]


# -- record -----------------------------------------------------------------------------------------------------------


def test_a_receipt_is_the_record_that_a_part_is_stored(books: Books) -> None:
    books.accept()
    books.begin()
    held = books.lease()

    books.record(held, etag="abc")

    receipts = books.run(leases.receipts(tid()))
    assert {number: unpack_receipt(packed) for number, packed in receipts.items()} == {1: ("abc1", "", 1, 1)}
    assert books.transfer()["sent"] == str(PART)
    assert books.run(notices.stats())["totals"]["sent"] == PART


def test_a_report_that_arrives_twice_counts_once(books: Books) -> None:
    books.accept()
    books.begin()
    held = books.lease()

    assert books.record(held).fresh
    assert not books.record(held).fresh
    assert books.transfer()["sent"] == str(PART)


def test_bytes_of_a_part_that_was_stored_twice_count_once(books: Books) -> None:
    """Rescued, recorded by the rescuer, leased again after a rollback of that record's memory: the set decides."""
    books.accept(parts=3, window=1)
    books.begin()
    books.send()
    # A part that is due although it is recorded: nobody makes it so, but a set must not care.
    client = books.server.client  # type: ignore[attr-defined]
    client.zadd(f"{PREFIX}t:{tid()}:due", {"1": 0})

    again = books.lease()
    assert again.number == 1
    books.record(again)

    assert books.transfer()["sent"] == str(PART)
    assert books.one().recorded == 1


def test_the_set_of_receipts_decides_not_their_order(books: Books) -> None:
    books.accept(parts=3, window=3)
    books.begin()
    held = [books.lease() for _ in range(3)]

    states = []
    for one in (held[2], held[0], held[1]):
        books.record(one)
        states.append(books.transfer()["state"])

    assert states == ["uploading", "uploading", "completing"]


def test_exactly_one_report_flips_to_completing(books: Books, client: redis.Redis) -> None:
    books.accept(parts=2, window=2)
    books.begin()
    first, second = books.lease(), books.lease()
    before = len(kinds(client))

    lanes = [books.record(one).lane for one in (first, second, second, first)]

    assert lanes == ["", "small", "", ""], "one token goes on, to complete"
    assert kinds(client)[before:].count("transfer") == 1


def test_what_its_provider_did_not_prove_is_counted(books: Books) -> None:
    books.accept(parts=2, window=2)
    books.begin()
    books.record(books.lease(), proved=False)
    books.record(books.lease(), proved=True)

    assert books.lease().unproved == 1


def test_a_recorded_part_keeps_no_history(books: Books) -> None:
    books.accept()
    books.begin()
    books.fail(books.lease(), "retry")
    books.send()

    found = books.parts()
    assert (found["tries"], found["errors"], found["due"], found["leases"]) == ({}, {}, {}, {})


def test_a_part_that_lands_while_the_job_is_cancelled_completes_nothing(books: Books) -> None:
    books.accept(parts=1 + 1, window=2)
    books.begin()
    first, second = books.lease(), books.lease()
    books.command("cancel")

    books.record(first)
    onward = books.record(second)

    assert books.transfer()["state"] == "uploading"
    assert onward.lane == "small", "the last one out sees to the end"
    assert books.lease().step == "end"


# -- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_told_at_once_when_it_is_alone(books: Books, client: redis.Redis) -> None:
    books.accept(parts=5, window=1)
    books.begin()
    held = books.lease()
    books.later(1)

    assert not books.record(held).owed
    assert kinds(client)[-1] == "progress"


def test_progress_in_quick_succession_is_owed_and_told_by_flush(books: Books, client: redis.Redis) -> None:
    books.accept(parts=5, window=1)
    books.begin()
    before = len(kinds(client))

    assert books.record(books.lease()).owed
    assert books.record(books.lease()).owed
    assert len(kinds(client)) == before

    assert books.run(leases.flush([job_id()])) == 1
    (_, fields), *_ = client.xrevrange(f"{PREFIX}job:{job_id()}:events", count=1)
    told = msgspec.json.decode(fields[b"d"])
    assert (fields[b"k"], told["sent"], told["transfers"][0]["parts"]["sent"]) == (b"progress", 2 * PART, 2)
    assert books.run(leases.flush([job_id()])) == 0, "it is told once"


def test_owed_progress_of_who_died_is_told_by_the_sweeper(books: Books, client: redis.Redis) -> None:
    books.accept(parts=5, window=1)
    books.begin()
    assert books.record(books.lease()).owed
    books.later(5)
    before = len(kinds(client))

    books.sweep()

    assert kinds(client)[before:] == ["progress"]


def test_the_end_leaves_nothing_owed(books: Books, client: redis.Redis) -> None:
    books.accept(parts=2, window=1)
    books.finish()

    assert books.run(leases.flush([job_id()])) == 0
    assert kinds(client)[-1] == "end"


# -- settle -----------------------------------------------------------------------------------------------------------


def test_a_settled_transfer_ends_the_job(books: Books) -> None:
    books.accept(parts=1)
    held = books.lease()
    books.later(2)

    onward = books.settle(held, etag="abc", version="7", verified_by="read_back")

    assert (onward.fresh, onward.final) == (True, "succeeded")
    fields = books.transfer()
    assert (fields["state"], fields["etag"], fields["version"], fields["verified_by"], fields["sent"]) == (
        "succeeded", "abc", "7", "read_back", str(PART),
    )  # fmt: skip
    job = books.job()
    assert (job["state"], job["finished"], job["satisfied"], job["error"]) == (
        "succeeded", str(NOON_MS + 2000), str(NOON_MS + 2000), "",
    )  # fmt: skip


def test_settling_twice_is_refused(books: Books) -> None:
    books.accept(parts=1)
    held = books.lease()
    books.settle(held)

    again = books.settle(held, etag="other")

    assert (again.fresh, again.final) == (False, "")
    assert books.transfer()["etag"] == "e"


def test_the_job_ends_with_its_last_transfer(books: Books) -> None:
    books.accept(parts=1, to=["media", "archive"])

    assert books.finish(tid(1, 0)).final == ""
    assert books.state() == "running"
    assert books.finish(tid(1, 1)).final == "succeeded"


def test_a_checksum_that_was_unknown_at_submit_is_kept(books: Books) -> None:
    books.accept(parts=1)
    client = books.server.client  # type: ignore[attr-defined]
    client.hset(f"{PREFIX}job:{job_id()}", "crc32c", "")

    books.settle(books.lease(), crc32c="yZRlqg==")

    assert books.job()["crc32c"] == "yZRlqg=="


def test_a_checksum_that_is_known_stays(books: Books) -> None:
    books.accept(parts=1)
    books.settle(books.lease(), crc32c="yZRlqg==")

    assert books.job()["crc32c"] == "AAAAAA=="


def test_a_small_file_may_be_settled_under_another_key(books: Books) -> None:
    books.accept(parts=1)
    books.settle(books.lease(), key="key-1-1", url="memory://media/key-1-1")

    assert books.transfer()["key"] == "key-1-1"


def test_the_end_of_a_transfer_leaves_none_of_its_work(books: Books, client: redis.Redis) -> None:
    books.accept(parts=3)
    books.finish()

    keys = {key.decode().removeprefix(f"{PREFIX}t:{tid()}") for key in client.keys(f"{PREFIX}t:*")}
    assert keys == {""}, "only the hash stays"
    assert client.zcard(f"{PREFIX}active") == 0
    assert client.keys(f"{PREFIX}claim:*") == []


# -- the verdict on the job -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("ok", "ok"), "succeeded"),
        (("ok", "fail"), "partially_succeeded"),
        (("fail", "ok"), "partially_succeeded"),
        (("fail", "fail"), "failed"),
    ],
)
def test_a_job_s_end_is_the_sum_of_its_transfers(books: Books, ends: tuple[str, str], state: str) -> None:
    books.accept(parts=1, to=["media", "archive"])

    for index, end in enumerate(ends):
        transfer = tid(1, index)
        if end == "ok":
            books.finish(transfer)
        else:
            books.lose(transfer)

    assert books.state() == state
    assert bool(books.job()["error"]) == ("fail" in ends)
    assert (books.job()["until"] != "0") == ("fail" in ends), "what can be retried keeps its file"


def test_a_failing_transfer_does_not_stop_the_others(books: Books) -> None:
    books.accept(parts=1, to=["media", "archive"])
    books.lose(tid(1, 0))

    assert books.state() == "running"
    assert books.lease(tid(1, 1)).step == "whole"


def test_a_job_s_bytes_are_those_of_its_slowest_transfer_that_lives(books: Books, client: redis.Redis) -> None:
    books.accept(parts=4, window=4, to=["media", "archive"])
    books.begin(tid(1, 0))
    books.begin(tid(1, 1))
    books.send(tid(1, 0), 3)
    books.send(tid(1, 1), 1)
    books.run(leases.flush([job_id()]))

    def told() -> int:
        (_, fields), *_ = client.xrevrange(f"{PREFIX}job:{job_id()}:events", count=1)
        return int(msgspec.json.decode(fields[b"d"])["sent"])

    assert told() == PART
    books.lose(tid(1, 1))
    assert told() == 3 * PART, "a failed one holds nobody back"


# -- ended ------------------------------------------------------------------------------------------------------------


def test_a_cancelled_transfer_is_over_when_its_session_is_gone(books: Books) -> None:
    books.accept()
    books.begin()
    books.command("cancel")
    assert books.state() == "cancelling"

    assert books.ended(books.lease()).final == "cancelled"
    assert books.transfer()["state"] == "cancelled"


def test_completion_that_had_won_counts(books: Books) -> None:
    """The end step found the object complete: what is there is there."""
    books.accept()
    books.begin()
    books.send(parts=3)
    books.command("cancel")

    assert books.settle(books.lease()).final == "succeeded"


def test_an_end_by_somebody_who_was_rescued_is_refused(books: Books) -> None:
    books.accept()
    books.begin()
    books.command("cancel")
    lost = books.lease()
    books.later(31)
    taken = books.lease()

    assert not books.ended(lost).fresh
    assert books.ended(taken).final == "cancelled"
    assert not books.ended(taken).fresh


def test_a_restart_begins_again_from_the_spool(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.send()
    books.fail(books.lease(), "restart")
    held = books.lease()
    assert (held.step, held.ending) == ("end", "restart")

    onward = books.ended(held)

    assert (onward.fresh, onward.final, onward.lane) == (True, "", "small")
    fields = books.transfer()
    assert (fields["state"], fields["session"], fields["sent"], fields["floor"]) == ("pending", "", "0", str(PART))
    assert books.lease().step == "begin"


def test_what_was_shown_as_sent_is_never_taken_back_by_a_restart(books: Books) -> None:
    books.accept(parts=3, window=1)
    books.begin()
    books.send(parts=2)
    books.fail(books.lease(), "restart")
    books.ended(books.lease())
    books.begin()
    books.send()
    books.run(leases.flush([job_id()]))

    client = books.server.client  # type: ignore[attr-defined]
    sent = [msgspec.json.decode(fields[b"d"])["sent"] for _, fields in client.xrange(f"{PREFIX}job:{job_id()}:events")]
    assert sent == sorted(sent)
    assert sent[-1] == 2 * PART
