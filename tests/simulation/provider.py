"""A provider of storage with every habit that hurts: lost answers, late effects, refused calls, flipped bits.

`Provider` is the server side: what it holds survives every crash of ours. `Client` is the backend in one process; each
of its calls is an effect between two moments in which that process may die.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from backends.base import Body, Capabilities, ObjectInfo, Properties, Receipt, SessionInfo
from backends.checksums import crc32c
from backends.errors import (
    BackendError,
    ConnectionFailed,
    IntegrityError,
    InvalidRequest,
    ObjectExists,
    SessionLost,
    Throttled,
    TimedOut,
    Unavailable,
)
from engine.records import crc_text
from tests.simulation.kernel import SECOND, Kernel, Process, Violation

MARK = "bucketline-job"


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider is like; drawn from the seed."""

    metadata: bool = True
    part_checksums: bool = True
    whole_checksum: bool = True
    completes_twice: bool = False
    """A second complete of the same session succeeds again instead of finding no session."""
    in_order: bool = False
    """Takes part n only when it has all before it."""
    abilities: frozenset[str] = frozenset({"PutsWhole", "ListsParts", "ListsSessions", "ReadsRanges", "DeletesObjects"})

    @property
    def recognises(self) -> bool:
        """Whether a client can tell that an object is its own."""
        return self.metadata or "ReadsRanges" in self.abilities

    @property
    def tidy(self) -> bool:
        """Whether a client can also take it away."""
        return self.recognises and "DeletesObjects" in self.abilities

    @property
    def sees_corruption(self) -> bool:
        """Whether anybody can tell that a part was stored with a flipped bit."""
        return self.part_checksums or self.whole_checksum or "ReadsRanges" in self.abilities


@dataclass
class Upload:
    """An open session at the provider."""

    key: str
    properties: Properties
    create_only: bool
    started_ms: int
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Stored:
    """An object at its key."""

    data: bytes
    etag: str
    properties: Properties


class Trouble(msgspec.Struct, kw_only=True):
    """How often what goes wrong, as probabilities per call. All zero once the faults have stopped."""

    refused: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    corrupt: float = 0.0
    slow: float = 0.0
    session_killed: float = 0.0


