"""One upload in chunks while a request holds it: its offset, the chunk that comes, and the moment it becomes a job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog

from engine import arrivals, operations
from engine.accepting import accept_all
from engine.adopted import Adopted
from engine.announced import wanted_digests
from engine.errors import Conflict, EngineError, TooLarge
from engine.models import JobSpec
from engine.partials import End, File, Note
from engine.receptions import Candidate
from engine.signs import Signs
from engine.sums import Sum
from engine.turns import Turn

if TYPE_CHECKING:
    from engine.service import AsyncService

log = structlog.get_logger("bucketline.uploads")

LEDGER_SLACK_SECONDS = 3600.0  # the ledger forgets an upload after the disk does, never before
_CANCELLED = "Its job was cancelled, or expired."


class Gone(EngineError):
    """There was such an upload."""

    code = "upload_gone"


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
        self._signs = Signs(service, self, seconds + LEDGER_SLACK_SECONDS)
        self._writing = asyncio.Lock()

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
    def has_all(self) -> bool:
        """Whether all bytes are there."""
        return self._file is not None and not self.note.ended and self.offset == self.note.length

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there and it is no job yet."""
        return self.has_all and not self.note.is_partial

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
        if not self.note.is_partial:
            desk, spec = self._service.desk, self.spec
            desk.prepare(self.note.options, size=length, owner=spec.owner, job=spec.id)
        self.note.length = length
        await self.rewrite()

    async def begin(self, size: int | None, checksum: Sum | None, *, proof: bool = False) -> None:
        """A chunk comes, of `size` bytes if that is known: they have their room from now on, or SpoolFull is raised.

        With a checksum, or with a `proof` of another kind to come, its bytes do not count before `prove`, whatever
        happens to us meanwhile.
        """
        file = self._open()
        self._sum = checksum
        await asyncio.to_thread(file.back_to, self.offset)
        self._start = file.size
        proved = self._start if checksum or proof else None
        if proved != self.note.proved:
            self.note.proved = proved
            await self.rewrite()
        if size:
            await asyncio.to_thread(file.reserve, size)

    def write(self, data: bytes) -> None:
        """Inline: some 256 KiB go to the disk at once."""
        if self._sum is not None:
            self._sum.update(data)
        self._open().write(data)

    def take_back(self) -> None:
        """The chunk does not count."""
        self._open().back_to(self._start)

    async def prove(self) -> bool:
        """The chunk is whole. False when its checksum is another: then it is taken back."""
        file = self._open()
        if self._sum is not None and not self._sum.matches():
            self.take_back()
            return False
        if self.note.proved is not None:
            await asyncio.to_thread(file.flush)
            self.note.proved, self._sum = None, None
            await self.rewrite()
        return True

    async def settle(self) -> None:
        """What came is durable, and the ledger knows of it."""
        file = self._open()
        await asyncio.to_thread(_settle, file)
        await self._signs.tell()
        await self.check_wanted()

    async def join(self, parts: Sequence[Upload]) -> None:
        """Take all bytes of others, which are held too."""
        file, sources = self._open(), [part._open() for part in parts]

        def copy() -> None:
            file.reserve(self.note.length or 0, blocks=False)  # the file system may share those that are there
            for source in sources:
                file.append(source)
            _settle(file)

        await asyncio.to_thread(copy)

    async def belong_to(self, final: str) -> None:
        """Its bytes are in a final upload now, as long as that lives."""
        self.note.joined = final
        await self.rewrite()

    async def finish(self) -> dict[str, Any]:
        """Make it a job. Runs to its end even when the caller is cancelled; the lock is held until then."""
        self._finishing = asyncio.ensure_future(self._finish())
        return await asyncio.shield(self._finishing)

    async def end(self, why: str, end: End = "discard") -> None:
        """There will be no job, or one that ended without its bytes: those go, a note stays for a while."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.note.ended, self.note.end = why, end
        await self.rewrite()
        await asyncio.to_thread(self._partials.drop_bytes, self.spec.id)
        await tell_end(self._service, self.note)

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
        adopted = Adopted(self._partials, self.spec.id, file.size, wanted_digests(self.spec))
        lasts = self._seconds + LEDGER_SLACK_SECONDS
        candidate = Candidate(
            self._service, self.spec, adopted, adopted.received, seconds=lasts, retained=True, plans=self.note.plans
        )
        try:
            (job,) = await accept_all(self._service, [candidate])
        except EngineError as error:
            candidate.done()
            if not error.retryable:
                await self.end(error.detail)
            raise
        file.close()
        self._file = None
        await asyncio.to_thread(self._partials.touch, self.spec.id)
        return job

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While inside, the ledger hears now and then how much has come. A cancelled job interrupts the caller."""
        telling = asyncio.create_task(self._signs.forever(self._start))
        try:
            with self.turn.interruptible():
                yield
        finally:
            telling.cancel()

    async def look(self) -> None:
        """Asks the ledger whether the job is over. Ends the upload then, and raises Gone."""
        if not self.note.is_partial and not self.accepted:
            await self._signs.look()
            await self.check_wanted()

    async def check_wanted(self) -> None:
        """Ends the upload, and raises Gone, when its job is over."""
        if self._signs.unwanted:
            await self.end(_CANCELLED)
            raise Gone(_CANCELLED)

    async def rewrite(self) -> None:
        """Writes the note as it is now. One at a time, and to its end, so that the last one has the last word."""

        async def write() -> None:
            async with self._writing:
                await asyncio.to_thread(self._partials.rewrite, self.note)

        await asyncio.shield(asyncio.ensure_future(write()))

    def _open(self) -> File:
        if self._file is None:
            raise Conflict("This upload is finished.")
        return self._file


async def tell_end(service: AsyncService, note: Note) -> None:
    """The ledger hears what became of an upload; may be told again. Of one that died untold it learns by the time."""
    job = note.spec.id
    tell: dict[End, operations.Operation[Any]] = {
        "discard": arrivals.discard(job),
        "expire": arrivals.expire(job),
        "cancel": operations.command(job, "cancel"),
    }
    with suppress(EngineError):
        await service.ledger.run(tell[note.end])


def _settle(file: File) -> None:
    file.flush()
    if file.wrote:
        file.sync()
