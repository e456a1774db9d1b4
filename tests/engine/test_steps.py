"""Each step over a store that fails in every way: what it calls, in which order, and what it makes of the answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from backends.base import ObjectInfo
from backends.checksums import crc32c, crc32c_text
from backends.errors import AccessDenied, BackendError, IntegrityError, ObjectExists, SessionLost, TimedOut, Unavailable
from engine.conflicts import RENAMES, numbered
from engine.errors import SourceCorrupt
from engine.records import unpack_receipt
from engine.steps import step_of
from engine.strays import CLOCK_SKEW_MS
from engine.work import JOB_MARK, Begun, Ended, Recorded, Settled, Step
from tests.engine.books import NOON_MS, PART, job_id
from tests.engine.shelf import (
    ALL,
    DATA,
    EVERYTHING,
    Bytes,
    Lost,
    Shelf,
    drive,
    lease_of,
    receipts_of,
    sent,
    work_of,
)

KEY = "a/b.tar"
SUM = crc32c_text(crc32c(DATA))
OTHER = bytes(reversed(DATA))


def run(shelf: Shelf, held: object, **options: object) -> object:
    return drive(step_of(work_of(held, **options)), shelf)  # type: ignore[arg-type]


def settled(found: object) -> Settled:
    assert isinstance(found, Settled)
    return found


# -- begin ------------------------------------------------------------------------------------------------------------


def test_begin_opens_a_session_that_carries_our_name() -> None:
    shelf = Shelf()

    found = run(shelf, lease_of("begin", metadata={"album": "summer"}))

    assert found == Begun({"id": "session-1"})
    assert shelf.calls == ["begin"], "replacing needs no look"
    assert shelf.sessions["session-1"]["metadata"] == {"album": "summer", JOB_MARK: job_id()}


def test_a_lost_begin_that_turns_out_complete_is_settled() -> None:
    shelf = Shelf()
    shelf.put(KEY, job=job_id())

    found = settled(run(shelf, lease_of("begin", lost_begin=True)))

    assert found.verified_by == "checksum"
    assert shelf.calls == ["stat", "list_sessions"], "and no session of ours stays open"


@pytest.mark.parametrize(("data", "owner"), [(DATA, "another"), (b"short", job_id()), (DATA, None)])
def test_a_lost_begin_takes_nobody_else_s_object_for_its_own(data: bytes, owner: str | None) -> None:
    shelf = Shelf()
    shelf.put(KEY, data, owner)

    assert isinstance(run(shelf, lease_of("begin", lost_begin=True)), Begun)


# -- on_conflict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["begin", "whole"])
def test_fail_refuses_an_object_that_is_there(step: str) -> None:
    shelf = Shelf()
    shelf.put(KEY)

    with pytest.raises(ObjectExists):
        run(shelf, lease_of(step, on_conflict="fail"))
    assert shelf.calls == ["stat"], "nothing was begun"


@pytest.mark.parametrize("wanted", ["fail", "rename"])
def test_what_must_not_overwrite_is_created_only(wanted: str) -> None:
    shelf = Shelf()

    run(shelf, lease_of("begin", on_conflict=wanted))

    assert shelf.sessions["session-1"]["create_only"]


@pytest.mark.parametrize("wanted", ["replace", "skip_same"])
def test_what_may_overwrite_is_not(wanted: str) -> None:
    shelf = Shelf()

    run(shelf, lease_of("begin", on_conflict=wanted))

    assert not shelf.sessions["session-1"]["create_only"]


def test_a_renamed_file_that_arrived_changed_takes_nobody_with_it() -> None:
    shelf = Shelf()
    shelf.put(KEY, OTHER, "another job")
    source = Bytes(DATA)
    source.body = lambda offset, size: Bytes(OTHER).body(offset, size)  # type: ignore[method-assign]

    with pytest.raises(IntegrityError):
        run(shelf, lease_of("whole", on_conflict="rename"), source=source)
    assert list(shelf.objects) == [KEY], "what had the wanted name is somebody else's"


@pytest.mark.parametrize("wanted", ["fail", "rename"])
def test_our_own_object_is_no_conflict(wanted: str) -> None:
    """An earlier run of this job made it."""
    shelf = Shelf()
    shelf.put(KEY, b"old", job_id())

    assert run(shelf, lease_of("begin", on_conflict=wanted)) == Begun({"id": "session-1"})


def test_rename_takes_the_first_free_number() -> None:
    shelf = Shelf()
    for key in (KEY, "a/b-1.tar", "a/b-2.tar"):
        shelf.put(key)

    found = run(shelf, lease_of("begin", on_conflict="rename"))

    assert found == Begun({"id": "session-1"}, "a/b-3.tar", "memory://media/a/b-3.tar")
    assert shelf.chosen == ("a/b-3.tar", "memory://media/a/b-3.tar")
    assert shelf.calls[-2:] == ["choose", "begin"], "the choice is on record before anything is made there"


def test_a_small_file_is_renamed_too() -> None:
    shelf = Shelf()
    shelf.put(KEY, OTHER)

    found = settled(run(shelf, lease_of("whole", on_conflict="rename")))

    assert (found.key, found.url) == ("a/b-1.tar", "memory://media/a/b-1.tar")
    assert shelf.objects["a/b-1.tar"][0] == DATA
    assert shelf.objects[KEY][0] == OTHER


def test_names_run_out_in_the_end() -> None:
    shelf = Shelf()
    for key in (KEY, *(numbered(KEY, count) for count in range(1, RENAMES))):
        shelf.put(key)

    with pytest.raises(ObjectExists):
        run(shelf, lease_of("begin", on_conflict="rename"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("b.tar", "b-1.tar"),
        ("a/b.tar.gz", "a/b.tar-1.gz"),
        ("a.d/b", "a.d/b-1"),
        (".profile", ".profile-1"),
        ("a/..x", "a/..x-1"),
        ("ф.jpg", "ф-1.jpg"),
    ],
)
def test_the_number_goes_before_the_suffix(key: str, expected: str) -> None:
    assert numbered(key, 1) == expected


@pytest.mark.parametrize("step", ["begin", "whole"])
def test_skip_same_sends_nothing_when_the_bytes_are_there(step: str) -> None:
    shelf = Shelf()
    shelf.put(KEY)

    found = settled(run(shelf, lease_of(step, on_conflict="skip_same")))

    assert (found.verified_by, found.checksum) == ("skip_same", SUM)
    assert shelf.calls == ["stat"]


def test_skip_same_reads_back_where_no_checksum_is_told() -> None:
    shelf = Shelf(tells=False)
    shelf.put(KEY)

    assert settled(run(shelf, lease_of("begin", on_conflict="skip_same"))).verified_by == "skip_same"
    assert shelf.calls == ["stat", "read_back"]


@pytest.mark.parametrize("data", [OTHER, b"short"])
@pytest.mark.parametrize("tells", [True, False])
def test_skip_same_sends_when_the_bytes_are_others(data: bytes, tells: bool) -> None:
    shelf = Shelf(tells=tells)
    shelf.put(KEY, data)

    assert isinstance(run(shelf, lease_of("begin", on_conflict="skip_same")), Begun)


def test_skip_same_sends_where_nothing_can_be_compared() -> None:
    shelf = Shelf(tells=False)
    shelf.put(KEY)

    found = run(shelf, lease_of("begin", on_conflict="skip_same"), abilities=EVERYTHING - {"ReadsRanges"})

    assert isinstance(found, Begun)


# -- part -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "size"), [(1, PART), (2, PART), (3, len(DATA) - 2 * PART)])
def test_a_part_is_its_range_of_the_source(number: int, size: int) -> None:
    shelf = Shelf()
    session = {"id": shelf.open_session(KEY)}

    found = run(shelf, lease_of("part", number, session=session, attempt=4))

    data = DATA[(number - 1) * PART :][:size]
    assert isinstance(found, Recorded)
    assert (found.size, found.proved) == (size, True)
    assert unpack_receipt(found.packed) == (f"etag-{number}", "", crc32c(data), 4)
    assert shelf.sessions["session-1"]["parts"] == {number: data}


def test_a_part_whose_checksum_nobody_confirms_is_not_proved() -> None:
    shelf = Shelf(proves_parts=False)
    session = {"id": shelf.open_session(KEY)}

    found = run(shelf, lease_of("part", 1, session=session))

    assert isinstance(found, Recorded)
    assert not found.proved


def cut(shelf: Shelf, by: int) -> None:
    keep = shelf.put_part
    shelf.put_part = lambda session, number, body: keep(session, number, Bytes(DATA).body(0, body.size - by))  # type: ignore[method-assign]


def test_a_part_that_arrived_short_is_refused() -> None:
    shelf = Shelf(proves_parts=False)
    cut(shelf, 1)

    with pytest.raises(IntegrityError, match="15 bytes"):
        run(shelf, lease_of("part", 2, session={"id": shelf.open_session(KEY)}))


def test_a_part_that_arrived_changed_is_refused() -> None:
    shelf = Shelf()
    cut(shelf, 0)  # the bytes of the first part, whichever is sent

    with pytest.raises(IntegrityError, match="CRC32C"):
        run(shelf, lease_of("part", 2, session={"id": shelf.open_session(KEY)}))


def test_a_refused_part_of_a_source_that_changed_is_the_source_s_fault() -> None:
    shelf = Shelf()
    shelf.faults["put_part"] = [IntegrityError("The bytes do not match.")]
    source = Bytes(sound=False)

    with pytest.raises(SourceCorrupt, match="16 to 31"):
        run(shelf, lease_of("part", 2, session={"id": shelf.open_session(KEY)}), source=source)
    assert source.asked == [(PART, PART)]


def test_other_errors_do_not_suspect_the_source() -> None:
    shelf = Shelf()
    shelf.faults["put_part"] = [Unavailable("Away.")]
    source = Bytes(sound=False)

    with pytest.raises(Unavailable):
        run(shelf, lease_of("part", 1, session={"id": shelf.open_session(KEY)}), source=source)
    assert source.asked == []


# -- complete ---------------------------------------------------------------------------------------------------------


def completing(shelf: Shelf, **changes: object) -> object:
    held = lease_of("complete", session=sent(shelf), **changes)
    return run(shelf, held, receipts=receipts_of())


def test_complete_joins_the_parts_and_verifies_the_whole() -> None:
    shelf = Shelf()

    found = settled(completing(shelf))

    assert shelf.objects[KEY] == (DATA, {JOB_MARK: job_id()})
    assert (found.checksum, found.verified_by, found.info.etag) == (SUM, "checksum", f"etag of {KEY}")
    assert shelf.calls == ["complete"]


UNCLEAR = [TimedOut("No answer."), Unavailable("502"), SessionLost("No such upload.")]


@pytest.mark.parametrize("error", UNCLEAR, ids=lambda error: error.code)
def test_an_answer_that_was_lost_is_resolved_by_looking(error: BackendError) -> None:
    shelf = Shelf()
    shelf.faults["complete"] = [Lost(error)]

    assert settled(completing(shelf)).verified_by == "checksum"
    assert shelf.calls == ["complete", "stat"]


@pytest.mark.parametrize("error", UNCLEAR, ids=lambda error: error.code)
def test_an_error_with_nothing_there_stays_that_error(error: BackendError) -> None:
    shelf = Shelf()
    shelf.faults["complete"] = [error]

    with pytest.raises(type(error)):
        completing(shelf)


@pytest.mark.parametrize("error", UNCLEAR, ids=lambda error: error.code)
def test_an_error_with_somebody_else_s_object_stays_that_error(error: BackendError) -> None:
    shelf = Shelf()
    shelf.put(KEY, DATA, "another job")
    shelf.faults["complete"] = [error]

    with pytest.raises(type(error)):
        completing(shelf)


def test_a_look_that_fails_too_tells_the_first_error() -> None:
    shelf = Shelf()
    shelf.faults["complete"] = [Lost(TimedOut("No answer."))]
    shelf.faults["stat"] = [AccessDenied("No.")]

    with pytest.raises(TimedOut):
        completing(shelf)


def test_a_lost_session_begins_again_only_after_a_look() -> None:
    """It may have been completed: beginning again without having looked would send everything twice."""
    shelf = Shelf()
    shelf.faults["complete"] = [Lost(SessionLost("No such upload."))]
    shelf.faults["stat"] = [Unavailable("Away.")]

    with pytest.raises(Unavailable):
        completing(shelf)


def test_a_clear_refusal_is_not_looked_into() -> None:
    shelf = Shelf()
    shelf.faults["complete"] = [AccessDenied("No.")]

    with pytest.raises(AccessDenied):
        completing(shelf)
    assert shelf.calls == ["complete"]


def test_a_second_attempt_looks_before_it_completes() -> None:
    """The first one may have died between the provider's answer and the ledger."""
    shelf = Shelf()
    shelf.put(KEY, job=job_id())

    found = settled(run(shelf, lease_of("complete", session={"id": "gone"}, attempt=2), receipts=receipts_of()))

    assert found.verified_by == "checksum"
    assert shelf.calls == ["stat", "abort"]


