"""What becomes of uploads that nobody asks for: they expire, or are accepted where their process died too early."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import structlog

from engine import operations
from engine.errors import EngineError
from engine.partials import Note
from engine.upload import Gone, tell_end

if TYPE_CHECKING:
    from engine.service import AsyncService

log = structlog.get_logger("bucketline.uploads")

TEND_SECONDS = 30.0
Need = Literal["old", "whole", "half a join", "alive"]


class Tending:
    """Done by each API process for its node."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service
        self._tended = 0.0

    async def tend(self) -> None:
        """Now and then."""
        pause = min(TEND_SECONDS, self._service.uploads.seconds / 2)
        if time.monotonic() < self._tended + pause:
            return
        self._tended = time.monotonic()
        found: dict[str, Need] = {}
        with suppress(OSError):  # a disk in trouble tells those who need it
            found = await asyncio.to_thread(self._look)
        unwanted = await self._unwanted([job for job, need in found.items() if need == "alive"])
        for job, need in found.items():
            try:
                if need != "alive" or job in unwanted:
                    await self._tend_one(job, need)
            except EngineError as error:
                log.warning("an upload could not be tended; the next round tries again", job=job, code=error.code)

    async def _tend_one(self, job: str, need: Need) -> None:
        uploads, partials = self._service.uploads, self._service.spool.partials
        note = await asyncio.to_thread(partials.read, job)
        if note is None:
            await asyncio.to_thread(partials.drop_bytes, job)  # a crash before its note was written, or after it went
        elif note.ended or not (need != "old" or await asyncio.to_thread(os.path.exists, partials.layout.partial(job))):
            if note.ended:
                await tell_end(self._service, note)  # whoever ended it may have died before it could
            await asyncio.to_thread(partials.forget, job)
        else:
            async with uploads.hold(job) as upload:
                if upload.is_whole:
                    await upload.finish()
                elif need == "half a join":
                    await upload.end("Joining it was broken off.")  # nobody knows its address
                elif need == "alive":
                    with suppress(Gone):
                        await upload.settle()
                elif upload.expired:
                    await upload.end("It expired.", "expire")

    async def _unwanted(self, jobs: list[str]) -> set[str]:
        """Those whose job was cancelled, or expired, in the ledger."""
        try:
            states = await self._service.ledger.run(operations.states(jobs)) if jobs else {}
        except EngineError:
            return set()
        return {job for job, (state, _) in states.items() if state in ("cancelled", "expired")}

    def _look(self) -> dict[str, Need]:
        """Every upload that is not accepted, and notes that are left of others."""
        partials = self._service.spool.partials
        found: dict[str, Need] = {}
        for job, path in partials.names():
            touched = partials.touched(job) or 0.0
            with suppress(OSError, EngineError):
                if time.time() > max(touched, path.stat().st_mtime) + self._service.uploads.seconds:
                    found[job] = "old"
                elif path.name == job and (note := partials.read(job)) and not note.ended:
                    found[job] = self._need(note, touched)
        return found

    def _need(self, note: Note, touched: float) -> Need:
        if time.time() > touched + TEND_SECONDS and not note.is_partial:
            if self._service.spool.partials.offset(note) == note.length:
                return "whole"
            if note.is_final:
                return "half a join"
        return "alive"
