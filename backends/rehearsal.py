"""Wraps a backend so that it fails as networks and providers do, to rehearse a bad day on any destination.

    [destinations.archive]
    …
    faults = { error_rate = 0.1, latency_seconds = 0.2, seed = 7 }

Nothing else changes: the wrapped backend has the abilities of the one inside, and stores for real.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import msgspec

from backends import errors
from backends.base import Backend, Body, Capabilities
from backends.body import ReaderAround
from backends.errors import BY_CODE
from backends.ordered_faults import meet_order

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

VERBS = (
    "begin", "put_part", "complete", "abort", "stat", "put_whole", "list_parts", "list_sessions", "read_range",
    "delete", "presign", "can_copy_from", "copy_from",
)  # fmt: skip
_UNTOUCHED = frozenset({"can_copy_from"})


class RehearsalFaults(msgspec.Struct, frozen=True, kw_only=True):
    """How often what goes wrong; rates are shares of all calls between 0 and 1, sizes are bytes."""

    error_rate: float = 0.0
    """Calls that fail before they have any effect, with `error`."""
    lost_rate: float = 0.0
    """Calls that have their effect, and whose answer is lost."""
    error: str = "unavailable"
    retry_after: float | None = None
    """Seconds that such an error asks to wait."""
    latency_seconds: float = 0.0
    """How much longer every call takes."""
    throttle: int | None = None
    """Bytes per second that one part or file is sent with at most."""
    cut_rate: float = 0.0
    """Parts and files whose connection breaks after `cut_at` bytes."""
    cut_at: int = 0
    corrupt_rate: float = 0.0
    """Parts and files that reach the provider with one bit changed, in a way that it cannot notice itself."""
    orders: Path | None = None
    """A directory of failures that are ordered one by one (`backends.ordered_faults`); for tests of applications."""
    seed: int | None = None
    """Makes the choice of calls repeatable, where they come in the same order."""

    def __post_init__(self) -> None:
        for name in ("error_rate", "lost_rate", "cut_rate", "corrupt_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1")
        if self.error not in BY_CODE:
            raise ValueError(f"error is one of {', '.join(sorted(BY_CODE))}")
        if self.latency_seconds < 0 or self.cut_at < 0 or (self.throttle is not None and self.throttle < 1):
            raise ValueError("times and sizes are positive")


def rehearse(backend: Backend, faults: RehearsalFaults, sleep: Callable[[float], None] = time.sleep) -> Backend:
    """The backend inside a wrapper that has exactly its abilities."""
    verbs = {verb: _verb(verb) for verb in VERBS if callable(getattr(backend, verb, None))}
    made: Backend = type("Rehearsed", (_Rehearsed,), verbs)(backend, faults, sleep)
    return made


def _verb(name: str) -> Callable[..., Any]:
    def call(self: _Rehearsed, *arguments: Any, **options: Any) -> Any:
        return self.meet(name, arguments, options)

    call.__name__ = name
    return call


class _Rehearsed:
    def __init__(self, inside: Backend, faults: RehearsalFaults, sleep: Callable[[float], None]) -> None:
        self._inside = inside
        self._faults = faults
        self._sleep = sleep
        self._random = random.Random(faults.seed)
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return self._inside.capabilities

    def close(self) -> None:
        self._inside.close()

    def meet(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """One call, with what happens to it."""
        verb = getattr(self._inside, name)
        arguments = tuple(getattr(one, "_inside", one) for one in arguments)  # a copy knows the other backend itself
        if name in _UNTOUCHED:
            return verb(*arguments, **options)
        if self._faults.latency_seconds:
            self._sleep(self._faults.latency_seconds)
        if self._faults.orders is not None:
            meet_order(self._faults.orders, name, arguments)
        if self._happens(self._faults.error_rate):
            raise self._error(f"The call {name} was made to fail")
        answer = verb(*(self._body(one) if _is_body(one) else one for one in arguments), **options)
        if self._happens(self._faults.lost_rate):
            raise errors.ConnectionFailed(f"The answer of {name} was made to get lost (`faults` of this destination).")
        return answer

    def _error(self, text: str) -> errors.BackendError:
        return BY_CODE[self._faults.error](
            f"{text} (`faults` of this destination).", retry_after=self._faults.retry_after
        )

    def _happens(self, rate: float) -> bool:
        with self._lock:
            return self._random.random() < rate

    def _body(self, body: Body) -> Body:
        cut = self._faults.cut_at if self._happens(self._faults.cut_rate) else None
        corrupt = body.size > 0 and self._happens(self._faults.corrupt_rate)
        if cut is None and not corrupt and self._faults.throttle is None:
            return body
        return _SpoiledBody(body, cut, corrupt, self._faults.throttle, self._sleep)


def _is_body(value: Any) -> bool:
    return hasattr(value, "crc32c") and hasattr(value, "open")


class _SpoiledBody:
    def __init__(
        self, body: Body, cut: int | None, corrupt: bool, throttle: int | None, sleep: Callable[[float], None]
    ) -> None:
        self._body, self._spoils = body, (cut, corrupt, throttle, sleep)
        self.size = body.size
        self.crc32c = None if corrupt else body.crc32c

    def open(self) -> BinaryIO:
        return cast(BinaryIO, _SpoiledReader(self._body.open(), *self._spoils))

    def file(self) -> tuple[Path, int] | None:
        return None  # whoever read the file itself would meet no fault


class _SpoiledReader(ReaderAround):
    def __init__(
        self, reader: BinaryIO, cut: int | None, corrupt: bool, throttle: int | None, sleep: Callable[[float], None]
    ) -> None:
        super().__init__(reader)
        self._cut, self._corrupt, self._throttle, self._sleep = cut, corrupt, throttle, sleep

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        begin = self._reader.tell()
        if self._cut is not None:
            if begin >= self._cut:
                raise errors.ConnectionFailed(f"The connection was made to break at byte {begin}.")
            view = view[: self._cut - begin]
        count = int(self._reader.readinto(view))  # type: ignore[attr-defined]
        if self._corrupt and begin == 0 and count:
            view[0] ^= 1
        if self._throttle:
            self._sleep(count / self._throttle)
        return count
