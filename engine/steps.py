"""What a worker does with a lease: each step decides, and yields the calls that a driver makes on the backend.

A step is a generator: it yields `Call`s, receives their results (or has their errors thrown into it), and returns an
outcome that is then written to the ledger. It touches neither network, disk nor clock, so the simulation can crash it
between any two effects.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol, runtime_checkable

from backends.base import Backend, Body, Capabilities, ObjectInfo, Properties, Receipt
from backends.checksums import combine_crc32c
from backends.errors import BackendError, IntegrityError, ObjectExists, SessionLost, TransientError
from engine.errors import SourceCorrupt
from engine.models import Sidecar, TransferPlan
from engine.records import Lease, crc_text, pack_receipt, unpack_receipt

JOB_MARK = "bucketline-job"
"""The metadata key under which every object carries its job's id: how an unclear answer is resolved by `stat`."""

CLOCK_SKEW_MS = 120_000
RENAMES = 1000


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


def step_of(work: Work) -> Step:
    """The generator for the step that the lease names."""
    return {"begin": begin, "whole": whole, "part": part, "complete": complete, "end": end}[work.lease.step](work)


def begin(work: Work) -> Step:
    """Opens a session, or finds that there is nothing to send."""
    held = work.lease
    if held.lost_begin and (info := (yield from _ours(work))) is not None:
        yield from _close_strays(work, all_of_them=True)
        _summed(work)  # an object that was found is not taken for the right one because of its size
        return (yield from _verified(work, info, proved=False))
    key, done = yield from _key_to_write(work)
    if done is not None:
        return done
    session = yield Call(
        "begin",
        (key,),
        {
            "size": held.size,
            "part_size": held.part_size,
            "properties": work.properties,
            "create_only": work.create_only,
        },
    )
    return Begun(session) if key == held.key else Begun(session, key, work.url_of(key))


def part(work: Work) -> Step:
    """Sends one part and compares what the provider says of it with what was sent."""
    held = work.lease
    offset = (held.number - 1) * held.part_size
    size = min(held.part_size, held.size - offset)
    body = work.source.body(offset, size)
    try:
        receipt = yield Call("put_part", (held.session, held.number, body))
        proved = _compare(receipt, body)
    except IntegrityError as error:
        if not work.source.intact(offset, size):
            raise _spoilt(
                work, f"Bytes {offset} to {offset + size - 1} of the source are not those that were accepted."
            ) from error
        raise
    return Recorded(size, pack_receipt(receipt.etag, receipt.checksum, body.crc32c, held.attempt), proved)


def _spoilt(work: Work, detail: str) -> SourceCorrupt:
    """Bytes in our spool are ours to keep; those that stay with their owner were changed by somebody."""
    return SourceCorrupt(detail, code="source_corrupt" if work.lease.spec.source.spooled else "source_changed")


def _compare(receipt: Receipt, body: Body) -> bool:
    if receipt.size != body.size:
        raise IntegrityError(f"The provider reports {receipt.size} bytes for a part of {body.size}.")
    if (
        receipt.checksum.startswith("crc32c:")
        and body.crc32c is not None
        and receipt.checksum != f"crc32c:{crc_text(body.crc32c)}"
    ):
        raise IntegrityError("The provider reports another CRC32C than that of the part that was sent.")
    return bool(receipt.checksum)


def complete(work: Work) -> Step:
    """Joins the parts. An unclear answer is resolved by looking at what is there: completing is not idempotent at most
    providers.
    """
    held = work.lease
    if not _as_accepted(work):
        raise SessionLost("The parts that were sent are not those of the file that was accepted.")
    if held.attempt > 1 and (info := (yield from _ours(work))) is not None:
        yield Call("abort", (held.session,))  # an earlier session may have made the object
        yield from _close_strays(work, all_of_them=True)
        return (yield from _verified_or_removed(work, info))
    try:
        info = yield Call("complete", (held.session, _receipts(work)))
    except (SessionLost, TransientError) as error:
        found = yield from _ours(work, instead=error)
        if found is None:
            raise
        info = found
    except ObjectExists:
        # Refused because the key is taken: by ourselves, when an earlier answer was lost.
        found = yield from _ours(work)
        if found is None and held.spec.on_conflict == "rename":
            raise SessionLost("The chosen key was taken meanwhile; another one will be chosen.") from None
        if found is None:
            raise
        info = found
        yield Call("abort", (held.session,))  # another session of ours made the object
    yield from _close_strays(work, all_of_them=False)
    return (yield from _verified_or_removed(work, info))


def _as_accepted(work: Work) -> bool:
    """Parts may have been sent before the file was there: together they must be what came in the end."""
    return work.source.crc32c is None or _combined(work) in (None, work.source.crc32c)


