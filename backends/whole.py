"""The session verbs of a store that only puts whole objects: an upload has one part, and that part is the object.

    class Hoard(WholeObjects):
        def put_whole(…) …   def stat(…) …   def close(…) …

    def capabilities(self, options):
        return whole_objects(max_part=5 * GIB, checksums=("crc32c",), metadata=True)

Jobs are sent there by `put_whole`, whatever their size. The verbs here are for whoever goes by sessions all the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from backends import checksums, parts
from backends.base import Body, Capabilities, ObjectInfo, Properties, Receipt, Session
from backends.body import copy
from backends.errors import InvalidRequest, ObjectExists, SessionLost


def whole_objects(*, max_part: int, **claims: Any) -> Capabilities:
    """The capabilities of such a store, the largest object of which has `max_part` bytes."""
    fixed: dict[str, Any] = {"max_parts": 1, "invisible": False, "aborts": False, "parallel_sessions": False}
    return Capabilities(max_part=max_part, max_object=max_part, **fixed, **claims)


class WholeObjects(ABC):
    @abstractmethod
    def put_whole(self, key: str, body: Body, *, properties: Properties, create_only: bool = False) -> ObjectInfo: ...

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo | None: ...

    def begin(
        self, key: str, *, size: int, part_size: int, properties: Properties, create_only: bool = False
    ) -> Session:
        if parts.count(size, part_size) > 1:
            raise InvalidRequest("This store takes an object as one part.")
        if self.stat(key) is not None and create_only:
            raise ObjectExists(f"There is an object at {key!r} already.")
        upload = _Upload(key, size, part_size, properties, create_only)
        session: Session = msgspec.to_builtins(upload)
        return session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        upload = _upload(session)
        if body.size != parts.size_of(number, upload.size, upload.part_size):
            raise InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        try:
            info = self.put_whole(upload.key, body, properties=upload.properties, create_only=upload.create_only)
        except ObjectExists:  # by this part, sent before, or by somebody else: `complete` tells them apart
            return Receipt(number, body.size, checksum=checksums.crc32c_text(copy(body, _nowhere)))
        return Receipt(number, body.size, etag=info.etag or "", checksum=info.checksum or "")

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        upload = _upload(session)
        [receipt] = parts.in_order(receipts, size=upload.size, part_size=upload.part_size)
        info = self.stat(upload.key)
        if info is not None and _is_of(info, receipt):
            return info
        if info is not None and upload.create_only:
            raise ObjectExists(f"There is another object at {upload.key!r}.")
        raise SessionLost(f"What is at {upload.key!r} is not what was sent.")

    def abort(self, session: Session) -> None:
        """There is nothing to free: what was sent is an object."""
        _upload(session)


class _Upload(msgspec.Struct, frozen=True):
    key: str
    size: int
    part_size: int
    properties: Properties
    create_only: bool


def _upload(session: Session) -> _Upload:
    try:
        return msgspec.convert(session, _Upload)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is no session of this store: {error}.") from error


def _is_of(info: ObjectInfo, receipt: Receipt) -> bool:
    """Whether the object is the part: by checksum, else by etag, where the store tells none of them by size."""
    if info.checksum and receipt.checksum:
        return (info.size, info.checksum) == (receipt.size, receipt.checksum)
    return (info.size, info.etag or "") == (receipt.size, receipt.etag)


def _nowhere(block: memoryview) -> None:
    """The bytes are only summed."""
