"""Each part is stored whole or not at all, as often as it is sent, by however many threads."""

from __future__ import annotations

import tempfile
import tracemalloc
from functools import partial
from pathlib import Path

import pytest

from backends.base import MIB, Body, ListsParts, Properties, PutsWhole, Receipt
from backends.body import FileBody
from backends.conformance.bodies import BreakingBody, ChangedBody, CutBody
from backends.conformance.subject import Subject
from backends.errors import IntegrityError, TransientError

LARGE = 64 * MIB
ALLOWED = 16 * MIB


def test_the_same_part_may_be_sent_again(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    subject.send_part(session, data, 1)
    receipts = subject.send(session, data)
    subject.backend.complete(session, receipts)
    subject.assert_holds(key, data)


def test_a_part_sent_again_with_other_bytes_replaces_the_first(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    subject.put(session, 1, subject.data(subject.part_size))
    receipts = subject.send(session, data)
    subject.backend.complete(session, receipts)
    subject.assert_holds(key, data)


def test_a_part_that_fails_and_is_sent_again_is_right(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    subject.refusal(subject.backend.put_part, session, 1, BreakingBody(data[:500], subject.part_size))
    subject.backend.complete(session, subject.send(session, data))
    subject.assert_holds(key, data)


def test_sixteen_threads_can_send_at_once(subject: Subject) -> None:
    subject.needs("parallel_parts")
    keys, data = [subject.key(), subject.key()], [subject.data(8 * subject.part_size) for _ in range(2)]
    sessions = [subject.begin(key, len(data[0])) for key in keys]
    sends = [
        partial(subject.send_part, sessions[which], data[which], number) for number in range(1, 9) for which in (0, 1)
    ]
    receipts = [
        # A store that is busy may say so to some of them; those are sent again, as they always are.
        send() if isinstance(receipt, TransientError) else receipt
        for send, receipt in zip(sends, subject.at_once(*sends), strict=True)
    ]
    failed = [receipt for receipt in receipts if not isinstance(receipt, Receipt)]
    assert not failed, f"sending in parallel failed: {failed}"
    for which in (0, 1):
        own = [receipt for receipt in receipts[which::2] if isinstance(receipt, Receipt)]
        subject.backend.complete(sessions[which], own)
        subject.assert_holds(keys[which], data[which])


def test_a_body_shorter_than_announced_stores_nothing(subject: Subject) -> None:
    _assert_stores_nothing(subject, CutBody(subject.data(subject.part_size - 1), subject.part_size))


def test_a_body_that_is_empty_though_announced_stores_nothing(subject: Subject) -> None:
    _assert_stores_nothing(subject, CutBody(b"", subject.part_size))


def test_a_body_that_breaks_midway_stores_nothing(subject: Subject) -> None:
    _assert_stores_nothing(subject, BreakingBody(subject.data(subject.part_size // 2), subject.part_size))


def test_a_file_shorter_than_announced_stores_nothing(subject: Subject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "short"
        path.write_bytes(subject.data(subject.part_size // 2))
        _assert_stores_nothing(subject, FileBody(path, 0, subject.part_size))


def _assert_stores_nothing(subject: Subject, body: Body) -> None:
    """The part is refused, is not among the parts that landed, and the upload cannot be completed without it."""
    key, data = subject.key(), subject.data(min(2, subject.capabilities.max_parts) * subject.part_size)
    session = subject.begin(key, len(data))
    subject.refusal(subject.backend.put_part, session, 1, body)
    if not subject.capabilities.parallel_parts or len(subject.numbers(data)) == 1:
        made_up = [Receipt(number, subject.part_size, "made-up", "") for number in subject.numbers(data)]
        subject.refusal(subject.backend.complete, session, made_up)
        if subject.capabilities.invisible:
            subject.assert_nothing_at(key)
        return
    second = subject.send_part(session, data, 2)
    if isinstance(subject.backend, ListsParts):
        assert [part.number for part in subject.backend.list_parts(session)] == [2], "the cut part is listed"
    forged = Receipt(1, subject.part_size, second.etag, second.checksum)
    subject.refusal(subject.backend.complete, session, [forged, second])
    subject.refusal(subject.backend.complete, session, [second])
    if subject.capabilities.invisible:
        subject.assert_nothing_at(key)


def test_one_call_with_a_body_shorter_than_announced_stores_nothing(subject: Subject) -> None:
    backend = subject.able(PutsWhole)
    for body in (CutBody(b"x" * 99, 100), CutBody(b"", 100), BreakingBody(b"x" * 50, 100)):
        key = subject.key()
        subject.refusal(backend.put_whole, key, body, properties=Properties())
        subject.assert_nothing_at(key)


def test_one_call_with_a_bad_body_leaves_what_was_there(subject: Subject) -> None:
    backend = subject.able(PutsWhole)
    key = subject.key()
    subject.store(key, b"old")
    subject.refusal(backend.put_whole, key, BreakingBody(b"x" * 50, 100), properties=Properties())
    subject.assert_holds(key, b"old")


def test_bytes_that_do_not_match_their_checksum_are_refused(subject: Subject) -> None:
    if "crc32c" not in subject.capabilities.checksums:
        pytest.skip("this destination does not claim to verify crc32c")
    key, data = subject.key(), subject.data(subject.part_size)
    session = subject.begin(key, len(data))
    error = subject.refusal(subject.backend.put_part, session, 1, ChangedBody(data))
    assert isinstance(error, IntegrityError)
    if isinstance(subject.backend, PutsWhole):
        refused = subject.refusal(subject.backend.put_whole, key, ChangedBody(b"small"), properties=Properties())
        assert isinstance(refused, IntegrityError)
    subject.assert_nothing_at(key)


def test_parts_that_the_plan_does_not_have_are_refused(subject: Subject) -> None:
    data = subject.data(subject.part_size)
    session = subject.begin(subject.key(), len(data))
    for number in (0, -1, subject.capabilities.max_parts + 1):
        subject.refusal(subject.put, session, number, data)


def test_what_landed_is_listed(subject: Subject) -> None:
    backend = subject.able(ListsParts)
    data = subject.data()
    session = subject.begin(subject.key(), len(data))
    assert backend.list_parts(session) == []
    receipts = subject.send(session, data, [2, 1])
    listed = backend.list_parts(session)
    assert [(part.number, part.size, part.etag) for part in listed] == [
        (part.number, part.size, part.etag) for part in sorted(receipts, key=lambda part: part.number)
    ]


def test_a_part_of_exactly_the_largest_size_works(subject: Subject) -> None:
    """Where that is no more than 64 MiB, by nature or because the destination's `capabilities` say so."""
    largest = subject.capabilities.max_part
    if largest > LARGE:
        pytest.skip("a part of `max_part` is too large to send here; narrow it in the destination's `capabilities`")
    size = largest - largest % subject.capabilities.part_multiple
    key, data = subject.key(), subject.data(size + 1 if subject.capabilities.max_parts > 1 else size)
    session = subject.begin(key, len(data), part_size=size)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    receipts = [subject.put(session, number, piece) for number, piece in enumerate(pieces, 1)]
    subject.backend.complete(session, receipts)
    subject.assert_holds(key, data)


def test_a_large_part_needs_little_memory(subject: Subject) -> None:
    """Of the part itself only a window is in memory; a store that is this process's memory holds it once, of course."""
    if subject.capabilities.max_part < LARGE:
        pytest.skip("this destination takes no parts of 64 MiB")
    kept_here = 0 if subject.capabilities.any_process else LARGE * 9 // 8  # a growing buffer has some slack
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large"
        with path.open("wb") as file:
            file.truncate(LARGE)
        session = subject.begin(subject.key(), LARGE, part_size=LARGE)
        tracemalloc.start()
        try:
            subject.backend.put_part(session, 1, FileBody(path, 0, LARGE))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < ALLOWED + kept_here, f"sending a part of 64 MiB took {peak / MIB:.0f} MiB of memory"