def test_a_taken_key_that_is_ours_is_a_success() -> None:
    shelf = Shelf()
    session = sent(shelf)
    shelf.sessions[session["id"]]["create_only"] = True
    shelf.put(KEY, job=job_id())

    held = lease_of("complete", session=session, on_conflict="fail")
    assert isinstance(run(shelf, held, receipts=receipts_of()), Settled)


def test_a_taken_key_fails_who_must_not_overwrite() -> None:
    shelf = Shelf()
    shelf.faults["complete"] = [ObjectExists("Taken.")]
    shelf.put(KEY, DATA, "another job")

    with pytest.raises(ObjectExists):
        completing(shelf, on_conflict="fail")


def test_a_taken_key_begins_again_with_another_name_for_who_renames() -> None:
    shelf = Shelf()
    shelf.faults["complete"] = [ObjectExists("Taken.")]
    shelf.put(KEY, DATA, "another job")

    with pytest.raises(SessionLost):
        completing(shelf, on_conflict="rename")


def test_where_no_metadata_is_kept_equal_bytes_are_ours() -> None:
    shelf = Shelf(keeps_metadata=False)
    shelf.faults["complete"] = [Lost(TimedOut("No answer."))]
    held = lease_of("complete", session=sent(shelf))

    found = run(shelf, held, receipts=receipts_of(), capabilities=_without_metadata())

    assert settled(found).verified_by == "checksum"
    assert shelf.calls == ["complete", "stat", "read_back"]


