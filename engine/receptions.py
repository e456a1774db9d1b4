"""Files that are to become jobs, while they come: known to the ledger, kept alive, sent where they can be."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from engine import arrivals
from engine.announced import wanted_digests
from engine.digests import Digest
from engine.errors import Conflict, LedgerUnavailable
from engine.incoming import Incoming
from engine.models import JobSpec, Sidecar, SubmitOptions, TransferPlan, dumps

if TYPE_CHECKING:
    from engine.service import AsyncService

RECEPTION_SECONDS = 60.0
EARLY_BYTES = 4 << 20
"""When so much has come, it is looked at whether the rest is waited for."""
SHOWN_AFTER_SECONDS = (
    0.25  # what is received sooner never shows as `receiving`: one call to Redis less for every small file
)


class Content(Protocol):
    """The bytes of a file in the spool that is no job yet. All but the properties wait for the disk."""

    @property
    def received(self) -> int: ...
    @property
    def readable(self) -> int:
        """So many of them can be read in the spool by now."""

    @property
    def head(self) -> bytes: ...
    def digest(self) -> Digest: ...
    def digest_again(self, algorithms: Collection[str], /) -> Digest: ...
    def commit(self, sidecar: bytes, /) -> None: ...
    def discard(self) -> None: ...


class Candidate:
    """A file in the spool that is to become a job. `retained`: when it does not, the ledger's record stays with whoever
    made the candidate; else it goes. The ledger waits `seconds` for a sign of life. `plans`: of its transfers, if they
    have begun already.
    """

    def __init__(
        self,
        service: AsyncService,
        spec: JobSpec,
        content: Content,
        size: int | None,
        *,
        seconds: float = RECEPTION_SECONDS,
        retained: bool = False,
        plans: Sequence[TransferPlan] = (),
    ) -> None:
        self.spec = spec
        self._service = service
        self._content = content
        self._size = size
        self._seconds = seconds
        self._retained = retained
        self._plans = list(plans)
        self._registered = False
        self._asked = False  # whether the ledger may know of it: its answer can be lost
        self._over = False
        self._telling = asyncio.Lock()
        self._next_part = next_part(plans, 0) if plans else EARLY_BYTES
        self._keeper = asyncio.get_running_loop().create_task(self._keep_alive())

    @property
    def received(self) -> int:
        return self._content.received

    @property
    def has_more(self) -> bool:
        """Whether a part can be sent of which the ledger has not heard."""
        return self._content.readable >= self._next_part

    async def progress(self) -> None:
        """Publishes how much arrived, and has it sent where it can be; raises Conflict when the job was cancelled."""
        async with self._telling:
            going_on = not self._over
            while going_on:
                await self._tell()
                going_on = self.has_more and not self._over  # it came meanwhile, and nothing else may come for long

    async def _tell(self) -> None:
        if not self._registered:
            await self._register()
            if not self._plans:
                return  # the first sign of life said it all
        elif not self._plans:
            await self._begin_early()
        readable = self._content.readable
        if self._plans:
            self._next_part = next_part(self._plans, readable)
        heard = await self._service.ledger.run(arrivals.received(self.spec.id, self.received, self._seconds, readable))
        if heard.state in ("cancelling", "cancelled"):
            raise Conflict("The job was cancelled while its file was being received.")
        if not heard.state and not self._over:
            await self._register()  # Redis lost it
        self._service.minter.send(heard.tokens)

    async def _register(self) -> None:
        ledger = self._service.ledger
        self._asked = True
        await ledger.run(arrivals.receive(self.spec, self._size, self._seconds, retained=self._retained))
        self._registered = True
        if self._plans:
            await ledger.run(self._service.early(self.spec, self._plans, self._size or 0, lost=True))

    async def _begin_early(self) -> None:
        found = self._service.desk.planning.early(self.spec, self._size, self._content.head)
        self._next_part = next_part(found[1], 0) if found is not None else math.inf
        if found is None or not self.has_more:
            return
        self.spec, self._plans = found
        await self._service.ledger.run(self._service.early(self.spec, self._plans, self._size or 0, lost=False))

    def revise(self, options: SubmitOptions) -> None:
        """Options that came after the file; raises like `prepare`."""
        spec = self._service.desk.prepare(options, size=self.received, owner=self.spec.owner, job=self.spec.id)
        kept = {name: getattr(self.spec, name) for name in ("created_ms", "token", "request_id", "traceparent", "once")}
        self.spec = msgspec.structs.replace(spec, **kept)

    def discard(self) -> Coroutine[Any, Any, None]:
        """Removes the bytes and the job; may be called twice, and after a failed accept. It is over from this call on,
        also where a task of its own does the rest: nothing more is told of it.
        """
        self._over = True
        return self._discard()

    async def _discard(self) -> None:
        # What is being told would come to the ledger after this, and make the job again: nobody's, for a minute.
        async with self._telling:
            self._keeper.cancel()
        await asyncio.to_thread(self._content.discard)
        ledger = self._service.ledger
        # Where its making had no answer and Redis is away, whoever waits for a refusal does not wait for it once more.
        if self._retained or not (self._registered or (self._asked and ledger.answers)):
            return
        try:
            await ledger.run(arrivals.discard(self.spec.id))
        except LedgerUnavailable:
            pass  # the reception's time runs out in the ledger

    async def _keep_alive(self) -> None:
        """Shows what is not over in a moment, and keeps it alive: a client may pause for long between two bytes."""
        pause = SHOWN_AFTER_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = RECEPTION_SECONDS / 3
            try:
                await self.progress()
            except LedgerUnavailable:
                continue
            except Conflict:
                return  # whoever writes the next bytes hears of it

    # ------------------------------------------------------------------ the steps of accepting

    def finish(self) -> Sidecar:
        """The sidecar, when the bytes are those announced and fit their plans. Blocking, unless a small reception's."""
        digest = self._content.digest()
        if self._missing_digests(digest):
            digest = self._content.digest_again(wanted_digests(self.spec))
        spec, plans = self._service.desk.planning.finish(self.spec, digest, self._content.head)
        self.spec = spec
        now = int(time.time() * 1000)
        return Sidecar(
            spec=spec, digest=digest, accepted_ms=now, transfers=self._plans or plans, early=bool(self._plans)
        )

    def commit(self, sidecar: Sidecar) -> None:
        """Puts bytes and sidecar into place, durably. Blocking."""
        self._content.commit(dumps(sidecar))

    def _missing_digests(self, digest: Digest) -> frozenset[str] | set[str]:
        return wanted_digests(self.spec) - ({"sha256"} if digest.sha256 else set())

    def take_back(self) -> None:
        """Undoes a commit whose companions failed. Blocking."""
        self._content.discard()

    def done(self) -> None:
        self._over = True
        self._keeper.cancel()


class Reception(Candidate):
    """Made by `AsyncService.receive`. Until it is accepted, it can be discarded without a trace."""

    def __init__(self, service: AsyncService, spec: JobSpec, incoming: Incoming, size: int | None) -> None:
        super().__init__(service, spec, incoming, size)
        self._incoming = incoming

    def write(self, chunk: bytes | memoryview) -> None:
        """Takes bytes, inline. Raises SpoolFull, TooLarge or SpoolUnavailable."""
        self._incoming.write(chunk)

    @property
    def is_small(self) -> bool:
        """Whether accepting it takes no more than memory, and one fsync that it shares with others."""
        return self._incoming.is_small and not self._missing_digests(self._incoming.digest())

    def append(self, sidecar: Sidecar) -> None:
        """The first half of `commit`, for a small file."""
        self._incoming.append(dumps(sidecar))

    def settle(self) -> None:
        """The other half. Blocking."""
        self._incoming.settle()


def next_part(plans: Sequence[TransferPlan], readable: int) -> float:
    """How many bytes have to be there until one more part can be sent."""
    least = min(plan.part_size for plan in plans)
    return (readable // least + 1) * least
