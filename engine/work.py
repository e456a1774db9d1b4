"""What a step of a transfer works with, and what can come of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from backends.base import Backend, Body, Capabilities, ObjectInfo, Properties
from engine.models import Sidecar, TransferPlan
from engine.records import Lease

JOB_MARK = "bucketline-job"
"""The metadata key under which every object carries its job's id: how an unclear answer is resolved by `stat`."""


class Call(NamedTuple):
    """One call on the backend: a verb of `backends.base`, or `read_back` (key, size), which answers the CRC32C of what
    is stored.
    """

    verb: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Source(Protocol):
    """The bytes of a job, wherever they are."""

    @property
    def crc32c(self) -> int | None:
        """Of the whole file as accepted; None when nobody has read it whole."""

    def body(self, offset: int, size: int) -> Body: ...

    def intact(self, offset: int, size: int) -> bool:
        """Whether these bytes are still those that were accepted, as far as that can be known."""


@runtime_checkable
class ReadsThrough(Protocol):
    """A source that nobody has read whole. It can be summed without keeping it."""

    def read_through(self) -> int:
        """The CRC32C of the whole, which is `crc32c` from then on."""


@dataclass(frozen=True, slots=True)
class Work:
    """A lease with what is needed to act on it. `abilities` are the names of the ability protocols that the backend
    fits.
    """

    lease: Lease
    source: Source
    capabilities: Capabilities
    abilities: frozenset[str]
    url_of: Callable[[str], str]
    receipts: dict[int, bytes]
    defaults: Properties = field(default_factory=Properties)
    """The destination's own properties for its objects."""
    copies: tuple[Backend, str] | None = None
    """The backend and the key from which the destination can copy the source by itself."""

    @property
    def properties(self) -> Properties:
        """Of the object: the job's own, where it has none those of the destination, and our mark."""
        mark = Properties(metadata={JOB_MARK: self.lease.job})
        return mark.over(self.lease.spec.properties.over(self.defaults))

    def carries_mark(self, info: ObjectInfo) -> bool:
        """Whether this job made the object, as far as its store keeps metadata."""
        return self.capabilities.metadata and info.metadata.get(JOB_MARK) == self.lease.job

    def size_of(self, number: int) -> int:
        """How many bytes part `number` (from 1) has."""
        return min(self.lease.part_size, self.lease.size - (number - 1) * self.lease.part_size)

    @property
    def create_only(self) -> bool:
        return self.lease.spec.on_conflict in ("fail", "rename") and self.capabilities.create_only


class Begun(NamedTuple):
    """A session is open. `key` and `url` when on_conflict chose another key."""

    session: dict[str, Any]
    key: str = ""
    url: str = ""


class Recorded(NamedTuple):
    """A part is stored. `proved`: its provider confirmed the checksum."""

    size: int
    packed: bytes
    proved: bool


class Settled(NamedTuple):
    """The object is there, complete and verified in the way that `verified_by` names."""

    info: ObjectInfo
    checksum: str
    verified_by: str
    crc32c: str
    key: str = ""
    url: str = ""


class Ended(NamedTuple):
    """Nothing of the transfer is left at its provider."""


class Redefined(NamedTuple):
    """The destination is defined anew: the transfer begins again by this plan."""

    plan: TransferPlan


class Seen(NamedTuple):
    """The source was looked at: `sidecar` says what the job is now. The transfers `numbers` begin by it."""

    sidecar: Sidecar
    numbers: tuple[int, ...]


Outcome = Begun | Recorded | Settled | Ended | Redefined | Seen
Step = Generator[Call, Any, Outcome]
