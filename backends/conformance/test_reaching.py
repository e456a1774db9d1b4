"""What a backend says when its server is not there, breaks off, keeps silent, or does not let it in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing

from backends.base import Properties
from backends.body import BytesBody
from backends.conformance import wrong
from backends.conformance.subject import Subject
from backends.errors import PermanentError, TransientError
from backends.registry import Destination


def test_an_address_where_nothing_listens_is_a_passing_fault(subject: Subject) -> None:
    _is_passing(subject, wrong.nobody())


def test_a_connection_that_breaks_is_a_passing_fault(subject: Subject) -> None:
    _is_passing(subject, wrong.breaking())


def test_a_server_that_never_answers_is_given_up_for_now(subject: Subject) -> None:
    _is_passing(subject, wrong.silent())


def test_wrong_credentials_are_a_lasting_fault(subject: Subject) -> None:
    for found in _outcomes(subject, wrong.locked_out(subject.destination)):
        assert isinstance(found, PermanentError), f"{found!r} is no PermanentError"


def _is_passing(subject: Subject, place: AbstractContextManager[int]) -> None:
    with place as port:
        for found in _outcomes(subject, wrong.elsewhere(subject.destination, port)):
            assert isinstance(found, TransientError), f"{found!r} is no TransientError"


def _outcomes(subject: Subject, destination: Destination) -> Iterator[object]:
    """How looking at an object and sending a part end there."""
    with closing(destination.build()) as backend:
        key, size = subject.key(), subject.part_size

        def send() -> object:
            session = backend.begin(key, size=size, part_size=size, properties=Properties())
            return backend.put_part(session, 1, BytesBody(subject.data(size)))

        attempts: tuple[Callable[[], object], ...] = (lambda: backend.stat(key), send)
        for attempt in attempts:
            yield wrong.ended(attempt)
