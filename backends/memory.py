"""Keeps objects in this process's memory: for tests, trials and benchmarks.

What is stored lives in a *space*, shared by all backends of this process that name it and gone when the process ends:
the API and the workers of a stack do not see each other's objects. It can be told to fail (`backends.memory_faults`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import ClassVar

import msgspec

from backends import checksums, errors, parts
from backends.base import (
    FURTHER_PROPERTIES,
    MIB,
    TIB,
    Backend,
    Body,
    Capabilities,
    ObjectInfo,
    Properties,
    Receipt,
    Session,
    SessionInfo,
    further,
)
from backends.body import copy
from backends.memory_faults import Faults, MemoryOptions
from backends.memory_space import Space, StoredObject, StoredPart, Upload, blocks_of_range, confirmed

_spaces: dict[str, Space] = {}
_spaces_lock = threading.Lock()


def space(name: str = "default") -> Space:
    """The space of that name, made when it is first asked for."""
    with _spaces_lock:
        return _spaces.setdefault(name, Space())


class MemoryBackend:
    """A complete backend over one `Space`."""

    def __init__(self, options: MemoryOptions, sleep: Callable[[float], None] = time.sleep) -> None:
        self.capabilities = MemoryPlugin().capabilities(options)
        self._options = options
        self._space = space(options.space)
        self._faults = Faults(options, sleep)

    def begin(
        self,
        key: str,
        *,
        size: int,
        part_size: int,
        properties: Properties,
        create_only: bool = False,
    ) -> Session:
        check_key(key)
        self._faults.meet("begin", key)
        session_id = token_hex(8)
        now_ms = time.time_ns() // 1_000_000
        upload = Upload(key, size, part_size, properties, create_only, now_ms)
        with self._space.lock:
            if create_only and key in self._space.objects:
                raise errors.ObjectExists(f"There is an object at {key!r} already.")
            self._space.uploads[session_id] = upload
        self._faults.meet("begin", key, stored=True)
        return {"id": session_id}

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        session_id, upload = self._upload(session)
        self._faults.meet("put_part", session_id, number)
        if body.size != parts.size_of(number, upload.size, upload.part_size):
            raise errors.InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        part = self._store(number, body)
        with self._space.lock:
            if session_id not in self._space.uploads:
                raise _lost()
            upload.parts[number] = part
        self._faults.meet("put_part", session_id, number, stored=True)
        return part.receipt

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        session_id, upload = self._upload(session)
        self._faults.meet("complete", session_id)
        stored = confirmed(upload, receipts)
        with self._space.lock:
            if session_id not in self._space.uploads:
                raise _lost()
            info = self._publish(upload.key, stored, upload.properties, upload.create_only)
            del self._space.uploads[session_id]
        self._faults.meet("complete", session_id, stored=True)
        return info

    def abort(self, session: Session) -> None:
        with self._space.lock:
            self._space.uploads.pop(str(session.get("id")), None)

    def stat(self, key: str) -> ObjectInfo | None:
        with self._space.lock:
            found = self._space.objects.get(key)
        return found.info if found else None

    def can_copy_from(self, other: Backend) -> bool:
        return isinstance(other, MemoryBackend)

    def copy_from(
        self, other: Backend, source: str, key: str, *, properties: Properties, create_only: bool = False
    ) -> ObjectInfo:
        check_key(key)
        found = other._space.objects.get(source) if isinstance(other, MemoryBackend) else None
        if found is None:
            raise errors.InvalidRequest(f"There is no object at {source!r}.")
        data = bytearray().join(found.blocks)
        crc32c = checksums.crc32c(data)
        part = StoredPart(Receipt(1, len(data)), found.info.size, crc32c, data)
        with self._space.lock:
            return self._publish(key, [part], properties, create_only)

    def close(self) -> None:
        """Nothing to free: the space outlives its backends."""

    def put_whole(
        self,
        key: str,
        body: Body,
        *,
        properties: Properties,
        create_only: bool = False,
    ) -> ObjectInfo:
        check_key(key)
        self._faults.meet("put_part", key, 1)
        part = self._store(1, body)
        with self._space.lock:
            info = self._publish(key, [part], properties, create_only)
        self._faults.meet("put_part", key, 1, stored=True)
        return info

    def list_parts(self, session: Session) -> list[Receipt]:
        _, upload = self._upload(session)
        with self._space.lock:
            return [upload.parts[number].receipt for number in sorted(upload.parts)]

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        with self._space.lock:
            return [
                SessionInfo(upload.key, session_id, upload.started_at_ms, {"id": session_id})
                for session_id, upload in self._space.uploads.items()
                if upload.key.startswith(prefix)
            ]

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        with self._space.lock:
            found = self._space.objects.get(key)
        if found is None or self._options.discard:
            raise errors.InvalidRequest(f"There are no bytes to read at {key!r}.")
        if offset < 0 or size < 0 or offset + size > found.info.size:
            raise errors.InvalidRequest(f"The object at {key!r} has only {found.info.size} bytes.")
        return blocks_of_range(found.blocks, offset, size)

    def delete(self, key: str) -> None:
        with self._space.lock:
            self._space.objects.pop(key, None)

    def _upload(self, session: Session) -> tuple[str, Upload]:
        session_id = str(session.get("id"))
        with self._space.lock:
            upload = self._space.uploads.get(session_id)
        if upload is None:
            raise _lost()
        return session_id, upload

    def _store(self, number: int, body: Body) -> StoredPart:
        data = bytearray()
        crc32c = copy(body, _forget if self._options.discard else data.extend)
        receipt = Receipt(number, body.size, f"{crc32c:08x}", checksums.crc32c_text(crc32c))
        if self._options.discard:
            return StoredPart(receipt, body.size, crc32c, data)
        self._faults.spoil(number, data)
        return StoredPart(receipt, len(data), checksums.crc32c(data), data)

    def _publish(self, key: str, stored: list[StoredPart], properties: Properties, create_only: bool) -> ObjectInfo:
        """Make the object; the caller holds the lock."""
        if create_only and key in self._space.objects:
            raise errors.ObjectExists(f"There is an object at {key!r} already.")
        crc32c = 0
        for part in stored:
            crc32c = checksums.combine_crc32c(crc32c, part.crc32c, part.size)
        info = ObjectInfo(
            key=key,
            size=sum(part.size for part in stored),
            etag=f"{crc32c:08x}-{len(stored)}",
            checksum=checksums.crc32c_text(crc32c),
            content_type=properties.content_type,
            metadata=dict(properties.metadata),
            properties=further(properties),
        )
        self._space.objects[key] = StoredObject(info, tuple(part.data for part in stored))
        return info


class MemoryPlugin:
    name: ClassVar[str] = "memory"
    Options: ClassVar[type[msgspec.Struct]] = MemoryOptions
    secrets: ClassVar[frozenset[str]] = frozenset()

    def capabilities(self, options: MemoryOptions) -> Capabilities:
        return Capabilities(
            max_part=1024 * MIB,
            max_parts=100_000,
            max_object=TIB,
            checksums=("crc32c",),
            create_only=True,
            metadata=True,
            properties=FURTHER_PROPERTIES,
            any_process=False,
        )

    def url(self, options: MemoryOptions, key: str) -> str:
        return f"memory://{options.space}/{key}"

    def build(self, options: MemoryOptions) -> MemoryBackend:
        return MemoryBackend(options)


def check_key(key: str) -> None:
    """Refuse keys that S3 would refuse too, so that what works in a trial works in production."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise errors.InvalidRequest("The key is not valid Unicode text.") from error
    if not 1 <= size <= 1024:
        raise errors.InvalidRequest(f"A key has 1 to 1,024 bytes, not {size}.")


def _forget(block: memoryview) -> None:
    """Where discarded bytes go."""


def _lost() -> errors.SessionLost:
    return errors.SessionLost("There is no such upload session; it was completed, aborted, or of another process.")
