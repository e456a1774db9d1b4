"""The memory backend: conforming when it is asked for nothing else, and failing exactly as asked."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import pytest

from backends import checksums, conformance, errors
from backends.base import Properties, Receipt
from backends.body import BytesBody
from backends.conformance.subject import Subject
from backends.memory import MemoryBackend, MemoryPlugin, space
from backends.memory_faults import Fail, MemoryOptions
from backends.registry import Destination
from tests.backends import narrowed

globals().update(conformance.tests())


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    options = MemoryOptions(space=token_hex(4))
    plugin = MemoryPlugin()
    claims = narrowed.for_check(request.node.name, plugin.capabilities(options))
    destination = Destination("memory", plugin, options, claims)
    with Subject(destination, look=space(options.space).read) as subject:
        yield subject


def backend(**options: Any) -> MemoryBackend:
    return MemoryBackend(MemoryOptions(space=token_hex(4), **options))


def store(backend: MemoryBackend, *parts: bytes) -> Any:
    """Store an object of these parts at `key`, each sent until it is accepted; the outcome of every call, in order."""
    outcomes: list[Any] = []
    size, part_size = sum(map(len, parts)), len(parts[0])
    session = backend.begin("key", size=size, part_size=part_size, properties=Properties())
    receipts: list[Receipt] = []
    for number, data in enumerate(parts, 1):
        while len(receipts) < number:
            try:
                receipts.append(backend.put_part(session, number, BytesBody(data)))
                outcomes.append(number)
            except errors.TransientError as error:
                outcomes.append(error.code)
    outcomes.append(backend.complete(session, receipts))
    return outcomes


def test_a_part_fails_as_often_as_asked_and_then_works() -> None:
    flaky = backend(fail=Fail(part=2, times=2, error="throttled", retry_after=1.5))
    *calls, info = store(flaky, b"aaa", b"bbb", b"c")
    assert calls == [1, "throttled", "throttled", 2, 3]
    assert info.size == 7


def test_failures_are_counted_per_upload() -> None:
    flaky = backend(fail=Fail(part=1, times=1))
    for _ in range(2):
        *calls, _ = store(flaky, b"aaa", b"b")
        assert calls == ["unavailable", 1, 2]


def test_a_failure_tells_when_to_come_back() -> None:
    flaky = backend(fail=Fail(part=1, error="throttled", retry_after=7))
    with pytest.raises(errors.Throttled) as raised:
        flaky.put_whole("key", BytesBody(b"x"), properties=Properties())
    assert raised.value.retry_after == 7


def test_an_answer_can_be_lost_after_the_part_was_stored() -> None:
    flaky = backend(fail=Fail(part=1, stored=True))
    session = flaky.begin("key", size=3, part_size=3, properties=Properties())
    with pytest.raises(errors.Unavailable):
        flaky.put_part(session, 1, BytesBody(b"abc"))
    assert [part.number for part in flaky.list_parts(session)] == [1]


@pytest.mark.parametrize("stored", [False, True])
def test_completing_can_fail_before_or_after_its_effect(stored: bool) -> None:
    flaky = backend(fail=Fail(call="complete", stored=stored))
    with pytest.raises(errors.Unavailable):
        store(flaky, b"abc")
    assert (flaky.stat("key") is not None) == stored


def test_beginning_can_fail() -> None:
    flaky = backend(fail=Fail(call="begin", error="access_denied"))
    with pytest.raises(errors.AccessDenied):
        flaky.begin("key", size=1, part_size=1, properties=Properties())
    assert flaky.list_sessions() == []


def test_a_rate_of_failures_is_kept_and_can_be_repeated() -> None:
    runs = [store(backend(fail_rate=0.3, seed=5), *[b"x"] * 200) for _ in range(2)]
    assert runs[0][:-1] == runs[1][:-1]
    assert 40 < runs[0].count("unavailable") < 140


def test_a_slow_store_takes_its_time_for_each_part() -> None:
    naps: list[float] = []
    slow = MemoryBackend(MemoryOptions(space=token_hex(4), slow_seconds=0.25), sleep=naps.append)
    store(slow, b"aa", b"b")
    assert naps == [0.25, 0.25]


def test_a_store_that_cuts_or_corrupts_acknowledges_what_was_sent_and_keeps_less() -> None:
    """So that only a check of the finished object can find it."""
    for bad, size in [(backend(cut_at=2), 5), (backend(corrupt_part=2), 7)]:
        *_, info = store(bad, b"aaa", b"bbb", b"c")
        assert info.size == size
        assert info.checksum != checksums.crc32c_text(checksums.crc32c(b"aaabbbc"))
        assert bad.stat("key") == info


def test_discarding_keeps_sizes_and_checksums_only() -> None:
    sink = backend(discard=True)
    *_, info = store(sink, b"aaa", b"bbb", b"c")
    assert info.size == 7
    assert info.checksum == checksums.crc32c_text(checksums.crc32c(b"aaabbbc"))
    with pytest.raises(errors.InvalidRequest):
        sink.read_range("key", 0, 1)


def test_backends_of_one_space_share_it_and_others_do_not() -> None:
    name = token_hex(4)
    one, same, other = (MemoryBackend(MemoryOptions(space=space)) for space in (name, name, name + "x"))
    one.put_whole("key", BytesBody(b"x"), properties=Properties())
    assert same.stat("key") is not None
    assert other.stat("key") is None
    assert space(name).read("key") == b"x"


def test_an_error_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fail\.error must be one of access_denied, "):
        Fail(error="trottled")
