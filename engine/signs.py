"""Signs of life of an upload in chunks: the ledger hears how much has come, and says whether it is still wanted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from engine import arrivals, operations
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.service import AsyncService
    from engine.upload import Upload

TELL_SECONDS = 0.25


class Signs:
    """Of one upload while it is held. The ledger waits `seconds` for the next."""

    def __init__(self, service: AsyncService, upload: Upload, seconds: float) -> None:
        self._service = service
        self._upload = upload
        self._seconds = seconds
        self.unwanted = False
        """Whether its job is over, as far as the ledger has said."""

    async def forever(self, told: int) -> None:
        """Tells now and then what came behind `told`. A job that is not wanted any more interrupts the caller."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if told != self._upload.offset:
                told = self._upload.offset
                await self.tell()
            if self.unwanted:
                self._upload.turn.ask()

    async def look(self) -> None:
        """What the ledger says of the job; a silent Redis does not matter."""
        job = self._upload.spec.id
        with suppress(EngineError):
            self._hear((await self._service.ledger.run(operations.states([job])))[job][0])

    def _hear(self, state: str) -> None:
        self.unwanted = state in ("cancelling", "cancelled", "expired")

    async def tell(self) -> None:
        """Publishes the offset; a silent Redis does not matter."""
        ledger, seconds = self._service.ledger, self._seconds
        await self._service.uploads.whereabouts.note(self._upload.spec.id, seconds)
        if self._upload.note.is_partial:
            return
        with suppress(EngineError):
            await self._begin_early()
            offset = self._upload.offset
            heard = await ledger.run(arrivals.received(self._upload.spec.id, offset, seconds, offset))
            self._hear(heard.state)
            self._service.minter.send(heard.tokens)
            if not heard.state:
                await ledger.run(arrivals.receive(self._upload.spec, self._upload.note.length, seconds, retained=True))
                await self._early()

    async def _begin_early(self) -> None:
        """What has come is sent, when there is a part of it. First the note: another process may go on with it."""
        note = self._upload.note
        if note.plans or note.is_final or not self._upload.offset:
            return
        head = await asyncio.to_thread(self._service.spool.partials.head, self._upload.spec.id)
        found = self._service.desk.planning.early(self._upload.spec, note.length, head)
        if found is not None and self._upload.offset >= min(plan.part_size for plan in found[1]):
            note.spec, note.plans = found
            await self._upload.rewrite()
            await self._early(lost=False)

    async def _early(self, *, lost: bool = True) -> None:
        """Repeating it is harmless."""
        note = self._upload.note
        if note.plans:
            early = self._service.early(note.spec, note.plans, note.length or 0, lost=lost)
            await self._service.ledger.run(early)