class Provider:
    """The server side of one destination. `watch` is told of every call as it is sent."""

    def __init__(self, kernel: Kernel, name: str, habits: Habits) -> None:
        self.kernel = kernel
        self.name = name
        self.habits = habits
        self.trouble = self.had = Trouble()
        """What goes wrong now, and what went wrong before the faults stopped."""
        self.uploads: dict[str, Upload] = {}
        self.completed: dict[str, str] = {}
        self.objects: dict[str, Stored] = {}
        self.owners: dict[str, str] = {}
        """The job that opened each session there ever was."""
        self.sent: Callable[[Provider, str, tuple[Any, ...], dict[str, Any]], None] = lambda *_: None
        self._count = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            min_part=1,
            max_part=1 << 20,
            max_parts=1000,
            max_object=1 << 30,
            checksums=("crc32c",) if self.habits.part_checksums else (),
            create_only=True,
            parallel_parts=not self.habits.in_order,
            metadata=self.habits.metadata,
        )

    # -- the verbs, as they take effect

    def begin(
        self,
        key: str,
        *,
        size: int,
        part_size: int,
        properties: Properties,
        create_only: bool = False,
    ) -> dict[str, Any]:
        self._count += 1
        session = f"{self.name}-{self._count}"
        self.owners[session] = properties.metadata[MARK]
        self.uploads[session] = Upload(key, properties, create_only, self.kernel.now_us // 1000)
        return {"id": session, "key": key}

    def put_part(self, session: dict[str, Any], number: int, data: bytes) -> Receipt:
        upload = self._upload(session)
        if self.habits.in_order and not upload.parts.keys() >= set(range(1, number)):
            self.kernel.fail(Violation(f"{self.name} got part {number} before those in front of it"))
        upload.parts[number] = data
        return Receipt(number, len(data), _etag(data), self._checksum(data) if self.habits.part_checksums else "")

    def complete(self, session: dict[str, Any], receipts: list[Receipt]) -> ObjectInfo:
        key = self.completed.get(session["id"])
        if key is not None and self.habits.completes_twice and key in self.objects:
            return self._info(key)
        upload = self._upload(session)
        joined = b""
        for receipt in sorted(receipts, key=lambda receipt: receipt.number):
            data = upload.parts.get(receipt.number)
            if data is None or _etag(data) != receipt.etag:
                raise InvalidRequest(f"part {receipt.number} is not what the receipt says")
            joined += data
        if upload.create_only and upload.key in self.objects:
            raise ObjectExists("the key is taken")
        del self.uploads[session["id"]]
        self.completed[session["id"]] = upload.key
        return self._store(upload.key, joined, upload.properties)

    def abort(self, session: dict[str, Any]) -> None:
        self.uploads.pop(session["id"], None)

    def stat(self, key: str) -> ObjectInfo | None:
        return self._info(key) if key in self.objects else None

    def put_whole(self, key: str, data: bytes, *, properties: Properties, create_only: bool = False) -> ObjectInfo:
        if create_only and key in self.objects:
            raise ObjectExists("the key is taken")
        return self._store(key, data, properties)

    def list_parts(self, session: dict[str, Any]) -> list[Receipt]:
        parts = self._upload(session).parts
        return [Receipt(number, len(data), _etag(data)) for number, data in sorted(parts.items())]

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        return [
            SessionInfo(upload.key, name, upload.started_ms, {"id": name, "key": upload.key})
            for name, upload in self.uploads.items()
            if upload.key.startswith(prefix)
        ]

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        stored = self.objects.get(key)
        if stored is None or offset + size > len(stored.data):
            raise InvalidRequest("there are no such bytes")
        return stored.data[offset : offset + size]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    # -- how

    def _upload(self, session: dict[str, Any]) -> Upload:
        upload = self.uploads.get(session["id"])
        if upload is None:
            raise SessionLost("no such session")
        return upload

    def _store(self, key: str, data: bytes, properties: Properties) -> ObjectInfo:
        self.objects[key] = Stored(data, _etag(data), properties)
        return self._info(key)

    def _info(self, key: str) -> ObjectInfo:
        stored = self.objects[key]
        return ObjectInfo(
            key=key,
            size=len(stored.data),
            etag=stored.etag,
            checksum=self._checksum(stored.data) if self.habits.whole_checksum else None,
            content_type=stored.properties.content_type if self.habits.metadata else None,
            metadata=stored.properties.metadata if self.habits.metadata else {},
        )

    def _checksum(self, data: bytes) -> str:
        return f"crc32c:{crc_text(crc32c(data))}"


def _etag(data: bytes) -> str:
    return f'"{crc32c(data):08x}"'


@dataclass
class _Request:
    """One request under way; `outcome` is what the provider made of it, None before it arrived."""

    outcome: Callable[[], Any] | None = None


class Client:
    """The backend of one process: the six verbs. Classes made by `client_for` add the abilities."""

    def __init__(self, provider: Provider, process: Process) -> None:
        self.provider = provider
        self.process = process
        self.kernel = provider.kernel

    @property
    def capabilities(self) -> Capabilities:
        return self.provider.capabilities

    def begin(self, key: str, **properties: Any) -> dict[str, Any]:
        made: dict[str, Any] = self._request("begin", key, **properties)
        return made

    def put_part(self, session: dict[str, Any], number: int, body: Body) -> Receipt:
        receipt: Receipt = self._request("put_part", session, number, body)
        return receipt

    def complete(self, session: dict[str, Any], receipts: list[Receipt]) -> ObjectInfo:
        info: ObjectInfo = self._request("complete", session, receipts)
        return info

    def abort(self, session: dict[str, Any]) -> None:
        self._request("abort", session)

    def stat(self, key: str) -> ObjectInfo | None:
        info: ObjectInfo | None = self._request("stat", key)
        return info

    def close(self) -> None: ...

    def _request(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request, wait for its answer. Its effect lands in between, or not at all, or much later."""
        kernel, provider, trouble = self.kernel, self.provider, self.provider.trouble
        chance = kernel.random.random
        self.process.count_effect()
        provider.sent(provider, verb, args, kwargs)
        sending = [_read(arg) if hasattr(arg, "crc32c") and hasattr(arg, "open") else arg for arg in args]
        latency = chance() * 0.2 + 0.005
        if chance() < trouble.slow:
            latency += chance() * 40
        if chance() < trouble.refused:
            kernel.sleep(latency)
            raise _refusal(chance())
        if chance() < trouble.session_killed and verb in ("put_part", "complete"):
            provider.abort(args[0])
        refuses = verb == "put_whole" and provider.habits.part_checksums
        flipped = verb in ("put_part", "put_whole") and provider.habits.sees_corruption and chance() < trouble.corrupt
        if flipped and not refuses:
            sending = [_flip(arg) if isinstance(arg, bytes) else arg for arg in sending]
        unanswered = chance() < trouble.unanswered
        # What no client can undo is held to the documented bound: it lands within the shortest lease, or not at all.
        bounded = flipped or verb in ("begin", "put_whole", "delete")
        late = unanswered and not bounded and chance() < trouble.late
        landing = latency + chance() * 20 if late else latency * chance()
        request = _Request()
        kernel.trace(f"{provider.name}.{verb} {_brief(args)}{' (answer lost)' if unanswered else ''}")
        kernel.at(min(landing, 3.0) if bounded else landing, lambda: self._land(request, verb, sending, kwargs))
        kernel.sleep(latency)
        self.process.count_effect()
        if unanswered or request.outcome is None:
            raise TimedOut("no answer in time") if chance() < 0.5 else ConnectionFailed("the connection broke")
        answer = request.outcome()
        if flipped and provider.habits.part_checksums and (verb == "put_whole" or chance() < 0.5):
            raise IntegrityError("the provider refuses what does not match its checksum")
        return answer

    def _land(self, request: _Request, verb: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        if not self.process.alive and self.kernel.random.random() < 0.5:
            return  # the connection died with the process, before all was sent
        try:
            answer = getattr(self.provider, verb)(*args, **kwargs)
        except BackendError as error:
            refused = error

            def outcome() -> Any:
                raise refused

            request.outcome = outcome
        else:
            request.outcome = lambda: answer


class _PutsWhole:
    def put_whole(self: Any, key: str, body: Body, **properties: Any) -> ObjectInfo:
        info: ObjectInfo = self._request("put_whole", key, body, **properties)
        return info


class _ListsParts:
    def list_parts(self: Any, session: dict[str, Any]) -> list[Receipt]:
        found: list[Receipt] = self._request("list_parts", session)
        return found


class _ListsSessions:
    def list_sessions(self: Any, prefix: str = "") -> list[SessionInfo]:
        found: list[SessionInfo] = self._request("list_sessions", prefix)
        return found


class _ReadsRanges:
    def read_range(self: Any, key: str, offset: int, size: int) -> Iterator[bytes]:
        yield self._request("read_range", key, offset, size)


class _DeletesObjects:
    def delete(self: Any, key: str) -> None:
        self._request("delete", key)


_ABILITIES: dict[str, type] = {
    "PutsWhole": _PutsWhole,
    "ListsParts": _ListsParts,
    "ListsSessions": _ListsSessions,
    "ReadsRanges": _ReadsRanges,
    "DeletesObjects": _DeletesObjects,
}
_classes: dict[frozenset[str], type[Client]] = {}


def client_for(provider: Provider, process: Process) -> Client:
    """A client with exactly the abilities of its provider."""
    abilities = provider.habits.abilities
    if abilities not in _classes:
        bases = (Client, *(_ABILITIES[name] for name in sorted(abilities)))
        _classes[abilities] = type("Client", bases, {})
    return _classes[abilities](provider, process)


def _read(body: Body) -> bytes:
    """The bytes of a body; like every backend, refuses those that are not what was received."""
    with body.open() as reader:
        data = reader.read()
    if body.crc32c is not None and crc32c(data) != body.crc32c:
        raise IntegrityError("the body is not what its checksum says")
    return data


def _flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:] if data else data


def _refusal(chance: float) -> BackendError:
    if chance < 0.4:
        return Unavailable("internal error")
    return Throttled("slow down", retry_after=chance * 4) if chance < 0.8 else ConnectionFailed("refused")


def _brief(args: tuple[Any, ...]) -> str:
    words = []
    for arg in args:
        if isinstance(arg, dict):
            words.append(str(arg.get("id")))
        elif isinstance(arg, str | int):
            words.append(str(arg))
        elif isinstance(arg, list):
            words.append(f"{len(arg)} receipts")
    return " ".join(words)


__all__ = ["MARK", "SECOND", "Client", "Habits", "Provider", "Trouble", "client_for"]