def whole(work: Work) -> Step:
    """Sends a small file with one call; what an earlier attempt may have stored counts."""
    held = work.lease
    if (held.attempt > 1 or held.lost_begin) and (info := (yield from _ours(work))) is not None:
        yield from _close_strays(work, all_of_them=True)
        if work.copies is not None:
            return (yield from _judged(work, info))
        return (yield from _verified_or_removed(work, info))
    key, done = yield from _key_to_write(work)
    if done is not None:
        return done
    options = {"properties": work.properties, "create_only": work.create_only}
    if work.copies is not None:
        settled = yield from _copied(work, work.copies, key, options)
        return settled if key == held.key else settled._replace(key=key, url=work.url_of(key))
    body = work.source.body(0, held.size)
    try:
        if "PutsWhole" in work.abilities:
            info = yield Call("put_whole", (key, body), options)
        else:
            info = yield from _in_one_go(work, key, body, options)
    except IntegrityError as error:
        if not work.source.intact(0, held.size):
            raise _spoilt(work, "The source is not what was accepted.") from error
        raise
    if "PutsWhole" not in work.abilities:
        yield from _close_strays(work, all_of_them=True)
    settled = yield from _verified_or_removed(work, info)
    return settled if key == held.key else settled._replace(key=key, url=work.url_of(key))


def _copied(
    work: Work, copies: tuple[Backend, str], key: str, options: dict[str, Any]
) -> Generator[Call, Any, Settled]:
    """The destination copies by itself."""
    info: ObjectInfo = yield Call("copy_from", (*copies, key), options)
    yield from _close_strays(work, all_of_them=True)  # a copy in ranges that ended with its worker is such a session
    return (yield from _judged(work, info))


def _judged(work: Work, info: ObjectInfo) -> Generator[Call, Any, Settled]:
    """The provider answers for the bytes that it copied. What counts is that it was the same source."""
    if not work.source.intact(0, work.lease.size):
        yield from _remove(work, info)
        raise SourceCorrupt("The source changed while it was copied.", code="source_changed")
    if info.size == work.lease.size and (work.source.crc32c is None or not info.checksum):
        return Settled(info, "", "size", crc_text(work.source.crc32c))  # it is not read back: that would carry it
    return (yield from _verified_or_removed(work, info))


def _in_one_go(work: Work, key: str, body: Body, options: dict[str, Any]) -> Generator[Call, Any, ObjectInfo]:
    session = yield Call("begin", (key,), {"size": work.lease.size, "part_size": work.lease.part_size, **options})
    try:
        receipt = yield Call("put_part", (session, 1, body))
        _compare(receipt, body)
        info: ObjectInfo = yield Call("complete", (session, [receipt]))
    except BackendError:
        yield Call("abort", (session,))
        raise
    return info


def end(work: Work) -> Step:
    """Leaves nothing behind: abort, look, abort again; and if completion had won after all, the object counts."""
    held = work.lease
    if held.session is not None:
        yield Call("abort", (held.session,))
        if "ListsParts" in work.abilities and (yield from _parts_left(held.session)):
            yield Call("abort", (held.session,))
    yield from _close_strays(work, all_of_them=True)
    info = yield from _ours(work)
    if info is not None:
        try:
            if _expected_crc(work) is None:
                raise IntegrityError("Nothing is known of the source by which this object could be judged.")
            return (yield from _verified(work, info, proved=False))
        except IntegrityError:
            yield from _remove(work, info)
    return Ended()


def _parts_left(session: dict[str, Any]) -> Generator[Call, Any, bool]:
    try:
        return bool((yield Call("list_parts", (session,))))
    except SessionLost:
        return False


def _close_strays(work: Work, *, all_of_them: bool) -> Generator[Call, Any, None]:
    """Aborts sessions that a lost `begin` of this transfer may have opened: exactly our key, not before our intent,
    never any other.
    """
    held = work.lease
    if not held.lost_begin or "ListsSessions" not in work.abilities:
        return
    for stray in (yield Call("list_sessions", (held.key,))):
        own = not all_of_them and stray.session == held.session
        recent = stray.started_at_ms is None or stray.started_at_ms >= held.intent_ms - CLOCK_SKEW_MS
        if stray.key == held.key and recent and not own:
            yield Call("abort", (stray.session,))


def _ours(work: Work, instead: BackendError | None = None) -> Generator[Call, Any, ObjectInfo | None]:
    """The object at our key if this job made it. Where a store keeps no metadata, equal bytes are as good as a name."""
    held = work.lease
    try:
        info: ObjectInfo | None = yield Call("stat", (held.key,))
    except BackendError:
        if instead is None or isinstance(instead, SessionLost):
            raise  # a lost session may have been completed: only a look at the object can tell
        raise instead from None
    if info is None or info.size != held.size:
        return None
    if work.capabilities.metadata:
        return info if info.metadata.get(JOB_MARK) == held.job else None
    expected = _expected_crc(work)
    if expected is None or "ReadsRanges" not in work.abilities:
        return None
    return info if (yield Call("read_back", (held.key, held.size))) == expected else None


