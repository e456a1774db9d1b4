"""What a worker does with a lease: each step decides, and yields the calls that a driver makes on the backend.

A step is a generator: it yields `Call`s, receives their results (or has their errors thrown into it), and returns an
outcome that is then written to the ledger. It touches neither network, disk nor clock, so the simulation can crash it
between any two effects.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from backends.base import Backend, Body, ObjectInfo, Receipt
from backends.errors import BackendError, IntegrityError, ObjectExists, SessionLost, TransientError
from engine.conflicts import key_to_write
from engine.errors import SourceCorrupt
from engine.records import crc_text, pack_receipt, unpack_receipt
from engine.strays import close_strays
from engine.verification import (
    as_accepted,
    expected_crc,
    ours,
    remove,
    summed,
    verified,
    verified_copy,
    verified_or_removed,
)
from engine.work import Begun, Call, Ended, Recorded, Settled, Step, Work


def step_of(work: Work) -> Step:
    """The generator for the step that the lease names."""
    return {"begin": begin, "whole": whole, "part": part, "complete": complete, "end": end}[work.lease.step](work)


def begin(work: Work) -> Step:
    """Opens a session, or finds that there is nothing to send."""
    held = work.lease
    if held.lost_begin and (info := (yield from ours(work))) is not None:
        yield from close_strays(work, all_of_them=True)
        summed(work)  # an object that was found is not taken for the right one because of its size
        return (yield from verified(work, info, proved=False))
    key, done = yield from key_to_write(work)
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
    size = work.size_of(held.number)
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
    if not as_accepted(work):
        raise SessionLost("The parts that were sent are not those of the file that was accepted.")
    if held.attempt > 1 and (info := (yield from ours(work))) is not None:
        yield Call("abort", (held.session,))  # an earlier session may have made the object
        yield from close_strays(work, all_of_them=True)
        return (yield from verified_or_removed(work, info))
    try:
        info = yield Call("complete", (held.session, _receipts(work)))
    except (SessionLost, TransientError) as error:
        found = yield from ours(work, instead=error)
        if found is None:
            raise
        info = found
    except ObjectExists:
        # Refused because the key is taken: by ourselves, when an earlier answer was lost.
        found = yield from ours(work)
        if found is None and held.spec.on_conflict == "rename":
            raise SessionLost("The chosen key was taken meanwhile; another one will be chosen.") from None
        if found is None:
            raise
        info = found
        yield Call("abort", (held.session,))  # another session of ours made the object
    yield from close_strays(work, all_of_them=False)
    return (yield from verified_or_removed(work, info))


def _receipts(work: Work) -> list[Receipt]:
    found = []
    for number, packed in sorted(work.receipts.items()):
        etag, checksum, crc, _ = unpack_receipt(packed)
        found.append(Receipt(number, work.size_of(number), etag, checksum or f"crc32c:{crc_text(crc)}"))
    return found


def whole(work: Work) -> Step:
    """Sends a small file with one call; what an earlier attempt may have stored counts."""
    held = work.lease
    if (held.attempt > 1 or held.lost_begin) and (info := (yield from ours(work))) is not None:
        yield from close_strays(work, all_of_them=True)
        if work.copies is not None:
            return (yield from verified_copy(work, info))
        return (yield from verified_or_removed(work, info))
    key, done = yield from key_to_write(work)
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
        yield from close_strays(work, all_of_them=True)
    settled = yield from verified_or_removed(work, info)
    return settled if key == held.key else settled._replace(key=key, url=work.url_of(key))


def _copied(
    work: Work, copies: tuple[Backend, str], key: str, options: dict[str, Any]
) -> Generator[Call, Any, Settled]:
    """The destination copies by itself."""
    info: ObjectInfo = yield Call("copy_from", (*copies, key), options)
    yield from close_strays(work, all_of_them=True)  # a copy in ranges that ended with its worker is such a session
    return (yield from verified_copy(work, info))


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
    yield from close_strays(work, all_of_them=True)
    info = yield from ours(work)
    if info is not None:
        try:
            if expected_crc(work) is None:
                raise IntegrityError("Nothing is known of the source by which this object could be judged.")
            return (yield from verified(work, info, proved=False))
        except IntegrityError:
            yield from remove(work, info)
    return Ended()


def _parts_left(session: dict[str, Any]) -> Generator[Call, Any, bool]:
    try:
        return bool((yield Call("list_parts", (session,))))
    except SessionLost:
        return False
