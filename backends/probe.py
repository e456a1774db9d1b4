"""Proves a destination by real work: a write in parts, a look, a read back and a delete, of an object of its own.

Rights that the work needs are the rights that a service account needs: to write, to list or look at, to read and to
delete below the destination's prefix. What could not be removed is named.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import msgspec

from backends import checksums
from backends.base import KIB, Backend, DeletesObjects, ObjectInfo, Properties, PutsWhole, ReadsRanges, Session
from backends.body import BytesBody
from backends.errors import BackendError, IntegrityError, PermanentError
from backends.plugins import backend_faults
from backends.registry import Destination

T = TypeVar("T")
FOLDER = ".bucketline-check/"
TAIL = 1000
"""Bytes of the last part, so that it is shorter than the first."""


class Step(msgspec.Struct, frozen=True):
    """One thing that was tried: what it showed, or what is wrong."""

    step: str
    ok: bool
    detail: str
    seconds: float


class ProbeResult(msgspec.Struct, frozen=True):
    """How a destination did. `steps` ends with the first that failed, and with the cleaning up."""

    name: str
    ok: bool
    steps: list[Step]


def probe(destination: Destination) -> ProbeResult:
    """Prove one destination. Raises nothing for a destination that does not work: that is the result."""
    work = _Work(destination)
    work.run()
    return ProbeResult(destination.name, all(step.ok for step in work.steps), work.steps)


class _Failed(Exception):
    """A step failed, and is on record."""


class _Misreported(Exception):
    """The bytes are right, and what the store says of them is not."""


class _Unfit(PermanentError):
    title = "The plug-in is at fault"


class _Work:
    def __init__(self, destination: Destination) -> None:
        self.steps: list[Step] = []
        self._destination = destination
        self._key = destination.full_key(f"{FOLDER}{uuid.uuid4()}")
        self._session: Session | None = None

    def run(self) -> None:
        try:
            backend = self._step("connect", self._build, lambda _: self._destination.backend)
        except _Failed:
            return
        try:
            self._prove(backend)
        except _Failed:
            pass
        finally:
            self._clean(backend)
            backend.close()

    def _build(self) -> Backend:
        backend = self._destination.build()
        if found := backend_faults(backend):
            raise _Unfit("; ".join(found))
        return backend

    def _prove(self, backend: Backend) -> None:
        numbers = self._destination.capabilities
        wanted = max(numbers.min_part, 64 * KIB)
        part_size = -(-wanted // numbers.part_multiple) * numbers.part_multiple
        count = min(2, numbers.max_parts)
        data = random.randbytes(part_size + TAIL if count > 1 else part_size)
        told = "2 parts" if count > 1 else "1 part"
        self._step("write", lambda: self._write(backend, data, part_size, count), lambda _: told)
        info = self._step("look", lambda: self._look(backend, len(data)), lambda info: f"{info.size} bytes")
        if isinstance(backend, ReadsRanges):
            reader = backend
            self._step("read", lambda: self._read(reader, data, info), lambda _: "byte-identical")

    def _write(self, backend: Backend, data: bytes, part_size: int, count: int) -> None:
        properties = Properties(content_type="application/octet-stream")
        if count == 1 and isinstance(backend, PutsWhole):
            backend.put_whole(self._key, BytesBody(data), properties=properties)  # as every job does it there
            return
        self._session = backend.begin(
            self._key,
            size=len(data),
            part_size=part_size,
            properties=properties,
        )
        receipts = [
            backend.put_part(self._session, number, BytesBody(data[(number - 1) * part_size : number * part_size]))
            for number in range(1, count + 1)
        ]
        backend.complete(self._session, receipts)
        self._session = None

    def _look(self, backend: Backend, size: int) -> ObjectInfo:
        info = backend.stat(self._key)
        if info is None:
            raise IntegrityError(f"{self._key} was stored, but is not there")
        if info.size != size:
            raise IntegrityError(f"{self._key} has {info.size} bytes; {size} were stored")
        return info

    def _read(self, backend: ReadsRanges, data: bytes, info: ObjectInfo) -> None:
        if b"".join(backend.read_range(self._key, 0, len(data))) != data:
            raise IntegrityError(f"{self._key} reads back other bytes than were stored")
        # A job believes what the store reports: a store that reports nonsense would have every large file fail.
        told, right = info.checksum or "", checksums.crc32c_text(checksums.crc32c(data))
        if told.startswith(checksums.PREFIX) and told != right:
            raise _Misreported(
                f"the store reports {told} for bytes that it gives back rightly, and that have {right}; "
                'with `checksum = "none"` (s3) it is not asked, and objects are read back'
            )

    def _clean(self, backend: Backend) -> None:
        """Leave nothing: neither an open session nor the object."""
        session = self._session
        try:
            if session is not None:
                self._step("abort", lambda: backend.abort(session), lambda _: "the open upload was given up")
            if isinstance(backend, DeletesObjects):
                deleter = backend
                self._step("delete", lambda: deleter.delete(self._key), lambda _: "nothing is left")
            else:
                self.steps.append(Step("delete", True, f"this kind of storage cannot: {self._key} is left", 0.0))
        except _Failed:
            pass

    def _step(self, name: str, work: Callable[[], T], tell: Callable[[T], str]) -> T:
        started = time.monotonic()
        try:
            result = work()
        except BackendError as error:
            self.steps.append(Step(name, False, f"{error.title}: {error.detail}", time.monotonic() - started))
            raise _Failed from error
        except _Misreported as error:
            self.steps.append(Step(name, False, str(error), time.monotonic() - started))
            raise _Failed from error
        except Exception as error:
            # An SDK that is not installed, a bug of a third-party backend: a failed check, not a crash of the checker.
            self.steps.append(Step(name, False, f"{type(error).__name__}: {error}", time.monotonic() - started))
            raise _Failed from error
        self.steps.append(Step(name, True, tell(result), time.monotonic() - started))
        return result
