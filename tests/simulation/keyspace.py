"""The values a Redis server holds, in plain Python: types, expiry, and cheap snapshots of the whole.

A snapshot copies one dictionary of references. Values are copied on the first write after a snapshot, so rolling the
server back to an earlier moment, which the simulation does often, costs what changed since and not what is stored.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

StreamId = tuple[int, int]


class ReplyError(Exception):
    """An error reply, with the text a client would see (`WRONGTYPE …`, `ERR …`)."""


class Hash(dict[bytes, bytes]):
    """Field → value, in the order of insertion like a small hash in Redis."""

    def copy(self) -> Hash:
        return Hash(self)


class Set(dict[bytes, None]):
    """Members as keys, so that the order is that of insertion and not that of Python's hash seed."""

    def copy(self) -> Set:
        return Set(self)


class List(list[bytes]):
    def copy(self) -> List:
        return List(self)


class String(bytes):
    """A string value; immutable, so a copy is the value itself."""

    def copy(self) -> String:
        return self


@dataclass(slots=True)
class SortedSet:
    """Scores by member, and the (score, member) pairs in Redis's order."""

    scores: dict[bytes, float] = field(default_factory=dict)
    order: list[tuple[float, bytes]] = field(default_factory=list)

    def copy(self) -> SortedSet:
        return SortedSet(self.scores.copy(), self.order.copy())

    def __len__(self) -> int:
        return len(self.order)

    def put(self, member: bytes, score: float) -> None:
        self.discard(member)
        self.scores[member] = score
        insort(self.order, (score, member))

    def discard(self, member: bytes) -> bool:
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self.order[bisect_left(self.order, (score, member))]
        return True

    def rank(self, member: bytes) -> int | None:
        score = self.scores.get(member)
        return None if score is None else bisect_left(self.order, (score, member))


@dataclass(slots=True)
class Stream:
    """Entries (id, field, value, field, …) by rising id; the last id survives trimming."""

    entries: list[tuple[StreamId, tuple[bytes, ...]]] = field(default_factory=list)
    last: StreamId = (0, 0)

    def copy(self) -> Stream:
        return Stream(self.entries.copy(), self.last)

    def __len__(self) -> int:
        return len(self.entries)


Value = String | Hash | Set | List | SortedSet | Stream
V = TypeVar("V", String, Hash, Set, List, SortedSet, Stream)

TYPE_NAMES: dict[type, bytes] = {
    String: b"string",
    Hash: b"hash",
    Set: b"set",
    List: b"list",
    SortedSet: b"zset",
    Stream: b"stream",
}
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a keyspace held at one moment; give it back to `Keyspace.restore`."""

    values: dict[bytes, Value]
    deadlines: dict[bytes, int]


class Keyspace:
    """All keys of one database. `now_us` is the clock: it is set from outside and never moves by itself."""

    def __init__(self) -> None:
        self.now_us = 0
        self._values: dict[bytes, Value] = {}
        self._deadlines: dict[bytes, int] = {}
        self._owned: set[bytes] = set()

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    # -- reading and writing values

    def find(self, key: bytes) -> Value | None:
        """The value at `key` of whatever type, or None."""
        if self._deadlines:
            deadline = self._deadlines.get(key)
            if deadline is not None and deadline <= self.now_us // 1000:
                self.remove(key)
        return self._values.get(key)

    def read(self, key: bytes, kind: type[V]) -> V | None:
        """The value at `key` for reading only; raises WRONGTYPE when it is of another type."""
        value = self.find(key)
        if value is None:
            return None
        if value.__class__ is not kind:
            raise ReplyError(WRONG_TYPE)
        return value

    def write(self, key: bytes, kind: type[V]) -> V:
        """The value at `key` for changing, made when absent; raises WRONGTYPE."""
        value = self.read(key, kind)
        if value is None:
            value = kind()
        elif key in self._owned:
            return value
        else:
            value = value.copy()
        self._values[key] = value
        self._owned.add(key)
        return value

    def assign(self, key: bytes, value: bytes, *, keep_deadline: bool = False) -> None:
        """Make `key` this string, whatever it was."""
        self._values[key] = String(value)
        self._owned.add(key)
        if not keep_deadline:
            self._deadlines.pop(key, None)

    def remove(self, key: bytes) -> bool:
        self._deadlines.pop(key, None)
        return self._values.pop(key, None) is not None

    def remove_if_empty(self, key: bytes) -> None:
        """Redis keeps no empty hash, set, list or sorted set."""
        value = self._values.get(key)
        if value is not None and not len(value):
            self.remove(key)

    def rename(self, old: bytes, new: bytes) -> None:
        deadline = self._deadlines.pop(old, None)
        self._values[new] = self._values.pop(old)
        self._owned.discard(new)
        self._deadlines.pop(new, None)
        if deadline is not None:
            self._deadlines[new] = deadline

    # -- expiry

    def deadline(self, key: bytes) -> int | None:
        return self._deadlines.get(key)

    def expire_at(self, key: bytes, deadline_ms: int) -> None:
        if deadline_ms <= self.now_ms:
            self.remove(key)
        else:
            self._deadlines[key] = deadline_ms

    def persist(self, key: bytes) -> bool:
        return self._deadlines.pop(key, None) is not None

    # -- the whole

    def __iter__(self) -> Iterator[bytes]:
        """The keys that have not expired."""
        for key in list(self._values):
            if self.find(key) is not None:
                yield key

    def clear(self) -> None:
        self._values.clear()
        self._deadlines.clear()
        self._owned.clear()

    def snapshot(self) -> Snapshot:
        self._owned.clear()
        return Snapshot(self._values.copy(), self._deadlines.copy())

    def restore(self, snapshot: Snapshot) -> None:
        self._values = snapshot.values.copy()
        self._deadlines = snapshot.deadlines.copy()
        self._owned.clear()
