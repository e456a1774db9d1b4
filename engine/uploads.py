"""Uploads in chunks (tus): made, continued over any number of requests, and made jobs like every other reception."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import structlog

from engine import operations
from engine.errors import Conflict, EngineError, NotFound, TooLarge
from engine.incoming import Incoming
from engine.layout import is_id
from engine.models import JobSpec, SubmitOptions
from engine.partials import File, Note, Sum
from engine.receptions import Reception
from engine.submission import wanted_digests
from engine.turns import ASK_SECONDS, WAIT_SECONDS, Interrupted, Turn, Turns

if TYPE_CHECKING:
    from engine.service import AsyncService

log = structlog.get_logger("bucketline.uploads")

TEND_SECONDS = 30.0
LEDGER_SLACK_SECONDS = 3600.0  # the ledger forgets an upload after the disk does, never before


class Gone(EngineError):
    """There was such an upload."""

    code = "upload_gone"


class Uploads:
    """All uploads of this node's spool, for one API process."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service
        self._turns = Turns(service.ledger)
        self._tended = 0.0

    @property
    def seconds(self) -> float:
        """How long an upload waits for its next bytes."""
        return self._service.settings.tus_expire_seconds

    async def create(self, options: SubmitOptions, *, length: int | None, metadata: str | None, owner: str) -> str:
        """A new upload; refused like a body of that size. Its id is that of the job it will be."""
        spec = self._service.prepare(options, size=length, owner=owner)
        self._service.room(length)
        await self._service.ledger.run(operations.receive(spec, length, self.seconds + LEDGER_SLACK_SECONDS))
        note = Note(spec=spec, options=options, length=length, metadata=metadata)
        try:
            await asyncio.to_thread(self._service.spool.partials.create, note)
        except EngineError:
            await self._service.ledger.run(operations.discard(spec.id))
            raise
        return spec.id

    @asynccontextmanager
    async def hold(self, job: str) -> AsyncIterator[Upload]:
        """The upload for this caller alone; an older request that still sends to it is interrupted.

        Raises NotFound, Gone, Interrupted or LedgerUnavailable. Whatever was written is kept when this ends.
        """
        if not is_id(job) or await self._read(job) is None:
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

    async def remove(self, job: str) -> None:
        """Terminate: bytes and job are gone, as if they had never been. A job that was accepted goes on."""
        async with self.hold(job) as upload:
            upload.check_alive()
            await upload.end("It was terminated by its client.")

    async def tend(self) -> None:
        """Now and then: removes what has expired, and accepts what was whole when its process died."""
        pause = min(TEND_SECONDS, self.seconds / 2)
        if time.monotonic() < self._tended + pause:
            return
        self._tended = time.monotonic()
        for job, whole in await asyncio.to_thread(self._neglected):
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
        elif note.ended or not (whole or await asyncio.to_thread(_exists, partials.layout.partial(job))):
            await asyncio.to_thread(partials.forget, job)
        else:
            async with self.hold(job) as upload:
                if upload.is_whole:
                    await upload.finish()
                elif upload.expired:
                    await upload.end("It expired.")

    def _neglected(self) -> list[tuple[str, bool]]:
        """Those with something to do, and whether all their bytes are there."""
        partials, found = self._service.spool.partials, {}
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


