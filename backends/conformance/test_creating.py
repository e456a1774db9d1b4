"""Create-only: an object that exists is never replaced, and of two creators exactly one wins."""

from __future__ import annotations

from functools import partial

from backends.base import ObjectInfo
from backends.conformance.subject import Subject
from backends.errors import BackendError, ObjectExists


def test_creating_where_nothing_is_works(subject: Subject) -> None:
    subject.needs("create_only")
    key, data = subject.key(), subject.data()
    subject.store(key, data, create_only=True)
    subject.assert_holds(key, data)


def test_creating_where_an_object_is_leaves_it(subject: Subject) -> None:
    subject.needs("create_only")
    key, old = subject.key(), subject.data()
    subject.store(key, old)
    error = subject.refusal(subject.store, key, subject.data(), create_only=True)
    assert isinstance(error, ObjectExists)
    subject.assert_holds(key, old)


def test_creating_where_an_object_appeared_meanwhile_leaves_it(subject: Subject) -> None:
    subject.needs("create_only")
    key, data, other = subject.key(), subject.data(), subject.data(7)
    session = subject.begin(key, len(data), create_only=True)
    receipts = subject.send(session, data)
    subject.store(key, other)
    assert isinstance(subject.refusal(subject.backend.complete, session, receipts), ObjectExists)
    subject.assert_holds(key, other)


def test_of_two_uploads_that_create_at_once_one_wins(subject: Subject) -> None:
    subject.needs("create_only")
    for _ in range(5):
        key, data = subject.key(), [subject.data(), subject.data()]
        sessions = [subject.begin(key, len(each), create_only=True) for each in data]
        receipts = [subject.send(session, each) for session, each in zip(sessions, data, strict=True)]
        answers = subject.at_once(
            *(partial(subject.backend.complete, session, own) for session, own in zip(sessions, receipts, strict=True))
        )
        subject.assert_holds(key, data[_winner(answers)])


def test_of_two_calls_that_create_at_once_one_wins(subject: Subject) -> None:
    subject.needs("create_only")
    for _ in range(5):
        key, data = subject.key(), [subject.data(100), subject.data(200)]
        answers = subject.at_once(*(partial(subject.put_whole, key, each, create_only=True) for each in data))
        subject.assert_holds(key, data[_winner(answers)])


def _winner(answers: list[ObjectInfo | BackendError]) -> int:
    """Which of two creators won; the other must have been told that the object exists."""
    won = [isinstance(answer, ObjectInfo) for answer in answers]
    assert sorted(won) == [False, True], f"not exactly one creator won: {answers}"
    assert isinstance(answers[won.index(False)], ObjectExists), f"the loser was told {answers[won.index(False)]!r}"
    return won.index(True)
