"""Joins partial uploads (concatenation, as tus calls it) into a final one, which becomes a job at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import EngineError, Invalid, NotFound, TooLarge
from engine.models import JobSpec, SubmitOptions
from engine.partials import Note
from engine.upload import Upload

if TYPE_CHECKING:
    from engine.service import AsyncService


class Final(NamedTuple):
    """What a final upload is to be. `prepare` makes the job, once its size is known."""

    prepare: Callable[[int], Awaitable[JobSpec]]
    options: SubmitOptions
    concat: str
    metadata: str | None


async def join(service: AsyncService, parts: Sequence[str], final: Final, allows: Callable[[JobSpec], bool]) -> str:
    """The final upload with all bytes of `parts`, in this order. They are used up.

    Asked again for the same, it answers with the same upload: the first answer may have been lost. Raises Invalid,
    which says which parts cannot be joined, and what `Final.prepare` and `Uploads.hold` raise.
    """
    uploads = service.uploads
    await _check(service, parts, allows)  # before anybody who still sends to one of them is interrupted
    async with AsyncExitStack() as stack:
        held: dict[str, Upload] = {}
        for part in sorted(set(parts)):  # always in this order: two who join the same do not wait for each other
            held[part] = await stack.enter_async_context(uploads.hold(part, allows))
        job = await _check(service, parts, allows) or await _make(service, [held[part] for part in parts], final)
        async with uploads.hold(job) as whole:
            if whole.is_whole:
                await whole.finish()
        for used in held.values():
            if not used.note.ended:
                await used.end(f"It was joined into {job}.")
    return job


async def _make(service: AsyncService, parts: Sequence[Upload], final: Final) -> str:
    """The final upload, known to its parts, and whole: from here on it is the only one that they are joined into."""
    size, most = sum(part.offset for part in parts), service.settings.max_size
    if most is not None and size > most:
        raise TooLarge(f"Together they have {size} bytes; the limit is {most}.")
    spec = await final.prepare(size)
    note = Note(spec=spec, options=final.options, length=size, metadata=final.metadata, concat=final.concat)
    job = await service.uploads.make(note)
    try:
        # First the notes of all parts, then the bytes: a whole final upload becomes a job, whoever finds it, so there
        # must be no other one for them by then. Of one that is not whole the notes mean nothing.
        for part in parts:
            await part.belong_to(job)
        async with service.uploads.hold(job) as upload:
            await upload.join(parts)
    except EngineError:
        with suppress(EngineError):
            await service.uploads.remove(job, "discard")
        raise
    return job


async def _check(service: AsyncService, parts: Sequence[str], allows: Callable[[JobSpec], bool]) -> str:
    """Raises Invalid with all that stands against joining them. The upload that has them already, or ''."""
    errors: list[dict[str, str]] = []
    finals: set[str] = set()
    for number, part in enumerate(parts):
        note = await _note(service, part, allows)
        finals.add(note.joined if note else "")
        if fault := await asyncio.to_thread(_fault, service, note):
            errors.append({"pointer": f"/concat/{number}", "detail": f"{part} {fault}"})
    if len(finals) == 1 and (final := finals.pop()) and await _is_of(service, final, parts):
        return final
    if errors:
        raise Invalid("; ".join(error["detail"] for error in errors), errors=errors)
    return ""


async def _note(service: AsyncService, part: str, allows: Callable[[JobSpec], bool]) -> Note | None:
    try:
        note = await service.uploads.note(part)
    except NotFound:
        return None
    return note if allows(note.spec) else None


async def _is_of(service: AsyncService, final: str, parts: Sequence[str]) -> bool:
    """Whether that upload is whole, or a job by now, and made of these parts, no others, in this order."""
    try:
        note = await service.uploads.note(final)
    except NotFound:
        return False
    if not await asyncio.to_thread(service.spool.partials.has_all, note):
        return False
    addresses = note.concat.partition(";")[2].split()
    return not note.ended and [address.rstrip("/").rpartition("/")[2] for address in addresses] == list(parts)


def _fault(service: AsyncService, note: Note | None) -> str:
    if note is None:
        return "is unknown"
    if not note.is_partial:
        return "is no partial upload"
    if note.ended:
        return f"is gone: {note.ended}"
    offset = service.spool.partials.offset(note)
    return "" if offset == note.length else f"is not finished: it has {offset} of {note.length or '?'} bytes"