def test_where_no_metadata_is_kept_other_bytes_are_not_ours() -> None:
    shelf = Shelf(keeps_metadata=False)
    shelf.put(KEY, OTHER)
    shelf.faults["complete"] = [TimedOut("No answer.")]

    with pytest.raises(TimedOut):
        run(
            shelf,
            lease_of("complete", session=sent(shelf)),
            receipts=receipts_of(),
            capabilities=_without_metadata(),
        )


def _without_metadata() -> object:
    return msgspec.structs.replace(ALL, metadata=False)


# -- verification -----------------------------------------------------------------------------------------------------


def test_the_parts_checksums_are_enough_where_the_whole_has_none() -> None:
    shelf = Shelf(tells=False)

    found = settled(completing(shelf, unproved=0))

    assert (found.verified_by, found.checksum) == ("part_checksums", SUM)
    assert shelf.calls == ["complete"]


def test_one_part_that_was_not_proved_means_reading_back() -> None:
    shelf = Shelf(tells=False)

    found = settled(completing(shelf, unproved=1))

    assert (found.verified_by, found.checksum) == ("read_back", SUM)
    assert shelf.calls == ["complete", "read_back"]


def test_where_nothing_else_can_be_known_the_size_is_what_remains() -> None:
    shelf = Shelf(tells=False)
    held = lease_of("complete", session=sent(shelf), unproved=1)

    found = settled(run(shelf, held, receipts=receipts_of(), abilities=EVERYTHING - {"ReadsRanges"}))

    assert found.verified_by == "size"


