"""A store in memory as the steps of the engine meet it: it keeps what it is given, and fails when told to."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from backends.base import Body, Capabilities, ObjectInfo, Properties, Receipt, SessionInfo
from backends.body import BytesBody
from backends.checksums import crc32c, crc32c_text
from backends.errors import BackendError, IntegrityError, ObjectExists, SessionLost
from engine.records import Lease, pack_receipt
from engine.work import JOB_MARK, Call, Outcome, Step, Work
from tests.engine.books import NOON_MS, PART, job_id, spec_of, tid

EVERYTHING = frozenset({"PutsWhole", "ListsParts", "ListsSessions", "ReadsRanges", "DeletesObjects"})
ALL = Capabilities(create_only=True, metadata=True, checksums=("crc32c",))
DATA = bytes(range(PART)) + b"B" * PART + b"the end"


class Lost(Exception):
    """Wraps an error that hides an effect: the call was done, and its answer lost."""

    def __init__(self, error: BackendError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Shelf:
    """`calls` is everything that was asked, in order; `faults` the errors that the next calls of a verb meet.

    A store may tell checksums (of objects, of parts), keep metadata, and refuse to overwrite.
    """

    tells: bool = True
    proves_parts: bool = True
    keeps_metadata: bool = True
    by_size: bool = False
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[BackendError | Lost]] = field(default_factory=lambda: defaultdict(list))
    chosen: tuple[str, str] | None = None
    now_ms: int = NOON_MS
    _names: Any = field(default_factory=lambda: itertools.count(1))

    def do(self, call: Call) -> Any:
        self.calls.append(call.verb)
        faults = self.faults[call.verb]
        fault = faults.pop(0) if faults else None
        if fault is not None and not isinstance(fault, Lost):
            raise fault
        answer = getattr(self, call.verb)(*call.args, **call.kwargs)
        if fault is not None:
            raise fault.error
        return answer

    def put(self, key: str, data: bytes = DATA, job: str | None = None) -> None:
        """An object that is there already."""
        self.objects[key] = (data, {JOB_MARK: job} if job else {})

    def open_session(self, key: str, *, at_ms: int | None = NOON_MS) -> str:
        """A session that is open already."""
        name = f"session-{next(self._names)}"
        self.sessions[name] = {"key": key, "parts": {}, "metadata": {}, "create_only": False, "at": at_ms}
        return name

    # -- the verbs

    def begin(
        self, key: str, *, size: int, part_size: int, properties: Properties,
        create_only: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        name = self.open_session(key, at_ms=self.now_ms)
        self.sessions[name] |= {"metadata": properties.metadata, "create_only": create_only}
        return {"id": name}

    def put_part(self, session: dict[str, Any], number: int, body: Body) -> Receipt:
        data = body.open().read()
        self._session(session)["parts"][number] = data
        checksum = crc32c_text(crc32c(data)) if self.proves_parts else ""
        return Receipt(number, len(data), f"etag-{number}", checksum)

    def complete(self, session: dict[str, Any], receipts: list[Receipt]) -> ObjectInfo:
        found = self._session(session)
        if found["create_only"] and found["key"] in self.objects:
            raise ObjectExists("There is an object at this key.")
        data = b"".join(found["parts"][one.number] for one in sorted(receipts, key=lambda one: one.number))
        self.objects[found["key"]] = (data, found["metadata"])
        del self.sessions[session["id"]]
        return self._info(found["key"])

    def abort(self, session: dict[str, Any]) -> None:
        self.sessions.pop(session["id"], None)

    def stat(self, key: str) -> ObjectInfo | None:
        return self._info(key) if key in self.objects else None

    def put_whole(self, key: str, body: Body, *, properties: Properties, create_only: bool = False) -> ObjectInfo:
        if create_only and key in self.objects:
            raise ObjectExists("There is an object at this key.")
        self.objects[key] = (body.open().read(), properties.metadata)
        return self._info(key)

    def list_parts(self, session: dict[str, Any]) -> list[Receipt]:
        return [Receipt(number, len(data)) for number, data in self._session(session)["parts"].items()]

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        return [
            SessionInfo(one["key"], name, one["at"], {"id": name})
            for name, one in self.sessions.items()
            if one["key"].startswith(prefix)
        ]

    def read_back(self, key: str, size: int) -> int:
        data, _ = self.objects[key]
        if len(data) != size:
            raise IntegrityError("Reading back gave another size.")
        return crc32c(data)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def choose(self, key: str, url: str) -> None:
        """Not the store's: the ledger's."""
        self.chosen = (key, url)

    # -- how

    def _session(self, session: dict[str, Any]) -> dict[str, Any]:
        if session["id"] not in self.sessions:
            raise SessionLost("There is no such session.")
        return self.sessions[session["id"]]

    def _info(self, key: str) -> ObjectInfo:
        data, metadata = self.objects[key]
        return ObjectInfo(
            key=key, size=len(data), etag=f"etag of {key}", checksum=crc32c_text(crc32c(data)) if self.tells else None,
            metadata=metadata if self.keeps_metadata else {}, size_is_enough=self.by_size,
        )  # fmt: skip


@dataclass
class Bytes:
    """A source in memory. `knows` whether its checksum is known without reading it, `sound` whether it is intact."""

    data: bytes = DATA
    knows: bool = True
    sound: bool = True
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def crc32c(self) -> int | None:
        return crc32c(self.data) if self.knows else None

    def body(self, offset: int, size: int) -> BytesBody:
        return BytesBody(self.data[offset : offset + size])

    def intact(self, offset: int, size: int) -> bool:
        self.asked.append((offset, size))
        return self.sound


def lease_of(step: str, number: int = 0, **changes: Any) -> Lease:
    """A lease of job 1, whose file is DATA: three parts of 16 bytes, the last one shorter."""
    options = {name: changes.pop(name) for name in ("on_conflict", "metadata") if name in changes}
    held = Lease(
        transfer=tid(), mint=1, fence="f", step=step, number=number, attempt=1, session=None, ending="",
        lost_begin=False, intent_ms=NOON_MS, destination="media", key="a/b.tar", url="memory://media/a/b.tar",
        fingerprint="f", part_size=PART, total=3, unproved=0, run=1, spec=spec_of(**options), size=len(DATA), crc32c="",
        failing_since_ms=0, now_ms=NOON_MS,
    )  # fmt: skip
    return held._replace(**changes)


def work_of(
    held: Lease,
    *,
    source: Any = None,
    capabilities: Capabilities = ALL,
    abilities: frozenset[str] = EVERYTHING,
    receipts: dict[int, bytes] | None = None,
) -> Work:
    return Work(
        lease=held, source=source or Bytes(), capabilities=capabilities, abilities=abilities, receipts=receipts or {},
        url_of="memory://media/{}".format,
    )  # fmt: skip


def drive(step: Step, shelf: Shelf) -> Outcome:
    """What a step comes to on this shelf."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            call = step.throw(error) if error is not None else step.send(answer)
        except StopIteration as finished:
            outcome: Outcome = finished.value
            return outcome
        answer = error = None
        try:
            answer = shelf.do(call)
        except BackendError as failure:
            error = failure


def receipts_of(data: bytes = DATA) -> dict[int, bytes]:
    """The receipts of all parts, as the ledger keeps them."""
    return {
        number: pack_receipt(f"etag-{number}", "", crc32c(data[at : at + PART]), 1)
        for number, at in enumerate(range(0, len(data), PART), start=1)
    }


def sent(shelf: Shelf, key: str = "a/b.tar", *, data: bytes = DATA, job: str | None = None) -> dict[str, Any]:
    """A session in which every part has landed."""
    session = shelf.begin(
        key, size=len(data), part_size=PART, properties=Properties(metadata={JOB_MARK: job or job_id()})
    )
    for number, at in enumerate(range(0, len(data), PART), start=1):
        shelf.put_part(session, number, BytesBody(data[at : at + PART]))
    return msgspec.json.decode(msgspec.json.encode(session))