def _key_to_write(work: Work) -> Generator[Call, Any, tuple[str, Settled | None]]:
    """What `on_conflict` makes of an object that is there: refuse, another key, or nothing to do."""
    held, wanted = work.lease, work.lease.spec.on_conflict
    if wanted == "replace":
        return held.key, None
    info: ObjectInfo | None = yield Call("stat", (held.key,))
    if info is None or (work.capabilities.metadata and info.metadata.get(JOB_MARK) == held.job):
        return held.key, None
    if wanted == "fail":
        raise ObjectExists("An object with this key exists, and the job was told to fail then (on_conflict).")
    if wanted == "skip_same":
        return held.key, (yield from _same(work, info))
    yield from _close_strays(work, all_of_them=True)  # once another key is on record, nobody looks at this one
    for count in range(1, RENAMES):
        key = numbered(held.key, count)
        info = yield Call("stat", (key,))
        if info is None or _marked(work, info):
            yield Call("choose", (key, work.url_of(key)))
            return key, None if info is None else (yield from _verified_or_removed(work, info))
    raise ObjectExists(f"{RENAMES} objects have this name already, numbered.")


def _marked(work: Work, info: ObjectInfo) -> bool:
    return work.capabilities.metadata and info.metadata.get(JOB_MARK) == work.lease.job


def numbered(key: str, count: int) -> str:
    """`a/b.tar` → `a/b-1.tar`: the number goes before the last suffix of the last segment."""
    path = PurePosixPath(key)
    stem, suffix = (path.stem, path.suffix) if path.stem.strip(".") else (path.name, "")
    return key[: len(key) - len(path.name)] + f"{stem}-{count}{suffix}"


def _same(work: Work, info: ObjectInfo) -> Generator[Call, Any, Settled | None]:
    if info.size != work.lease.size:
        return None
    expected = _summed(work)
    if info.checksum and info.checksum.startswith("crc32c:"):
        same = info.checksum == f"crc32c:{crc_text(expected)}"
    elif "ReadsRanges" in work.abilities and expected is not None:
        same = (yield Call("read_back", (work.lease.key, info.size))) == expected
    else:
        same = False
    return Settled(info, info.checksum or "", "skip_same", crc_text(expected)) if same else None


def _receipts(work: Work) -> list[Receipt]:
    found = []
    for number, packed in sorted(work.receipts.items()):
        etag, checksum, crc, _ = unpack_receipt(packed)
        size = min(work.lease.part_size, work.lease.size - (number - 1) * work.lease.part_size)
        found.append(Receipt(number, size, etag, checksum or f"crc32c:{crc_text(crc)}"))
    return found


def _expected_crc(work: Work) -> int | None:
    """The CRC32C of the source as accepted; of a file that nobody read whole, from the parts that were sent."""
    held = work.lease
    if work.source.crc32c is not None:
        return work.source.crc32c
    if work.copies is not None:
        return None
    if held.step == "whole":
        return work.source.body(0, held.size).crc32c
    return _combined(work)


def _combined(work: Work) -> int | None:
    """The CRC32C of all parts together, None as long as one is missing."""
    held = work.lease
    if len(work.receipts) != held.total:
        return None
    combined = 0
    for number, packed in sorted(work.receipts.items()):
        size = min(held.part_size, held.size - (number - 1) * held.part_size)
        combined = combine_crc32c(combined, unpack_receipt(packed)[2], size)
    return combined


def _summed(work: Work) -> int | None:
    """The CRC32C of the source, which is read for it when nobody knows it yet."""
    expected = _expected_crc(work)
    if expected is None and isinstance(work.source, ReadsThrough):
        return work.source.read_through()
    return expected


def _verified_or_removed(work: Work, info: ObjectInfo) -> Generator[Call, Any, Settled]:
    """An object that is not what was accepted does not stay."""
    try:
        return (yield from _verified(work, info, proved=True))
    except IntegrityError:
        yield from _remove(work, info)
        raise


def _remove(work: Work, info: ObjectInfo) -> Generator[Call, Any, None]:
    if "DeletesObjects" in work.abilities:
        yield Call("delete", (info.key,))


def _verified(work: Work, info: ObjectInfo, *, proved: bool) -> Generator[Call, Any, Settled]:
    """Compares what is stored with what was accepted, by the strongest means there are.

    In this order: the provider's checksum of the whole; its checksums of every part; reading everything back, unless
    the destination was told that the size is enough; the size, with which no checksum is claimed.
    """
    held = work.lease
    if info.size != held.size:
        raise IntegrityError(f"The stored object has {info.size} bytes, the source {held.size}.")
    expected = _expected_crc(work)
    mine = f"crc32c:{crc_text(expected)}" if expected is not None else ""
    if mine and info.checksum and info.checksum.startswith("crc32c:"):
        if info.checksum != mine:
            raise IntegrityError(f"The provider reports {info.checksum} for the stored object, the source has {mine}.")
        return Settled(info, mine, "read_back" if info.read_back else "checksum", crc_text(expected))
    if proved and held.step == "complete" and held.unproved == 0:
        return Settled(info, mine, "part_checksums", crc_text(expected))
    if expected is not None and "ReadsRanges" in work.abilities and not info.size_is_enough:
        stored = yield Call("read_back", (info.key, info.size))
        if stored != expected:
            raise IntegrityError("The stored bytes, read back, are not those of the source.")
        return Settled(info, mine, "read_back", crc_text(expected))
    return Settled(info, "", "size", crc_text(expected))
