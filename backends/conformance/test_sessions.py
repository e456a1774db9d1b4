"""Sessions are values: they outlive processes, end once, and leave nothing behind."""

from __future__ import annotations

import json

import msgspec
import pytest

from backends.base import ListsSessions, ObjectInfo, Properties, Receipt, Session
from backends.conformance.elsewhere import complete_elsewhere, put_part_elsewhere
from backends.conformance.subject import Subject
from backends.errors import PermanentError, SessionLost


def test_a_session_is_a_json_object(subject: Subject) -> None:
    session = subject.backend.begin(subject.key(), size=10, part_size=subject.part_size, properties=Properties())
    try:
        assert isinstance(session, dict)
        assert json.loads(json.dumps(session)) == session
    finally:
        subject.backend.abort(session)


def test_session_and_receipts_work_in_another_process(subject: Subject) -> None:
    subject.needs("any_process")
    key, data = subject.key(), subject.data(2 * subject.part_size)
    session = json.dumps(subject.begin(key, len(data)))
    halves = [data[: subject.part_size], data[subject.part_size :]]
    receipts = [
        msgspec.json.decode(put_part_elsewhere(subject.destination, session, number, half), type=Receipt)
        for number, half in enumerate(halves, 1)
    ]
    complete_elsewhere(subject.destination, session, msgspec.json.encode(receipts))
    subject.assert_holds(key, data)