def test_where_the_size_is_enough_nobody_reads_back_and_no_checksum_is_claimed() -> None:
    shelf = Shelf(tells=False, by_size=True)

    found = settled(completing(shelf, unproved=1))

    assert (found.verified_by, found.checksum) == ("size", "")
    assert shelf.calls == ["complete"]


def test_a_file_that_nobody_read_whole_has_the_sum_of_its_parts() -> None:
    shelf = Shelf()
    held = lease_of("complete", session=sent(shelf))

    found = settled(run(shelf, held, receipts=receipts_of(), source=Bytes(knows=False)))

    assert found.checksum == SUM
    assert found.crc32c == SUM.removeprefix("crc32c:")


@pytest.mark.parametrize(
    ("shelf", "unproved"),
    [(Shelf(), 0), (Shelf(tells=False), 1)],
    ids=["checksum", "read back"],
)
def test_an_object_that_is_not_what_was_accepted_does_not_stay(shelf: Shelf, unproved: int) -> None:
    session = sent(shelf, data=OTHER)

    with pytest.raises(IntegrityError):
        run(shelf, lease_of("complete", session=session, unproved=unproved), receipts=receipts_of())
    assert shelf.objects == {}
    assert shelf.calls[-1] == "delete"


def test_an_object_of_another_size_does_not_stay() -> None:
    shelf = Shelf()
    shelf.complete = lambda session, receipts: ObjectInfo(key=KEY, size=3)  # type: ignore[method-assign]

    with pytest.raises(IntegrityError, match="3 bytes"):
        completing(shelf)
    assert shelf.calls == ["complete", "delete"]


