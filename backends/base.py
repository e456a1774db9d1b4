"""The contract between the engine and a storage backend: six verbs, some abilities, and numbers.

A backend subclasses nothing; it fits `Backend`. What it can do beyond the six verbs is a method of one of the ability
protocols, found with `isinstance`. What is not a method is a number or a claim in `Capabilities`.

Backends are synchronous, and are called from many threads at once. `begin`, each `put_part` and `complete` of one
object usually happen in different processes: all they share is the session and the receipts, which are JSON-able.
A backend does not retry: it raises a `BackendError` that says whether retrying helps, and the engine decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeAlias, runtime_checkable

import msgspec

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Session: TypeAlias = dict[str, JSON]
"""An open multipart upload. Only the backend that made it looks inside; it survives JSON and other processes, and is
kept in the ledger: it holds no secret."""


class Body(Protocol):
    """The bytes of one part or one whole object. They can be read any number of times, each time from the start."""

    @property
    def size(self) -> int:
        """The exact number of bytes that a reader yields."""

    @property
    def crc32c(self) -> int | None:
        """The CRC32C of exactly these bytes as computed when they were received, or None when it is not known."""

    def open(self) -> BinaryIO:
        """A new reader at the start of the body, which ends at its end; the caller closes it.

        It offers read, readinto, seek and tell. If the source cannot deliver `size` bytes, it raises `ShortBody`.
        """

    def file(self) -> tuple[Path, int] | None:
        """The file and the offset where these bytes are, for senders that can use a file directly."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend can do that is not a method. A destination may narrow these values, never widen them."""

    min_part: int = 1
    """Every part but the last has at least this many bytes."""
    max_part: int = 5 * GIB
    part_multiple: int = 1
    """The size of every part but the last is a multiple of this."""
    uniform_parts: bool = False
    """All parts but the last must have the same size."""
    max_parts: int = 10_000
    max_object: int = 5 * TIB
    parallel_parts: bool = True
    """Parts may be sent at the same time and in any order; otherwise one by one from the first."""
    checksums: tuple[str, ...] = ()
    """Names of the checksums that the store itself verifies or computes, best first: "crc32c", "sha256"."""
    create_only: bool = False
    """`create_only=True` is honoured, and of two racing creators exactly one wins."""
    metadata: bool = False
    """The content type and the user metadata are kept, and `stat` tells them."""
    properties: tuple[str, ...] = ()
    """Names of the further fields of `Properties` that are acted on; the rest cannot be asked for."""
    invisible: bool = True
    """Nothing can be seen at the key before `complete` or `put_whole` succeeds."""
    aborts: bool = True
    """`abort` frees what the session holds, and ends it. Otherwise it does nothing, and the provider frees it later."""
    parallel_sessions: bool = True
    """Two sessions of one key live side by side. Otherwise completing one loses the other, with `SessionLost`."""
    any_process: bool = True
    """Sessions, receipts and objects of one process are known in every other."""


