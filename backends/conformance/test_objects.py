"""What is stored is what was sent, all of it, at once or not at all."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from backends.base import MIB, CopiesServerSide, DeletesObjects, ObjectInfo, Presigns, Properties, ReadsRanges
from backends.conformance.subject import Subject
from backends.errors import AccessDenied, ObjectExists, PermanentError

DESCRIPTION = {"bucketline-job": "01940c9e-0000-7000-8000-000000000000", "note": "two words, k=v; 100%"}
FURTHER: dict[str, Any] = {
    "content_disposition": 'attachment; filename="a b.txt"',
    "cache_control": "private, max-age=60",
    "tags": {"team": "blue", "cost center": "7"},
}
DESCRIBED = Properties(content_type="video/mp4", metadata=DESCRIPTION)


def test_parts_sent_in_any_order_are_joined_in_theirs(subject: Subject) -> None:
    key, data = subject.key(), subject.data(subject.part_size * 7 // 2)
    order = [3, 1, 4, 2] if subject.capabilities.parallel_parts else [1, 2, 3, 4]
    session = subject.begin(key, len(data))
    receipts = subject.send(session, data, order)
    info = subject.backend.complete(session, receipts)
    assert info.size == len(data)
    subject.assert_holds(key, data)


def test_an_object_may_end_exactly_with_a_part(subject: Subject) -> None:
    key, data = subject.key(), subject.data(2 * subject.part_size)
    subject.store(key, data)
    subject.assert_holds(key, data)


def test_an_object_may_be_one_part_smaller_than_the_smallest(subject: Subject) -> None:
    key, data = subject.key(), subject.data(1)
    subject.store(key, data)
    subject.assert_holds(key, data)


def test_an_object_may_be_empty(subject: Subject) -> None:
    key = subject.key()
    subject.store(key, b"")
    subject.assert_holds(key, b"")


def test_the_smallest_parts_that_are_claimed_work(subject: Subject) -> None:
    smallest = subject.rounded(subject.capabilities.min_part)
    data = subject.data(2 * smallest + 1)
    key = subject.key()
    session = subject.begin(key, len(data), part_size=smallest)
    receipts = [subject.put(session, number, data[(number - 1) * smallest : number * smallest]) for number in (1, 2, 3)]
    subject.backend.complete(session, receipts)
    subject.assert_holds(key, data)


def test_nothing_is_visible_before_the_upload_is_complete(subject: Subject) -> None:
    subject.needs("invisible")
    key, data = subject.key(), subject.data()
    session = subject.begin(key, len(data))
    subject.assert_nothing_at(key)
    receipts = subject.send(session, data)
    subject.assert_nothing_at(key)
    subject.backend.complete(session, receipts)
    subject.assert_holds(key, data)


def test_an_object_is_replaced_only_when_the_next_is_complete(subject: Subject) -> None:
    key, old, new = subject.key(), subject.data(100), subject.data()
    subject.store(key, old)
    session = subject.begin(key, len(new))
    receipts = subject.send(session, new)
    if subject.capabilities.invisible:
        subject.assert_holds(key, old)
    subject.backend.complete(session, receipts)
    subject.assert_holds(key, new)


def test_content_type_and_metadata_are_kept(subject: Subject) -> None:
    subject.needs("metadata")
    key, data = subject.key(), subject.data(100)
    told = subject.store(key, data, properties=DESCRIBED)
    found = subject.backend.stat(key)
    assert found is not None
    assert (found.content_type, found.metadata) == ("video/mp4", DESCRIPTION)
    assert told.size == found.size


def test_further_properties_are_kept(subject: Subject) -> None:
    _assert_properties_are_kept(subject, subject.store)


def test_one_call_keeps_further_properties_too(subject: Subject) -> None:
    _assert_properties_are_kept(subject, subject.put_whole)


def _assert_properties_are_kept(subject: Subject, store: Callable[..., ObjectInfo]) -> None:
    """Those that any store can hold; what a storage class or an access list is called differs from store to store."""
    wanted = {name: value for name, value in FURTHER.items() if name in subject.capabilities.properties}
    if not wanted:
        pytest.skip("this destination keeps none of them")
    key = subject.key()
    store(key, subject.data(100), properties=Properties(content_type="text/plain", **wanted))
    found = subject.backend.stat(key)
    assert found is not None
    for name in found.properties.keys() & wanted.keys():
        assert found.properties[name] == wanted[name], f"{name} is not what was asked for"
    told = {"content_disposition", "cache_control"} & wanted.keys()
    assert told <= found.properties.keys(), "a property was asked for and is not there"


def test_metadata_of_a_replaced_object_does_not_linger(subject: Subject) -> None:
    subject.needs("metadata")
    key = subject.key()
    subject.store(key, subject.data(10), properties=DESCRIBED)
    subject.store(key, subject.data(10), properties=Properties(metadata={"other": "1"}))
    found = subject.backend.stat(key)
    assert found is not None
    assert found.metadata == {"other": "1"}


def test_what_complete_tells_is_what_stat_tells(subject: Subject) -> None:
    key, data = subject.key(), subject.data()
    told, found = subject.store(key, data), subject.backend.stat(key)
    assert found is not None
    assert (told.key, told.size, told.etag, told.version) == (found.key, found.size, found.etag, found.version)


def test_a_small_object_goes_in_one_call(subject: Subject) -> None:
    key, data = subject.key(), subject.data(1000)
    info = subject.put_whole(key, data)
    assert (info.key, info.size) == (key, 1000)
    subject.assert_holds(key, data)


def test_an_empty_object_goes_in_one_call(subject: Subject) -> None:
    key = subject.key()
    subject.put_whole(key, b"")
    subject.assert_holds(key, b"")


def test_one_call_keeps_content_type_and_metadata_too(subject: Subject) -> None:
    subject.needs("metadata")
    key = subject.key()
    subject.put_whole(key, b"small", properties=Properties(content_type="text/plain", metadata=DESCRIPTION))
    found = subject.backend.stat(key)
    assert found is not None
    assert (found.content_type, found.metadata) == ("text/plain", DESCRIPTION)


def test_one_call_replaces_what_is_there(subject: Subject) -> None:
    key = subject.key()
    subject.store(key, subject.data())
    subject.put_whole(key, b"new")
    subject.assert_holds(key, b"new")


def test_nothing_is_at_a_key_that_was_never_written(subject: Subject) -> None:
    subject.assert_nothing_at(subject.key())
    key = subject.key("folder/file")
    subject.store(key, b"x")
    subject.assert_nothing_at(key.removesuffix("/file"))
    subject.assert_nothing_at(key + "-more")


def test_any_range_can_be_read_back(subject: Subject) -> None:
    reader = subject.able(ReadsRanges)
    key, data = subject.key(), subject.data(2 * MIB + 17)
    subject.put_whole(key, data)
    for offset, size in [(0, 0), (0, 1), (5, 1000), (MIB - 1, 2), (1, MIB), (len(data) - 1, 1), (0, len(data))]:
        blocks = list(reader.read_range(key, offset, size))
        assert b"".join(blocks) == data[offset : offset + size]
        assert all(len(block) <= MIB for block in blocks), "a block is larger than 1 MiB"


def test_reading_what_is_not_there_is_refused(subject: Subject) -> None:
    reader = subject.able(ReadsRanges)
    key = subject.key()
    subject.refusal(lambda: list(reader.read_range(key, 0, 1)))
    subject.store(key, b"short")
    subject.refusal(lambda: list(reader.read_range(key, 3, 5)))


def test_deleting_twice_is_harmless(subject: Subject) -> None:
    deleter = subject.able(DeletesObjects)
    key, neighbour = subject.key("a"), subject.key("a")
    subject.store(key, b"x")
    subject.store(neighbour, b"y")
    deleter.delete(key)
    deleter.delete(key)
    subject.assert_nothing_at(key)
    subject.assert_holds(neighbour, b"y")


def test_a_presigned_address_needs_no_credentials(subject: Subject) -> None:
    signer = subject.able(Presigns)
    key, data = subject.key("two words, é & %41"), subject.data(1000)
    subject.keep(key, data)
    try:
        address = signer.presign(key, expires_seconds=60)
    except AccessDenied as refused:
        pytest.skip(f"these credentials cannot sign: {refused.detail}")
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert answer.read() == data
    other = subject.key()
    subject.keep(other, subject.data(10))
    assert signer.presign(other, expires_seconds=60) != signer.presign(key, expires_seconds=60)


def test_a_copy_has_the_bytes_of_its_source_and_properties_of_its_own(subject: Subject) -> None:
    backend = subject.able(CopiesServerSide)
    source, key, data = subject.key("two words, é & %41"), subject.key(), subject.data()
    subject.store(source, data, properties=Properties(content_type="text/plain", metadata={"old": "1"}))
    assert backend.can_copy_from(subject.backend)
    info = backend.copy_from(subject.backend, source, key, properties=DESCRIBED)
    assert (info.key, info.size) == (key, len(data))
    subject.assert_holds(key, data)
    subject.assert_holds(source, data)
    found = subject.backend.stat(key)
    assert found is not None
    if subject.capabilities.metadata:
        assert (found.content_type, found.metadata) == ("video/mp4", DESCRIPTION)


def test_a_copy_of_nothing_is_refused(subject: Subject) -> None:
    backend = subject.able(CopiesServerSide)
    key = subject.key()
    error = subject.refusal(backend.copy_from, subject.backend, subject.key(), key, properties=Properties())
    assert isinstance(error, PermanentError)
    subject.assert_nothing_at(key)


def test_a_copy_can_create_only(subject: Subject) -> None:
    subject.needs("create_only")
    backend = subject.able(CopiesServerSide)
    source, key, old = subject.key(), subject.key(), subject.data(10)
    subject.keep(source, subject.data(20))
    subject.keep(key, old)
    error = subject.refusal(backend.copy_from, subject.backend, source, key, properties=Properties(), create_only=True)
    assert isinstance(error, ObjectExists)
    subject.assert_holds(key, old)
