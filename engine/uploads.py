"""Uploads in chunks (tus): made, continued over any number of requests, and made jobs like every other reception."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uuid_utils

from engine import arrivals
from engine.errors import EngineError, NotFound
from engine.joining import Final, join
from engine.layout import is_id
from engine.models import JobSpec, SubmitOptions
from engine.partials import End, File, Note
from engine.turns import ASK_SECONDS, WAIT_SECONDS, Interrupted, Turn, Turns
from engine.upload import LEDGER_SLACK_SECONDS, Upload
from engine.whereabouts import Whereabouts

if TYPE_CHECKING:
    from engine.service import AsyncService


def _any(spec: JobSpec) -> bool:
    return True


class Uploads:
    """All uploads of this node's spool, for one API process."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service
        self._turns = Turns(service.ledger)
        self.whereabouts = Whereabouts(service.ledger, service.settings.node)

    @property
    def seconds(self) -> float:
        """How long an upload waits for its next bytes."""
        return self._service.settings.tus_expire_seconds

    async def create(self, spec: JobSpec, options: SubmitOptions, *, length: int | None, metadata: str | None) -> str:
        """A new upload of what was prepared of these options. Its id is that of the job it will be."""
        return await self.make(Note(spec=spec, options=options, length=length, metadata=metadata))

    async def create_partial(self, *, length: int | None, metadata: str | None, owner: str) -> str:
        """A new upload that will be a part of others (`joining`), and never a job."""
        spec = JobSpec(
            id=str(uuid_utils.uuid7()), created_ms=int(time.time() * 1000), name="partial", key=None, key_template="",
            destinations=[], owner=owner, node=self._service.settings.node,
        )  # fmt: skip
        return await self.make(
            Note(spec=spec, options=SubmitOptions(), length=length, metadata=metadata, concat="partial")
        )

    async def make(self, note: Note) -> str:
        """The upload, without bytes."""
        spec, lasts = note.spec, self.seconds + LEDGER_SLACK_SECONDS
        self._service.room(note.length)
        if not note.is_partial:
            await self._service.ledger.run(arrivals.receive(spec, note.length, lasts, retained=True))
        try:
            await asyncio.to_thread(self._service.spool.partials.create, note)
        except EngineError:
            await self._service.ledger.run(arrivals.discard(spec.id))
            raise
        await self.whereabouts.note(spec.id, lasts)
        return spec.id

    async def join(
        self,
        prepare: Callable[[int], Awaitable[JobSpec]],
        options: SubmitOptions,
        parts: Sequence[str],
        *,
        concat: str,
        metadata: str | None,
        allows: Callable[[JobSpec], bool] = _any,
    ) -> str:
        """A new upload that has all bytes of these partial ones, in this order; it is a job when this returns.

        prepare: makes the job, once its size is known.
        """
        final = Final(prepare, options, concat, metadata)
        return await join(self._service, parts, final, allows)

    @asynccontextmanager
    async def hold(self, job: str, allows: Callable[[JobSpec], bool] = _any) -> AsyncIterator[Upload]:
        """The upload for this caller alone; an older request that still sends to it is interrupted.

        Raises NotFound (also when `allows` says no), Elsewhere, Gone, Interrupted or LedgerUnavailable. Whatever was
        written is kept when this ends.
        """
        if not allows((await self.note(job)).spec):
            raise _unknown()
        turn = await self._turns.take(job)
        upload: Upload | None = None
        try:
            upload = await self._held(turn)
            yield upload
        finally:
            await asyncio.shield(asyncio.ensure_future(self._let_go(turn, upload)))

    async def note(self, job: str) -> Note:
        """What is known of an upload. Raises NotFound, Elsewhere or LedgerUnavailable."""
        note = await self._read(job) if is_id(job) else None
        if note is None:
            if is_id(job):
                await self.whereabouts.check(job)
            raise _unknown()
        return note

    async def remove(self, job: str, end: End = "cancel", *, allows: Callable[[JobSpec], bool] = _any) -> None:
        """Terminate: the bytes are gone, and the job ends. One that was accepted goes on."""
        async with self.hold(job, allows) as upload:
            upload.check_alive()
            await upload.end("It was terminated by its client.", "discard" if upload.accepted else end)

    async def stop(self) -> None:
        await self._turns.stop()

    async def _held(self, turn: Turn) -> Upload:
        file = await self._file(turn)
        try:
            note = await self._read(turn.name)
            if note is None:
                raise _unknown()
            return Upload(self._service, turn, note, file, self.seconds)
        except BaseException:
            _close(file)  # cancelled, too: nothing else would ever let go of its lock
            raise

    async def _file(self, turn: Turn) -> File | None:
        partials = self._service.spool.partials
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            try:
                return await self._service.keeping.make(lambda: partials.hold(turn.name), _close)
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


def _close(file: File | None) -> None:
    if file is not None:
        file.close()


def _unknown() -> NotFound:
    return NotFound("There is no upload at this address.")
