"""Whether an object at a destination is what was accepted, and whether this job made it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from backends.base import ObjectInfo
from backends.checksums import combine_crc32c
from backends.errors import BackendError, IntegrityError, SessionLost
from engine.errors import SourceCorrupt
from engine.records import crc_text, unpack_receipt
from engine.work import Call, ReadsThrough, Settled, Work


def ours(work: Work, instead: BackendError | None = None) -> Generator[Call, Any, ObjectInfo | None]:
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
        return info if work.carries_mark(info) else None
    expected = expected_crc(work)
    if expected is None or "ReadsRanges" not in work.abilities:
        return None
    return info if (yield Call("read_back", (held.key, held.size))) == expected else None


def verified_or_removed(work: Work, info: ObjectInfo) -> Generator[Call, Any, Settled]:
    """An object that is not what was accepted does not stay."""
    try:
        return (yield from verified(work, info, proved=True))
    except IntegrityError:
        yield from remove(work, info)
        raise


def remove(work: Work, info: ObjectInfo) -> Generator[Call, Any, None]:
    if "DeletesObjects" in work.abilities:
        yield Call("delete", (info.key,))


def verified(work: Work, info: ObjectInfo, *, proved: bool) -> Generator[Call, Any, Settled]:
    """Compares what is stored with what was accepted, by the strongest means there are.

    In this order: the provider's checksum of the whole; its checksums of every part; reading everything back, unless
    the destination was told that the size is enough; the size, with which no checksum is claimed.
    """
    held = work.lease
    if info.size != held.size:
        raise IntegrityError(f"The stored object has {info.size} bytes, the source {held.size}.")
    expected = expected_crc(work)
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


def verified_copy(work: Work, info: ObjectInfo) -> Generator[Call, Any, Settled]:
    """The provider answers for the bytes that it copied. What counts is that it was the same source."""
    if not work.source.intact(0, work.lease.size):
        yield from remove(work, info)
        raise SourceCorrupt("The source changed while it was copied.", code="source_changed")
    if info.size == work.lease.size and (work.source.crc32c is None or not info.checksum):
        return Settled(info, "", "size", crc_text(work.source.crc32c))  # it is not read back: that would carry it
    return (yield from verified_or_removed(work, info))


def as_accepted(work: Work) -> bool:
    """Parts may have been sent before the file was there: together they must be what came in the end."""
    return work.source.crc32c is None or _combined(work) in (None, work.source.crc32c)


def expected_crc(work: Work) -> int | None:
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
        combined = combine_crc32c(combined, unpack_receipt(packed)[2], work.size_of(number))
    return combined


def summed(work: Work) -> int | None:
    """The CRC32C of the source, which is read for it when nobody knows it yet."""
    expected = expected_crc(work)
    if expected is None and isinstance(work.source, ReadsThrough):
        return work.source.read_through()
    return expected