def test_who_cannot_delete_says_so_all_the_same() -> None:
    shelf = Shelf()
    session = sent(shelf, data=OTHER)

    with pytest.raises(IntegrityError):
        run(
            shelf,
            lease_of("complete", session=session),
            receipts=receipts_of(),
            abilities=EVERYTHING - {"DeletesObjects"},
        )
    assert shelf.calls == ["complete"]


def test_a_checksum_of_another_kind_is_not_compared() -> None:
    shelf = Shelf(tells=False)
    told = shelf.complete
    shelf.complete = lambda s, r: _with_checksum(told(s, r), "sha256:00")  # type: ignore[method-assign]

    assert settled(completing(shelf)).verified_by == "part_checksums"


def _with_checksum(info: ObjectInfo, checksum: str) -> ObjectInfo:
    return msgspec.structs.replace(info, checksum=checksum)


# -- whole ------------------------------------------------------------------------------------------------------------


def test_a_small_file_goes_with_one_call() -> None:
    shelf = Shelf()

    found = settled(run(shelf, lease_of("whole")))

    assert shelf.calls == ["put_whole"]
    assert (found.verified_by, found.checksum, found.key) == ("checksum", SUM, "")
    assert shelf.objects[KEY] == (DATA, {JOB_MARK: job_id()})


def test_an_empty_file_goes_with_one_call() -> None:
    shelf = Shelf()

    found = settled(run(shelf, lease_of("whole", size=0, total=1), source=Bytes(b"")))

    assert shelf.objects[KEY][0] == b""
    assert found.checksum == "crc32c:AAAAAA=="


def test_what_an_earlier_attempt_stored_counts() -> None:
    shelf = Shelf()
    shelf.put(KEY, job=job_id())

    found = run(shelf, lease_of("whole", attempt=2))

    assert isinstance(found, Settled)
    assert shelf.calls == ["stat"]


def test_what_an_earlier_attempt_stored_wrongly_is_removed() -> None:
    shelf = Shelf()
    shelf.put(KEY, OTHER, job_id())

    with pytest.raises(IntegrityError):
        run(shelf, lease_of("whole", attempt=2))
    assert shelf.objects == {}


def test_a_small_file_that_arrived_changed_does_not_stay() -> None:
    shelf = Shelf()
    source = Bytes(DATA)
    source.body = lambda offset, size: Bytes(OTHER).body(offset, size)  # type: ignore[method-assign]

    with pytest.raises(IntegrityError):
        run(shelf, lease_of("whole"), source=source)
    assert shelf.objects == {}


def test_a_refused_small_file_of_a_source_that_changed_is_the_source_s_fault() -> None:
    shelf = Shelf()
    shelf.faults["put_whole"] = [IntegrityError("No.")]

    with pytest.raises(SourceCorrupt):
        run(shelf, lease_of("whole"), source=Bytes(sound=False))


def test_a_path_s_small_file_is_compared_with_what_was_read() -> None:
    shelf = Shelf()

    assert settled(run(shelf, lease_of("whole"), source=Bytes(knows=False))).checksum == SUM


SESSIONS_ONLY = EVERYTHING - {"PutsWhole"}