class Upload:
    """One upload, held by the caller."""

    def __init__(self, service: AsyncService, turn: Turn, note: Note, file: File | None, seconds: float) -> None:
        self.turn = turn
        self.note = note
        self._service = service
        self._partials = service.spool.partials
        self._file = file
        self._seconds = seconds
        self._finishing: asyncio.Task[dict[str, Any]] | None = None
        self._start = self.offset
        self._sum: Sum | None = None

    @property
    def spec(self) -> JobSpec:
        return self.note.spec

    @property
    def offset(self) -> int:
        """The bytes that count."""
        if self._file is None:
            return self.note.length or 0
        return self._file.size if self.note.proved is None else min(self._file.size, self.note.proved)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there and it is no job yet."""
        return self._file is not None and not self.note.ended and self.offset == self.note.length

    @property
    def accepted(self) -> bool:
        return self._file is None and not self.note.ended

    @property
    def expires(self) -> float:
        """Seconds since the epoch."""
        return (self._partials.touched(self.spec.id) or time.time()) + self._seconds

    @property
    def expired(self) -> bool:
        return not self.accepted and time.time() > self.expires

    def check_alive(self) -> None:
        """Raises Gone."""
        if self.note.ended:
            raise Gone(self.note.ended)
        if self.expired and not self.is_whole:
            raise Gone("It expired.")

    async def declare(self, length: int) -> None:
        """The length that was deferred; refused like a body of that size."""
        if self.note.length is not None:
            if length != self.note.length:
                raise Conflict("The length of this upload is known already, and another one.", code="bad_request")
            return
        if length < self.offset:
            raise TooLarge(f"{self.offset} bytes are here already.")
        desk, spec = self._service.desk, self.spec
        desk.prepare(self.note.options, size=length, owner=spec.owner, job=spec.id)
        self.note.length = length
        await asyncio.to_thread(self._partials.rewrite, self.note)

    async def begin(self, checksum: Sum | None) -> None:
        """A chunk comes. With a checksum, its bytes do not count before `prove`, whatever happens to us meanwhile."""
        file = self._open()
        self._sum = checksum
        await asyncio.to_thread(file.back_to, self.offset)
        self._start = file.size
        proved = self._start if checksum else None
        if proved != self.note.proved:
            self.note.proved = proved
            await asyncio.to_thread(self._partials.rewrite, self.note)

    def write(self, data: bytes) -> None:
        """Inline: at most 1 MiB goes to the disk at once."""
        if self._sum is not None:
            self._sum.update(data)
        self._open().write(data)

    def take_back(self) -> None:
        """The chunk does not count."""
        self._open().back_to(self._start)

    async def prove(self) -> bool:
        """The chunk is whole. False when its checksum is another: then it is taken back."""
        file = self._open()
        if self._sum is not None:
            if not self._sum.matches():
                self.take_back()
                return False
            await asyncio.to_thread(file.flush)
            self.note.proved, self._sum = None, None
            await asyncio.to_thread(self._partials.rewrite, self.note)
        return True

    async def settle(self) -> None:
        """What came is durable, and the ledger knows of it."""
        file = self._open()
        await asyncio.to_thread(_settle, file)
        await self._tell()

    async def finish(self) -> dict[str, Any]:
        """Make it a job. Runs to its end even when the caller is cancelled; the lock is held until then."""
        self._finishing = asyncio.ensure_future(self._finish())
        return await asyncio.shield(self._finishing)

    async def end(self, why: str) -> None:
        """There will be no job: the bytes go, a note stays for a while."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.note.ended = why
        await asyncio.to_thread(self._partials.rewrite, self.note)
        await asyncio.to_thread(self._partials.drop_bytes, self.spec.id)
        with suppress(EngineError):
            await self._service.ledger.run(operations.discard(self.spec.id))

    async def close(self) -> None:
        """Keep what came."""
        if self._finishing is not None:
            await asyncio.wait({self._finishing})
        if self._file is None:
            return
        try:
            if self._sum is not None:
                self.take_back()  # nobody can tell any more whether it is what was meant
            await asyncio.to_thread(_settle, self._file)
        except EngineError as error:
            log.warning("the last bytes of a chunk were not kept", job=self.spec.id, code=error.code)
        finally:
            self._file.close()

    async def _finish(self) -> dict[str, Any]:
        file = self._open()
        await asyncio.to_thread(_settle, file)
        adopted = file.adopt(wanted_digests(self.spec))
        # The same steps as for a body, which ask of what it stands for only what both have.
        reception = Reception(self._service, self.spec, cast(Incoming, adopted), adopted.received)
        try:
            job = await reception.accept()
        except EngineError as error:
            reception.done()
            if not error.retryable:
                await self.end(error.detail)
            raise
        file.close()
        self._file = None
        await asyncio.to_thread(self._partials.touch, self.spec.id)
        return job

    async def _tell(self) -> None:
        """Publishes the offset. A job that was cancelled meanwhile ends the upload; a silent Redis does not matter."""
        ledger, seconds = self._service.ledger, self._seconds + LEDGER_SLACK_SECONDS
        state = ""
        with suppress(EngineError):
            state = await ledger.run(operations.received(self.spec.id, self.offset, seconds))
            if not state:
                await ledger.run(operations.receive(self.spec, self.note.length, seconds))
        if state in ("cancelling", "cancelled"):
            await self.end("Its job was cancelled.")
            raise Gone("Its job was cancelled.")

    def _open(self) -> File:
        if self._file is None:
            raise Conflict("This upload is finished.")
        return self._file


def _settle(file: File) -> None:
    file.flush()
    if file.wrote:
        file.sync()


def _exists(path: str) -> bool:
    import os

    return os.path.exists(path)


def _unknown() -> NotFound:
    return NotFound("There is no upload at this address.")
