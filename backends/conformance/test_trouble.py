"""What goes wrong outside is told apart: what may pass is worth another try, what somebody must change is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from backends.base import Backend, Properties, PutsWhole, Session
from backends.body import BytesBody
from backends.conformance import wrong
from backends.conformance.subject import Subject
from backends.errors import BackendError, PermanentError, SessionLost, TimedOut, TransientError

LONGEST_SECONDS = 90.0
"""So long may a call take at a server that never answers, also where its timeouts are not among the options."""


def test_where_nothing_listens_the_failure_may_pass(subject: Subject) -> None:
    with wrong.nobody() as port:
        _assert_failures_may_pass(subject, port)


def test_where_connections_are_reset_the_failure_may_pass(subject: Subject) -> None:
    with wrong.who_breaks_off() as port:
        _assert_failures_may_pass(subject, port)


def test_a_server_that_never_answers_is_given_up_in_time(subject: Subject) -> None:
    with wrong.who_never_answers() as port, subject.built(wrong.moved(subject.destination, port)) as backend:
        key, data = subject.key(), subject.data(subject.part_size)
        session = subject.begin(key, len(data))
        for call in (partial(backend.stat, key), partial(backend.put_part, session, 1, BytesBody(data))):
            error = subject.refusal_within(LONGEST_SECONDS, call)
            assert isinstance(error, TimedOut), f"a server that does not answer is no {error!r}"


def test_bad_credentials_are_refused_for_good(subject: Subject) -> None:
    refused = subject.denied()
    with subject.built(refused) as backend:
        key, data = subject.key(), subject.data(subject.part_size)
        session = subject.begin(key, len(data))
        for error in _refusals(subject, backend, key, session, data):
            assert isinstance(error, PermanentError), f"bad credentials will not become good ones: {error!r}"
            assert not isinstance(error, SessionLost), "a new session would not help"
            assert not any(secret in str(error) for secret in wrong.secret_texts(refused)), "a secret is shown"
        subject.backend.complete(session, subject.send(session, data))
        subject.assert_holds(key, data)


def _assert_failures_may_pass(subject: Subject, port: int) -> None:
    """Every verb fails in a way that may pass, and the upload goes on where it was as soon as all is well again."""
    with subject.built(wrong.moved(subject.destination, port)) as backend:
        key, data = subject.key(), subject.data(subject.part_size)
        session = subject.begin(key, len(data))
        for error in _refusals(subject, backend, key, session, data):
            assert isinstance(error, TransientError), f"another try may help, whatever {error!r} says"
        receipts = subject.send(session, data)
        assert isinstance(subject.refusal(backend.complete, session, receipts), TransientError)
        subject.backend.complete(session, receipts)
        subject.assert_holds(key, data)


def _refusals(subject: Subject, backend: Backend, key: str, session: Session, data: bytes) -> Iterator[BackendError]:
    """The errors of the verbs that need the server, one by one; some stores begin an upload without it."""
    body, size = BytesBody(data), len(data)
    begun = subject.tolerate(backend.begin, key, size=size, part_size=subject.part_size, properties=Properties())
    if isinstance(begun, BackendError):
        yield begun
    calls: list[Callable[[], object]] = [partial(backend.stat, key), partial(backend.put_part, session, 1, body)]
    if isinstance(backend, PutsWhole):
        calls.append(partial(backend.put_whole, key, body, properties=Properties()))
    for call in calls:
        yield subject.refusal(call)
