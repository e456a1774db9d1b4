"""Uploads in chunks (tus): made, continued over any number of requests, and made jobs like every other reception."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from engine import operations
from engine.errors import EngineError, NotFound
from engine.layout import is_id
from engine.models import JobSpec, SubmitOptions
from engine.partials import End, File, Note
from engine.turns import ASK_SECONDS, WAIT_SECONDS, Interrupted, Turn, Turns
from engine.upload import LEDGER_SLACK_SECONDS, Upload, tell_end
from engine.whereabouts import Whereabouts

if TYPE_CHECKING:
    from engine.service import AsyncService

log = structlog.get_logger("bucketline.uploads")

TEND_SECONDS = 30.0


def _any(spec: JobSpec) -> bool:
    return True


class Uploads:
    """All uploads of this node's spool, for one API process."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service
        self._turns = Turns(service.ledger)
        self.whereabouts = Whereabouts(service.ledger, service.settings.node)
        self._tended = 0.0

    @property
    def seconds(self) -> float:
        """How long an upload waits for its next bytes."""
        return self._service.settings.tus_expire_seconds

    async def create(self, spec: JobSpec, options: SubmitOptions, *, length: int | None, metadata: str | None) -> str:
        """A new upload of what was prepared of these options. Its id is that of the job it will be."""
        self._service.room(length)
        lasts = self.seconds + LEDGER_SLACK_SECONDS
        await self._service.ledger.run(operations.receive(spec, length, lasts, retained=True))
        note = Note(spec=spec, options=options, length=length, metadata=metadata)
        try:
            await asyncio.to_thread(self._service.spool.partials.create, note)
        except EngineError:
            await self._service.ledger.run(operations.discard(spec.id))
            raise
        await self.whereabouts.note(spec.id, lasts)
        return spec.id

    @asynccontextmanager
    async def hold(self, job: str, allows: Callable[[JobSpec], bool] = _any) -> AsyncIterator[Upload]:
        """The upload for this caller alone; an older request that still sends to it is interrupted.

        Raises NotFound (also when `allows` says no), Elsewhere, Gone, Interrupted or LedgerUnavailable. Whatever was
        written is kept when this ends.
        """
        if not is_id(job):
            raise _unknown()
        known = await self._read(job)
        if known is None:
            await self.whereabouts.check(job)
        if known is None or not allows(known.spec):
            raise _unknown()
        turn = await self._turns.take(job)
        upload: Upload | None = None
        try:
            file = await self._file(turn)
            note = await self._read(job)
            if note is None:
                if file is not None:
                    file.close()
                raise _unknown()
            upload = Upload(self._service, turn, note, file, self.seconds)
            yield upload
        finally:
            await asyncio.shield(asyncio.ensure_future(self._let_go(turn, upload)))

    async def remove(self, job: str, end: End = "cancel", *, allows: Callable[[JobSpec], bool] = _any) -> None:
        """Terminate: the bytes are gone, and the job ends. One that was accepted goes on."""
        async with self.hold(job, allows) as upload:
            upload.check_alive()
            await upload.end("It was terminated by its client.", end)

    async def tend(self) -> None:
        """Now and then: removes what has expired, and accepts what was whole when its process died."""
        pause = min(TEND_SECONDS, self.seconds / 2)
        if time.monotonic() < self._tended + pause:
            return
        self._tended = time.monotonic()
        found: list[tuple[str, bool]] = []
        with suppress(OSError):  # a disk in trouble tells those who need it
            found = await asyncio.to_thread(self._neglected)
        for job, whole in found:
            try:
                await self._tend_one(job, whole)
            except EngineError as error:
                log.warning("an upload could not be tended; the next round tries again", job=job, code=error.code)

    async def stop(self) -> None:
        await self._turns.stop()

    async def _tend_one(self, job: str, whole: bool) -> None:
        partials = self._service.spool.partials
        note = await self._read(job)
        if note is None:
            await asyncio.to_thread(partials.drop_bytes, job)  # a crash before its note was written, or after it went
        elif note.ended or not (whole or await asyncio.to_thread(os.path.exists, partials.layout.partial(job))):
            if note.ended:
                await tell_end(self._service, note)  # whoever ended it may have died before it could
            await asyncio.to_thread(partials.forget, job)
        else:
            async with self.hold(job) as upload:
                if upload.is_whole:
                    await upload.finish()
                elif upload.expired:
                    await upload.end("It expired.", "expire")

    def _neglected(self) -> list[tuple[str, bool]]:
        """Those with something to do, and whether all their bytes are there."""
        partials = self._service.spool.partials
        found: dict[str, bool] = {}
        for job, entry in partials.names():
            touched = partials.touched(job) or 0.0
            with suppress(OSError, EngineError):
                old = time.time() > max(touched, entry.stat().st_mtime) + self.seconds
                note = partials.read(job) if not old and entry.name == job else None
                whole = note is not None and not note.ended and note.length == entry.stat().st_size
                if old or (whole and time.time() > touched + TEND_SECONDS):
                    found[job] = whole
        return list(found.items())

    async def _file(self, turn: Turn) -> File | None:
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            try:
                return await asyncio.to_thread(self._service.spool.partials.hold, turn.name)
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    raise Interrupted("Another request still works on this upload.", retry_after=1) from None
            await self._turns.ask(turn)  # its lock ran out while it held the file: a process that stood still
            await asyncio.sleep(ASK_SECONDS)

    async def _let_go(self, turn: Turn, upload: Upload | None) -> None:
        try:
            if upload is not None:
                await upload.close()
        finally:
            await self._turns.leave(turn)

    async def _read(self, job: str) -> Note | None:
        return await asyncio.to_thread(self._service.spool.partials.read, job)


def _unknown() -> NotFound:
    return NotFound("There is no upload at this address.")
