"""The backend under test, with the few things that checks do over and over again."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from secrets import token_hex
from threading import Barrier, Thread
from typing import Any, TypeVar, cast

import msgspec
import pytest

from backends import checksums, parts
from backends.base import (
    KIB,
    Backend,
    Capabilities,
    DeletesObjects,
    ObjectInfo,
    Properties,
    PutsWhole,
    ReadsRanges,
    Receipt,
    Session,
)
from backends.body import BytesBody
from backends.conformance import wrong
from backends.errors import BackendError
from backends.registry import Destination

Ability = TypeVar("Ability")
Answer = TypeVar("Answer")


def assert_checksum(told: str | None, data: bytes, whose: str) -> None:
    """What a backend tells is the checksum of these bytes, in a spelling that the engine knows; or it tells nothing."""
    known = (checksums.crc32c_text(checksums.crc32c(data)), f"sha256:{hashlib.sha256(data).hexdigest()}")
    if not told or told in known:
        return
    kind = told.partition(":")[0]
    right = next((text for text in known if text.startswith(f"{kind}:")), None)
    assert right, f"{whose} checksum is spelt crc32c:<base64 of 4 bytes> or sha256:<hex digits>, not {told!r}"
    assert told == right, f"{whose} checksum is wrong"


class Subject:
    """A built backend whose traces are removed at the end of a `with` block.

    `look` reads an object behind the backend's back, where a test can: two faults in one backend then cannot hide each
    other. Without it, objects are read back through the backend. `refused` is the same destination with credentials
    that are not accepted; without it, one is made from the secrets of `destination`.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        backend: Backend | None = None,
        look: Callable[[str], bytes] | None = None,
        refused: Destination | None = None,
    ) -> None:
        self.destination = destination
        self.capabilities: Capabilities = destination.capabilities
        self.backend = backend or destination.build()
        self._look = look
        self._refused = refused
        self._folder = destination.full_key(f"conformance/{token_hex(4)}")
        self._random = random.Random(self._folder)
        self._keys: list[str] = []
        self._sessions: list[Session] = []

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for session in self._sessions:
                self.backend.abort(session)
            if isinstance(self.backend, DeletesObjects):
                for key in self._keys:
                    self.tolerate(self.backend.delete, key)
        finally:
            self.backend.close()

    @property
    def part_size(self) -> int:
        """The smallest part that is legal here and not tiny."""
        return self.rounded(max(self.capabilities.min_part, KIB))

    def rounded(self, size: int) -> int:
        """`size` rounded up to what a part's size must be a multiple of."""
        multiple = self.capabilities.part_multiple
        return -(-size // multiple) * multiple

    def key(self, name: str = "object") -> str:
        """A key nobody else uses, removed at the end."""
        return self.remember(f"{self._folder}/{len(self._keys)}/{name}")

    def remember(self, key: str) -> str:
        """Remove the object at `key` at the end."""
        self._keys.append(key)
        return key

    def data(self, size: int | None = None) -> bytes:
        """Bytes by chance; two and a half parts of them where so many are allowed, unless told otherwise."""
        usual = min(self.part_size * 5 // 2, self.part_size * self.capabilities.max_parts)
        return self._random.randbytes(usual if size is None else size)

    def numbers(self, data: bytes) -> list[int]:
        """The numbers of the parts that `data` is cut into."""
        return list(range(1, parts.count(len(data), self.part_size) + 1))

    def begin(self, key: str, size: int, *, part_size: int | None = None, **options: Any) -> Session:
        """A session as another process would get it: through JSON. Skips the check if it would need too many parts."""
        most, needed = self.capabilities.max_parts, parts.count(size, part_size or self.part_size)
        if needed > most:
            pytest.skip(
                f"this destination takes at most {most} part{'s' if most > 1 else ''}, the check sends {needed}"
            )
        known = {"properties": Properties(), **options}
        session = self.backend.begin(key, size=size, part_size=part_size or self.part_size, **known)
        copied: Session = json.loads(json.dumps(session))
        self._sessions.append(copied)
        return copied

    def send(self, session: Session, data: bytes, numbers: Iterable[int] | None = None) -> list[Receipt]:
        """Send these parts of `data` (all of them, by default), in this order; the receipts went through JSON."""
        wanted = self.numbers(data) if numbers is None else numbers
        return [self.send_part(session, data, number) for number in wanted]

    def send_part(self, session: Session, data: bytes, number: int) -> Receipt:
        """Send part `number` of `data`."""
        return self.put(session, number, data[(number - 1) * self.part_size : number * self.part_size])

    def put(self, session: Session, number: int, data: bytes) -> Receipt:
        """Send `data` as part `number`."""
        receipt = self.backend.put_part(json.loads(json.dumps(session)), number, BytesBody(data))
        assert (receipt.number, receipt.size) == (number, len(data)), "the receipt is not for the part that was sent"
        assert_checksum(receipt.checksum, data, "the receipt's")
        return msgspec.json.decode(msgspec.json.encode(receipt), type=Receipt)

    def store(self, key: str, data: bytes, **options: Any) -> ObjectInfo:
        """Store `data` at `key` in parts."""
        session = self.begin(key, len(data), **options)
        return self.backend.complete(session, self.send(session, data))

    def put_whole(self, key: str, data: bytes, **options: Any) -> ObjectInfo:
        known = {"properties": Properties(), **options}
        return self.able(PutsWhole).put_whole(key, BytesBody(data), **known)

    def keep(self, key: str, data: bytes) -> ObjectInfo:
        """Store a few bytes in the cheapest way that the backend has."""
        return self.put_whole(key, data) if isinstance(self.backend, PutsWhole) else self.store(key, data)

    def assert_holds(self, key: str, data: bytes) -> None:
        """The object is there, byte for byte, and described as it is."""
        info = self.backend.stat(key)
        assert info is not None, "there is no object"
        assert (info.key, info.size) == (key, len(data)), "the object is described wrongly"
        assert_checksum(info.checksum, data, "the object's")
        if self._look is not None:
            assert self._look(key) == data, "other bytes are stored than were sent"
        elif isinstance(self.backend, ReadsRanges):
            assert b"".join(self.backend.read_range(key, 0, info.size)) == data, "other bytes are read than were sent"

    def assert_nothing_at(self, key: str) -> None:
        assert self.backend.stat(key) is None, "something is visible at the key"

    def refusal(self, call: Callable[..., object], *arguments: Any, **options: Any) -> BackendError:
        """The error with which the backend refuses the call; anything but a BackendError is a failure."""
        with pytest.raises(BackendError) as raised:
            call(*arguments, **options)
        return raised.value

    def refusal_within(self, seconds: float, call: Callable[[], object]) -> BackendError:
        """The same, of a call that must not take longer. One that does is left behind in a thread."""
        answers: list[object] = []

        def run() -> None:
            try:
                answers.append(call())
            except BaseException as error:
                answers.append(error)

        thread = Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        assert answers, f"the call did not end within {seconds:g} s"
        assert isinstance(answers[0], BackendError), f"the call was not refused, but gave {answers[0]!r}"
        return answers[0]

    def tolerate(self, call: Callable[..., Answer], *arguments: Any, **options: Any) -> Answer | BackendError:
        """The answer of a call that may work or be refused."""
        try:
            return call(*arguments, **options)
        except BackendError as error:
            return error

    def at_once(self, *calls: Callable[[], Answer]) -> list[Answer | BackendError]:
        """The answers, or refusals, of calls that threads start at the same moment."""
        start = Barrier(len(calls))

        def run(call: Callable[[], Answer]) -> Answer | BackendError:
            start.wait()
            return self.tolerate(call)

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(run, calls))

    @contextmanager
    def built(self, destination: Destination) -> Iterator[Backend]:
        """A backend of another destination, which is closed at the end of the block."""
        backend = destination.build()
        try:
            yield backend
        finally:
            backend.close()

    def denied(self) -> Destination:
        """The same destination with credentials that are refused; skips the check where there can be none."""
        return self._refused or wrong.denied(self.destination)

    def able(self, ability: Callable[..., Ability]) -> Ability:
        """The backend, if it has this ability (one of the protocols of `backends.base`); skips the check otherwise."""
        if not isinstance(self.backend, cast(type, ability)):
            pytest.skip(f"this backend has no {getattr(ability, '__name__', ability)}")
        return cast(Ability, self.backend)

    def needs(self, capability: str) -> None:
        """Skip the check unless the destination claims this capability."""
        if not getattr(self.capabilities, capability):
            pytest.skip(f"this destination does not claim {capability}")