class Properties(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an object is stored with beside its bytes. A field that is unset is None or empty."""

    content_type: str | None = None
    metadata: dict[str, str] = {}
    """The user's own names and values. Names are lower case, and of letters, digits, `-`, `_` and `.`."""
    content_disposition: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    """The provider's own word, such as `STANDARD_IA`, `NEARLINE` or `Cool`."""
    acl: str | None = None
    """The provider's own word for a canned access list, such as `public-read`."""
    encryption: str | None = None
    """The provider's own word for encryption at rest, such as `AES256`, `aws:kms` or `aws:kms:KEY`."""
    tags: dict[str, str] = {}

    def over(self, defaults: Properties) -> Properties:
        """These properties, and those of `defaults` where these are unset; metadata and tags of both."""
        own = {name: value for name, value in msgspec.structs.asdict(self).items() if value}
        joined = {name: {**getattr(defaults, name), **own.get(name, {})} for name in ("metadata", "tags")}
        return msgspec.structs.replace(defaults, **{**own, **joined})


#: The fields of `Properties` that a backend has to name in its capabilities, when it keeps them.
FURTHER_PROPERTIES = ("content_disposition", "cache_control", "storage_class", "acl", "encryption", "tags")


def further(properties: Properties) -> dict[str, JSON]:
    """Those of the further properties that are set, by name: what `ObjectInfo.properties` tells of them."""
    found = {name: getattr(properties, name) for name in FURTHER_PROPERTIES}
    return {name: value for name, value in found.items() if value}


class Receipt(msgspec.Struct, frozen=True):
    """What the provider said about one stored part."""

    number: int
    size: int
    etag: str = ""
    checksum: str = ""
    """For example `crc32c:yZRlqg==` (`checksums.crc32c_text`), as told or confirmed by the provider; else empty."""


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stored object, as its provider describes it now."""

    key: str
    size: int
    etag: str | None = None
    version: str | None = None
    checksum: str | None = None
    """Of the whole object (`crc32c:…` or `sha256:<hex>`, in no other spelling), when the provider tells one."""
    read_back: bool = False
    """The provider tells no checksum: this one was computed by reading back what is stored."""
    size_is_enough: bool = False
    """Whoever set the destination up wants no more compared than the size: nobody reads back to verify."""
    content_type: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    properties: dict[str, JSON] = msgspec.field(default_factory=dict)
    """Further properties by name, as far as the provider tells them; what is not told may be set all the same."""


class SessionInfo(msgspec.Struct, frozen=True):
    """One open session, as found at the provider. `session` is what `abort` takes."""

    key: str
    id: str
    started_at_ms: int | None
    session: Session


class Backend(Protocol):
    """Where objects go. Every method may be called from many threads, and raises nothing but `BackendError`.

    Keys are opaque text and are stored byte for byte; a key that the store cannot hold is an `InvalidRequest`, also one
    that is no valid Unicode. A part may have `max_part` bytes, and each thread sends one: they are not held in memory.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def begin(
        self,
        key: str,
        *,
        size: int,
        part_size: int,
        properties: Properties,
        create_only: bool = False,
    ) -> Session:
        """Open a multipart upload of `size` bytes, of which part n starts at `(n - 1) * part_size`.

        An empty object has one empty part.
        With `create_only`, an existing object may be refused here or at `complete`, with `ObjectExists`. Two sessions
        for one key live side by side, where `capabilities.parallel_sessions` says so; the last `complete` wins.
        """

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        """Store part `number`, counted from 1. The same number again replaces it.

        When this returns, the part survives a crash of this process. When it raises, the part may or may not be
        stored. A body that ends early is a `ShortBody`; where `capabilities.checksums` names crc32c, a body whose bytes
        do not match its CRC32C is an `IntegrityError`.
        """

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        """Make the object visible from the parts of `receipts`, given in any order, all at once or not at all.

        After a crash it may be called again for a session that was completed: it then either succeeds again or raises
        `SessionLost`. Missing or wrong receipts raise `InvalidRequest` or `IntegrityError`, and nothing is visible.
        """

    def abort(self, session: Session) -> None:
        """Give up the session and free what it holds, where `capabilities.aborts` says so. A session that is gone
        already is no error.
        """

    def stat(self, key: str) -> ObjectInfo | None:
        """The object at `key`, or None if there is none."""

    def close(self) -> None:
        """Free connections and threads. May be called twice; the backend is not used afterwards."""


@runtime_checkable
class PutsWhole(Protocol):
    """Stores an object of one part with one call, without a session. `backends.whole` is for stores that do no more."""

    def put_whole(
        self,
        key: str,
        body: Body,
        *,
        properties: Properties,
        create_only: bool = False,
    ) -> ObjectInfo:
        """Store `body` at `key`, visible all at once or not at all. Repeating it is harmless, but for `create_only`."""


@runtime_checkable
class ListsParts(Protocol):
    """Knows which parts of a session have landed."""

    def list_parts(self, session: Session) -> list[Receipt]:
        """The receipts of all stored parts, by number."""


@runtime_checkable
class ListsSessions(Protocol):
    """Knows which sessions are open."""

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        """The open sessions whose key starts with `prefix`."""


@runtime_checkable
class ReadsRanges(Protocol):
    """Reads objects back, to verify or to copy them."""

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes from `offset`, in blocks of at most 1 MiB; raises if the object has fewer."""


@runtime_checkable
class DeletesObjects(Protocol):
    def delete(self, key: str) -> None:
        """Remove the object at `key`. An object that is not there is no error."""


@runtime_checkable
class Presigns(Protocol):
    """Makes addresses that need no credentials."""

    def presign(self, key: str, *, expires_seconds: int) -> str:
        """Where anybody can GET the object at `key` until the time is over. It is a secret: never log or keep it."""


@runtime_checkable
class CopiesServerSide(Protocol):
    """Makes an object from another of the same provider, whose bytes do not pass through here."""

    def can_copy_from(self, other: Backend) -> bool:
        """Whether objects of `other` (a backend built in this process) are within this provider's own reach."""

    def copy_from(
        self, other: Backend, source: str, key: str, *, properties: Properties, create_only: bool = False
    ) -> ObjectInfo:
        """Make the object `key` from the object `source` of `other`, all at once or not at all; `properties` are its
        own. A source that is not there is an `InvalidRequest`.
        """


@runtime_checkable
class ChecksObjects(Protocol):
    """A plug-in that knows what its provider would refuse, so that a submission is refused instead of a transfer."""

    def object_faults(self, options: Any, key: str, properties: Properties) -> Iterator[tuple[str, str]]:
        """(name of the option, what is wrong with it) for the key and each property. No I/O and no SDK."""


@runtime_checkable
class HasEndpoint(Protocol):
    """A plug-in whose backend talks to a server. The conformance suite puts other servers in its place."""

    endpoint: ClassVar[str]
    """The option that says where the server is: `scheme://host[:port]/…`, or `host[:port]`, or a host beside `port`."""


class Plugin(Protocol):
    """What an entry point of the group `bucketline.backends` names: one kind of backend, before any SDK is imported.

    The entry point's value is a class without constructor arguments that fits this protocol.
    """

    name: ClassVar[str]
    """The word in `backend = "…"`; the same as the entry point's name."""
    Options: ClassVar[type[msgspec.Struct]]
    """The keys of a destination's table that belong to this backend. A field of type `Path` is relative to the file."""
    secrets: ClassVar[frozenset[str]]
    """The options whose values are never shown, stored or hashed."""

    def capabilities(self, options: Any) -> Capabilities:
        """What the backend built from `options` would claim, without importing its SDK."""

    def url(self, options: Any, key: str) -> str:
        """The address to show for an object, such as `s3://bucket/key`. It opens nothing and holds no secret."""

    def build(self, options: Any) -> Backend:
        """Make the backend, in the process that will use it; here the SDK is imported."""
