"""The smallest backend there can be, with six verbs and no ability, passes the suite: nothing more is ever required.

It is also the example of how to write one. Objects are files in one folder; an upload is a folder of part files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

import msgspec
import pytest

from backends import checksums, conformance, parts
from backends.base import Body, Capabilities, ObjectInfo, Receipt, Session
from backends.body import copy
from backends.conformance.subject import Subject
from backends.errors import IntegrityError, InvalidRequest, SessionLost
from backends.registry import Destination

globals().update(conformance.tests())


class ShelfOptions(msgspec.Struct, frozen=True):
    folder: Path


class Shelf:
    capabilities = Capabilities(max_part=2**30, checksums=("crc32c",))

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, key: str, *, size: int, part_size: int, create_only: bool = False, **_: Any) -> Session:
        self._file(key)
        session_id = token_hex(8)
        (self._folder / f"upload-{session_id}").mkdir(parents=True)
        return {"id": session_id, "key": key, "size": size, "part_size": part_size}

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        upload, _, size, part_size = self._upload(session)
        parts.size_of(number, size, part_size)
        arriving = upload / f"{number}-{token_hex(4)}"
        try:
            with arriving.open("wb") as file:
                crc32c = copy(body, file.write)
            arriving.rename(upload / str(number))
        finally:
            arriving.unlink(missing_ok=True)
        return Receipt(number, body.size, checksum=checksums.crc32c_text(crc32c))

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        upload, key, size, part_size = self._upload(session)
        with (upload / "whole").open("wb") as whole:
            for receipt in parts.in_order(receipts, size=size, part_size=part_size):
                stored = upload / str(receipt.number)
                data = stored.read_bytes() if stored.exists() else b""
                if checksums.crc32c_text(checksums.crc32c(data)) != receipt.checksum:
                    raise IntegrityError(f"Part {receipt.number} is not what its receipt says.")
                whole.write(data)
        (upload / "whole").rename(self._file(key))
        shutil.rmtree(upload)
        return ObjectInfo(key=key, size=size)

    def abort(self, session: Session) -> None:
        shutil.rmtree(self._folder / f"upload-{session.get('id')}", ignore_errors=True)

    def stat(self, key: str) -> ObjectInfo | None:
        file = self._file(key)
        return ObjectInfo(key=key, size=file.stat().st_size) if file.exists() else None

    def close(self) -> None:
        pass

    def _file(self, key: str) -> Path:
        """Keys become hashes, so that any key is a good file name and none leads anywhere."""
        if not key or not key.isprintable():
            raise InvalidRequest("A key is printable text.")
        return self._folder / f"object-{sha256(key.encode()).hexdigest()}"

    def _upload(self, session: Session) -> tuple[Path, str, int, int]:
        try:
            known = msgspec.convert(session, _Session)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"This is no session of a shelf: {error}.") from error
        folder = self._folder / f"upload-{known.id}"
        if not folder.is_dir():
            raise SessionLost("There is no such upload.")
        return folder, known.key, known.size, known.part_size


class _Session(msgspec.Struct):
    id: str
    key: str
    size: int
    part_size: int


class ShelfPlugin:
    name: ClassVar[str] = "shelf"
    Options: ClassVar[type[msgspec.Struct]] = ShelfOptions
    secrets: ClassVar[frozenset[str]] = frozenset()

    def capabilities(self, options: ShelfOptions) -> Capabilities:
        return Shelf.capabilities

    def url(self, options: ShelfOptions, key: str) -> str:
        return f"shelf:{key}"

    def build(self, options: ShelfOptions) -> Shelf:
        return Shelf(options.folder)


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    options = ShelfOptions(tmp_path)
    look = Shelf(tmp_path)._file
    destination = Destination("shelf", ShelfPlugin(), options, Shelf.capabilities)
    with Subject(destination, look=lambda key: look(key).read_bytes()) as subject:
        yield subject
    assert not list(tmp_path.glob("upload-*"))