@pytest.mark.parametrize("data", [DATA, b""], ids=["some bytes", "no bytes"])
def test_where_there_is_no_one_call_a_session_of_one_part_does(data: bytes) -> None:
    shelf = Shelf()

    found = settled(
        run(
            shelf, lease_of("whole", size=len(data), part_size=64, total=1), source=Bytes(data), abilities=SESSIONS_ONLY
        )
    )

    assert shelf.calls == ["begin", "put_part", "complete"]
    assert found.verified_by == "checksum"
    assert shelf.objects[KEY] == (data, {JOB_MARK: job_id()})
    assert shelf.sessions == {}


@pytest.mark.parametrize("verb", ["put_part", "complete"])
def test_a_session_of_one_part_that_fails_is_aborted_at_once(verb: str) -> None:
    shelf = Shelf()
    shelf.faults[verb] = [Unavailable("Away.")]

    with pytest.raises(Unavailable):
        run(shelf, lease_of("whole", part_size=64, total=1), abilities=SESSIONS_ONLY)
    assert shelf.sessions == {}


def test_a_session_of_one_part_closes_those_of_lost_attempts() -> None:
    shelf = Shelf()
    shelf.open_session(KEY)

    run(shelf, lease_of("whole", part_size=64, total=1, lost_begin=True), abilities=SESSIONS_ONLY)

    assert shelf.sessions == {}


# -- strays -----------------------------------------------------------------------------------------------------------


def test_strays_of_a_lost_begin_are_closed_and_only_those() -> None:
    shelf = Shelf()
    session = sent(shelf)
    skew = CLOCK_SKEW_MS
    ours = [shelf.open_session(KEY), shelf.open_session(KEY, at_ms=NOON_MS - skew), shelf.open_session(KEY, at_ms=None)]
    others = [
        shelf.open_session(KEY, at_ms=NOON_MS - skew - 1),
        shelf.open_session(KEY + ".part2"),
        shelf.open_session("a/other"),
    ]

    run(shelf, lease_of("complete", session=session, lost_begin=True), receipts=receipts_of())

    assert set(shelf.sessions) == set(others)
    assert not set(shelf.sessions) & set(ours)


def test_without_a_lost_begin_nobody_s_session_is_touched() -> None:
    shelf = Shelf()
    other = shelf.open_session(KEY)

    completing(shelf)
    run(shelf, lease_of("end", session=None, ending="cancelled"))

    assert set(shelf.sessions) == {other}
    assert "list_sessions" not in shelf.calls


def test_our_own_session_is_not_closed_while_it_is_completed() -> None:
    shelf = Shelf()
    held = lease_of("complete", session=sent(shelf), lost_begin=True)
    keep = dict(shelf.sessions)
    shelf.faults["complete"] = [TimedOut("No answer.")]
    shelf.put(KEY, job=job_id())

    run(shelf, held, receipts=receipts_of())

    assert shelf.sessions == keep


# -- end --------------------------------------------------------------------------------------------------------------


def test_the_end_leaves_nothing_behind() -> None:
    shelf = Shelf()

    found = run(shelf, lease_of("end", session=sent(shelf), ending="cancelled"))

    assert found == Ended()
    assert shelf.sessions == {}
    assert shelf.calls == ["abort", "list_parts", "stat"]


def test_a_part_that_landed_behind_the_abort_is_aborted_again() -> None:
    """A provider may keep what arrives while it aborts."""
    shelf = Shelf()
    session = sent(shelf)
    aborts = iter([lambda _: None, shelf.abort])
    shelf.abort = lambda one: next(aborts)(one)  # type: ignore[method-assign]

    assert run(shelf, lease_of("end", session=session, ending="cancelled")) == Ended()
    assert shelf.calls == ["abort", "list_parts", "abort", "stat"]
    assert shelf.sessions == {}


def test_an_end_before_any_session_only_looks() -> None:
    shelf = Shelf()

    assert run(shelf, lease_of("end", ending="failed")) == Ended()
    assert shelf.calls == ["stat"]


def test_an_end_closes_what_a_lost_begin_may_have_opened() -> None:
    shelf = Shelf()
    shelf.open_session(KEY)

    assert run(shelf, lease_of("end", ending="cancelled", lost_begin=True)) == Ended()
    assert shelf.sessions == {}