def test_another_backend_of_the_same_destination_goes_on(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    first = subject.send_part(session, data, 1)
    other = Subject(subject.destination)
    try:
        rest = other.send(session, data, other.numbers(data)[1:])
        other.backend.complete(session, [first, *rest])
    finally:
        other.backend.close()
    subject.assert_holds(key, data)


def test_receipts_may_come_in_any_order(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    receipts = subject.send(session, data)
    subject.backend.complete(session, receipts[::-1])
    subject.assert_holds(key, data)


def test_completing_twice_works_or_says_that_the_session_is_gone(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    receipts = subject.send(session, data)
    first = subject.backend.complete(session, receipts)
    second = subject.tolerate(subject.backend.complete, session, receipts)
    assert isinstance(second, SessionLost) or second == first, f"completing again gave {second!r}"
    subject.assert_holds(key, data)


def test_completing_twice_never_brings_back_an_object_that_was_replaced(subject: Subject) -> None:
    key, data, newer = subject.key(), subject.data(), subject.data(5)
    session = subject.begin(key, len(data))
    receipts = subject.send(session, data)
    subject.backend.complete(session, receipts)
    subject.store(key, newer)
    subject.refusal(subject.backend.complete, session, receipts)
    subject.assert_holds(key, newer)


def test_completing_without_all_parts_is_refused(subject: Subject) -> None:
    data = subject.data(3 * subject.part_size)
    for numbers in ([1, 2], [2, 3], [1]):
        key = subject.key()
        session = subject.begin(key, len(data))
        receipts = subject.send(session, data)
        given = [receipt for receipt in receipts if receipt.number in numbers]
        subject.refusal(subject.backend.complete, session, given)
        subject.assert_nothing_at(key)


def test_completing_without_any_part_is_refused(subject: Subject) -> None:
    key = subject.key()
    session = subject.begin(key, 10)
    subject.refusal(subject.backend.complete, session, [])
    subject.assert_nothing_at(key)


def test_receipts_of_other_bytes_are_refused(subject: Subject) -> None:
    key, data = subject.key(), subject.data(2 * subject.part_size)
    session = subject.begin(key, len(data))
    stale = subject.put(session, 1, subject.data(subject.part_size))
    receipts = subject.send(session, data)
    if stale == receipts[0]:
        pytest.fail("two different parts have equal receipts, so nothing can be verified by them")
    subject.refusal(subject.backend.complete, session, [stale, receipts[1]])
    subject.assert_nothing_at(key)


def test_receipts_of_parts_that_were_never_sent_are_refused(subject: Subject) -> None:
    key, data = subject.key(), subject.data(2 * subject.part_size)
    session = subject.begin(key, len(data))
    [first] = subject.send(session, data, [1])
    made_up = Receipt(2, subject.part_size, first.etag, first.checksum)
    subject.refusal(subject.backend.complete, session, [first, made_up])
    subject.assert_nothing_at(key)


def test_one_receipt_given_twice_is_refused_or_counts_once(subject: Subject) -> None:
    key, data = subject.key(), subject.data(2 * subject.part_size)
    session = subject.begin(key, len(data))
    receipts = subject.send(session, data)
    if isinstance(subject.tolerate(subject.backend.complete, session, [receipts[0], *receipts]), ObjectInfo):
        subject.assert_holds(key, data)
    else:
        subject.assert_nothing_at(key)


def test_aborting_is_final_and_may_be_repeated(subject: Subject) -> None:
    subject.needs("aborts")
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    receipts = subject.send(session, data)
    subject.backend.abort(session)
    subject.backend.abort(session)
    subject.assert_nothing_at(key)
    assert isinstance(subject.refusal(subject.send_part, session, data, 1), PermanentError)
    subject.refusal(subject.backend.complete, session, receipts)
    subject.assert_nothing_at(key)


def test_a_part_after_the_abort_says_that_the_session_is_lost(subject: Subject) -> None:
    subject.needs("aborts")
    data = subject.data()
    session = subject.begin(subject.key(), len(data))
    subject.backend.abort(session)
    assert isinstance(subject.refusal(subject.send_part, session, data, 1), SessionLost)


def test_aborting_a_completed_session_leaves_the_object(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    subject.backend.complete(session, subject.send(session, data))
    subject.backend.abort(session)
    subject.assert_holds(key, data)


def test_two_uploads_of_one_key_do_not_mix(subject: Subject) -> None:
    subject.needs("parallel_sessions")
    key, first, second = subject.key(), subject.data(), subject.data()
    one, other = subject.begin(key, len(first)), subject.begin(key, len(second))
    receipts: dict[str, list[Receipt]] = {"one": [], "other": []}
    for number in subject.numbers(first):
        receipts["one"].append(subject.send_part(one, first, number))
        receipts["other"].append(subject.send_part(other, second, number))
    subject.backend.complete(one, receipts["one"])
    subject.assert_holds(key, first)
    subject.backend.complete(other, receipts["other"])
    subject.assert_holds(key, second)


def test_aborting_one_upload_leaves_the_other_of_its_key(subject: Subject) -> None:
    if not subject.capabilities.invisible:
        subject.needs("parallel_sessions")  # where a part is the object at once, the other's stands in its place
    key, data = subject.key(), subject.data()
    kept, given_up = subject.begin(key, len(data)), subject.begin(key, len(data))
    first, *others = subject.numbers(data)
    receipts = subject.send(kept, data, [first])
    subject.send(given_up, data, [first])
    subject.backend.abort(given_up)
    receipts += subject.send(kept, data, others)
    subject.backend.complete(kept, receipts)
    subject.assert_holds(key, data)


def test_open_sessions_are_listed_and_can_be_aborted_from_the_list(subject: Subject) -> None:
    backend = subject.able(ListsSessions)
    key, other_key, data = subject.key(), subject.key(), subject.data()
    session = subject.begin(key, len(data))
    subject.begin(other_key, len(data))
    listed = backend.list_sessions(key)
    assert [info.key for info in listed] == [key]
    found = listed[0]
    assert found.id
    subject.backend.abort(found.session)
    assert backend.list_sessions(key) == []
    assert [info.key for info in backend.list_sessions(other_key)] == [other_key]
    assert isinstance(subject.refusal(subject.send_part, session, data, 1), SessionLost)


def test_no_session_stays_open_after_it_ended(subject: Subject) -> None:
    backend = subject.able(ListsSessions)
    folder, data = subject.key(""), subject.data()
    completed = subject.begin(subject.remember(folder + "completed"), len(data))
    aborted = subject.begin(folder + "aborted", len(data))
    assert sorted(info.key for info in backend.list_sessions(folder)) == [folder + "aborted", folder + "completed"]
    subject.backend.complete(completed, subject.send(completed, data))
    subject.backend.abort(aborted)
    assert backend.list_sessions(folder) == []


def test_what_is_no_session_is_refused(subject: Subject) -> None:
    nonsense: list[Session] = [{}, {"id": "nope"}, {"id": 7, "key": None}, {"key": "x", "size": "many"}]
    for session in nonsense:
        subject.refusal(subject.put, session, 1, b"x")
        subject.refusal(subject.backend.complete, session, [])
        subject.tolerate(subject.backend.abort, session)


def test_closing_twice_is_harmless(subject: Subject) -> None:
    backend = subject.destination.build()
    backend.close()
    backend.close()
