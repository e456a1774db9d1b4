"""A store that only puts whole objects is a backend with three methods of its own, and passes the suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import ClassVar

import msgspec
import pytest

from backends import checksums, conformance
from backends.base import Body, Capabilities, ObjectInfo, Properties, Receipt
from backends.body import BytesBody, FileBody, copy
from backends.conformance.subject import Subject
from backends.errors import InvalidRequest, ObjectExists, SessionLost
from backends.registry import Destination
from backends.whole import WholeObjects, whole_objects

globals().update(conformance.tests())


class Options(msgspec.Struct, frozen=True):
    folder: Path
    tells: str
    """checksum or etag"""


class Heap(WholeObjects):
    """Files in a folder, written in one go. A file's etag is the name that it had at first."""

    def __init__(self, options: Options) -> None:
        self.capabilities = HeapPlugin().capabilities(options)
        self._options = options

    def put_whole(self, key: str, body: Body, *, properties: Properties, create_only: bool = False) -> ObjectInfo:
        target, arriving = self._folder(key), self._options.folder / token_hex(8)
        with arriving.open("wb") as file:
            try:
                copy(body, file.write)
            except BaseException:
                arriving.unlink()
                raise
        try:
            if create_only:
                os.link(arriving, target)
            else:
                os.replace(arriving, target)
        except FileExistsError:
            raise ObjectExists("There is such an object.") from None
        finally:
            arriving.unlink(missing_ok=True)
        info = self.stat(key)
        assert info is not None
        return info

    def stat(self, key: str) -> ObjectInfo | None:
        file = self._folder(key)
        if not file.exists():
            return None
        if self._options.tells == "etag":
            return ObjectInfo(key=key, size=file.stat().st_size, etag=f"{file.stat().st_ino}-{file.stat().st_mtime_ns}")
        told = checksums.crc32c_text(copy(FileBody(file, 0, file.stat().st_size), lambda block: None))
        return ObjectInfo(key=key, size=file.stat().st_size, checksum=told)

    def delete(self, key: str) -> None:
        self._folder(key).unlink(missing_ok=True)

    def close(self) -> None:
        pass

    def _folder(self, key: str) -> Path:
        if not key or not key.isprintable():
            raise InvalidRequest("A key is printable text.")
        return self._options.folder / f"object-{sha256(key.encode()).hexdigest()}"


class HeapPlugin:
    name: ClassVar[str] = "heap"
    Options: ClassVar[type[msgspec.Struct]] = Options
    secrets: ClassVar[frozenset[str]] = frozenset()

    def capabilities(self, options: Options) -> Capabilities:
        return whole_objects(max_part=2**30, create_only=True, checksums=("crc32c",))

    def url(self, options: Options, key: str) -> str:
        return f"heap:{key}"

    def build(self, options: Options) -> Heap:
        return Heap(options)


@pytest.fixture(params=["checksum", "etag"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    options = Options(tmp_path, request.param)
    destination = Destination("heap", HeapPlugin(), options, HeapPlugin().capabilities(options))
    look = Heap(options)._folder
    with Subject(destination, look=lambda key: look(key).read_bytes()) as subject:
        yield subject
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_part_that_was_sent_twice_creates_once(subject: Subject) -> None:
    key, data = subject.key(), b"the same"
    session = subject.begin(key, len(data), create_only=True)
    subject.send(session, data)
    [receipt] = subject.send(session, data)
    if receipt.etag or (info := subject.backend.stat(key)) is None or info.checksum is None:
        pytest.skip("this store cannot tell that it was the same part")
    subject.backend.complete(session, [receipt])
    subject.assert_holds(key, data)


def test_an_upload_of_several_parts_is_refused_at_once(subject: Subject) -> None:
    with pytest.raises(InvalidRequest, match="one part"):
        subject.backend.begin(subject.key(), size=2, part_size=1, properties=Properties())


def test_an_object_that_was_replaced_or_removed_meanwhile_is_not_taken_for_the_upload(subject: Subject) -> None:
    key = subject.key()
    session = subject.begin(key, 3)
    receipts: list[Receipt] = subject.send(session, b"one")
    subject.put_whole(key, b"two")
    with pytest.raises(SessionLost):
        subject.backend.complete(session, receipts)
    subject.able(Heap).delete(key)
    with pytest.raises(SessionLost):
        subject.backend.complete(session, receipts)


def test_properties_go_along(subject: Subject) -> None:
    seen: list[Properties] = []
    heap = subject.able(Heap)
    put = heap.put_whole

    def watched(key: str, body: Body, *, properties: Properties, create_only: bool = False) -> ObjectInfo:
        seen.append(properties)
        return put(key, body, properties=properties, create_only=create_only)

    heap.put_whole = watched  # type: ignore[method-assign]
    wanted = Properties(content_type="text/plain", metadata={"a": "b"})
    session = subject.begin(subject.key(), 1, properties=wanted)
    heap.put_part(session, 1, BytesBody(b"x"))
    assert seen == [wanted]