def test_a_completion_that_had_won_counts() -> None:
    shelf = Shelf()
    shelf.put(KEY, job=job_id())

    found = settled(run(shelf, lease_of("end", session={"id": "gone"}, ending="cancelled")))

    assert found.verified_by == "checksum"


def test_a_completion_that_had_won_with_wrong_bytes_does_not_stay() -> None:
    shelf = Shelf()
    shelf.put(KEY, OTHER, job_id())

    assert run(shelf, lease_of("end", session={"id": "gone"}, ending="failed")) == Ended()
    assert shelf.objects == {}


def test_somebody_else_s_object_stays() -> None:
    shelf = Shelf()
    shelf.put(KEY, OTHER, "another job")

    assert run(shelf, lease_of("end", session={"id": "gone"}, ending="failed")) == Ended()
    assert shelf.objects[KEY][0] == OTHER


@pytest.mark.parametrize("verb", ["abort", "list_parts", "stat"])
def test_an_end_that_meets_trouble_says_so(verb: str) -> None:
    shelf = Shelf()
    shelf.faults[verb] = [Unavailable("Away.")]

    with pytest.raises(Unavailable):
        run(shelf, lease_of("end", session=sent(shelf), ending="cancelled"))


def test_an_object_of_the_right_size_is_not_enough_where_nobody_read_the_source_whole() -> None:
    shelf = Shelf()
    shelf.put(KEY, OTHER, job_id())
    held = lease_of("end", session={"id": "gone"}, ending="restart")

    assert run(shelf, held, source=Bytes(knows=False)) == Ended()
    assert shelf.objects == {}


@pytest.mark.parametrize(("data", "stays"), [(DATA, True), (OTHER, False)])
def test_what_was_sent_tells_what_a_found_object_should_be(data: bytes, stays: bool) -> None:
    shelf = Shelf()
    shelf.put(KEY, data, job_id())
    held = lease_of("end", session={"id": "gone"}, ending="cancelled")

    found = run(shelf, held, source=Bytes(knows=False), receipts=receipts_of())

    assert isinstance(found, Settled) == stays
    assert (shelf.objects != {}) == stays


@pytest.mark.parametrize(("data", "right"), [(DATA, True), (OTHER, False)])
def test_a_source_that_nobody_read_whole_is_read_for_an_object_that_is_found(data: bytes, right: bool) -> None:
    class ReadThrough(Bytes):
        def read_through(self) -> int:
            self.knows = True
            return crc32c(self.data)

    shelf = Shelf()
    shelf.put(KEY, data, job_id())
    held = lease_of("begin", lost_begin=True)

    if right:
        assert settled(run(shelf, held, source=ReadThrough(knows=False))).verified_by == "checksum"
    else:
        with pytest.raises(IntegrityError):
            run(shelf, held, source=ReadThrough(knows=False))


# -- crashes between two effects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [True, False], ids=["answer lost", "never asked"])
@pytest.mark.parametrize("step", ["whole", "complete", "end"])
def test_a_step_may_be_cut_anywhere_and_done_again(step: str, answered: bool) -> None:
    """Whatever call its worker died at, the next attempt comes to the same end."""
    for at in range(6):
        shelf = Shelf()
        session = sent(shelf) if step != "whole" else None
        held = lease_of(step, session=session, ending="cancelled" if step == "end" else "")
        options = {"receipts": receipts_of() if step == "complete" else {}}
        _cut_at(shelf, step_of(work_of(held, **options)), at, answered)

        again = held._replace(attempt=2, lost_begin=True)
        found = drive(step_of(work_of(again, **options)), shelf)

        assert isinstance(found, Ended if step == "end" else Settled)
        assert shelf.sessions == {}
        assert (shelf.objects == {}) == (step == "end")


def _cut_at(shelf: Shelf, step: Step, at: int, answered: bool) -> None:
    answer: Any = None
    error: BackendError | None = None
    for count in range(at + 1):
        try:
            call = step.throw(error) if error else step.send(answer)
        except StopIteration:
            return
        error = None
        if count < at or answered:
            try:
                answer = shelf.do(call)
            except BackendError as failure:
                error = failure
