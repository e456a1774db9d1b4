"""The moment when a file in the spool becomes a job, and the way there of one that comes as a body."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from engine import arrivals, operations, records
from engine.announced import check_expected, wanted_digests
from engine.digests import Digest
from engine.errors import Conflict, EngineError, Invalid, LedgerUnavailable
from engine.incoming import Incoming
from engine.models import JobSpec, Sidecar, SubmitOptions, TransferPlan, dumps
from engine.repeats import counted, superseded
from engine.views import job_view

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
        await self._tell()
        while self.has_more:  # it came meanwhile, and nothing else may come for long
            await self._tell()

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
        if not heard.state:
            await self._register()  # Redis lost it
        self._service.minter.send(heard.tokens)

    async def _register(self) -> None:
        ledger = self._service.ledger
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

    async def accept(self, expected: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Makes it a job. From the answer on nothing loses the file. `expected`: digests by name, lower-case hex."""
        return (await accept_all(self._service, [self], expected or {}))[0]

    async def discard(self) -> None:
        """Removes the bytes and the job; may be called twice, and after a failed accept."""
        self._keeper.cancel()
        await asyncio.to_thread(self._content.discard)
        if not self._registered or self._retained:
            return
        try:
            await self._service.ledger.run(arrivals.discard(self.spec.id))
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

    # ------------------------------------------------------------------ the steps of accept_all

    def finish(self, expected: Mapping[str, str]) -> Sidecar:
        """The sidecar, when the bytes are those announced and fit their plans. Blocking, unless a small reception's."""
        digest = self._content.digest()
        check_expected(expected, digest)
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


async def accept_all(
    service: AsyncService, receptions: Sequence[Candidate], expected: Mapping[str, str]
) -> list[dict[str, Any]]:
    """All become jobs, or none does.

    A failure before the ledger was asked takes everything back. When the ledger's answer is lost, the files stay and
    the error says
    503: reconciliation finds them and makes the jobs, or finds that they are there.
    """
    with ExitStack() as entered:
        for one in receptions:
            about = {"bucketline.job": one.spec.id}
            entered.enter_context(service.spans.start("accept", one.spec.traceparent, about=about))
        if all(isinstance(one, Reception) and one.is_small for one in receptions):
            entered.enter_context(service.precedence.small())
        return await _accept_all(service, receptions, expected)


async def _accept_all(
    service: AsyncService, receptions: Sequence[Candidate], expected: Mapping[str, str]
) -> list[dict[str, Any]]:
    try:
        await _bind(service, receptions)
        sidecars = await _committed(service, receptions, expected)
    except EngineError:
        for one in receptions:
            await one.discard()
        raise
    tokens: list[records.Token] = []
    views: list[dict[str, Any]] = []
    for one in receptions:
        one.done()
    for count, (one, sidecar) in enumerate(zip(receptions, sidecars, strict=True)):
        answer = await service.ledger.run(operations.accept_sidecar(sidecar, service.settings))
        if not answer.made and answer.state in ("cancelling", "cancelled", "expired"):
            await _none(service, receptions[:count], receptions[count:])
            raise Conflict("The job was cancelled while its file was being received.")
        if not answer.made and answer.state == "superseded":
            await _none(service, receptions[:count], receptions[count:])
            raise superseded()
        tokens += answer.tokens
        views.append(job_view(answer.record) if answer.record else (await service.job(one.spec.id))[0])
    service.minter.send(tokens)
    return views


async def _bind(service: AsyncService, receptions: Sequence[Candidate]) -> None:
    """An Idempotency-Key knows the jobs to be before they are durable: whatever happens from here on, it is found."""
    once = receptions[0].spec.once
    if once is not None:
        await service.repeats.bind(once, [one.spec.id for one in receptions])
        for one, spec in zip(receptions, counted([one.spec for one in receptions]), strict=True):
            one.spec = spec


async def _none(service: AsyncService, made: Sequence[Candidate], unmade: Sequence[Candidate]) -> None:
    """One of them was cancelled: those that are jobs already are cancelled too, before anybody works on them."""
    for one in unmade:
        await one.discard()
    for one in made:
        await service.ledger.run(operations.command(one.spec.id, "cancel"))
        await asyncio.to_thread(one.take_back)


async def _committed(
    service: AsyncService, receptions: Sequence[Candidate], expected: Mapping[str, str]
) -> list[Sidecar]:
    small = [one for one in receptions if isinstance(one, Reception) and one.is_small]
    if len(small) < len(receptions):
        return await asyncio.to_thread(_commit_all, receptions, expected)
    sidecars = [one.finish(expected) for one in small]
    _refuse_overwriting(sidecars)
    for one, sidecar in zip(small, sidecars, strict=True):
        one.append(sidecar)
    await service.settler.settle([one.settle for one in small])
    return sidecars


def _commit_all(receptions: Sequence[Candidate], expected: Mapping[str, str]) -> list[Sidecar]:
    sidecars = [one.finish(expected) for one in receptions]
    _refuse_overwriting(sidecars)
    committed: list[Candidate] = []
    try:
        for one, sidecar in zip(receptions, sidecars, strict=True):
            one.commit(sidecar)
            committed.append(one)
    except EngineError:
        for one in committed:
            one.take_back()
        raise
    return sidecars


def _refuse_overwriting(sidecars: Sequence[Sidecar]) -> None:
    """Files that are sent together never replace each other: a template that gives two of them one key is a mistake."""
    taken: dict[str, Sidecar] = {}
    for sidecar in sidecars:
        key, digest = sidecar.spec.key or "", sidecar.digest
        other = taken.setdefault(key, sidecar)
        if sidecar.spec.on_conflict == "replace" and (other.digest.size, other.digest.checksum) != (
            digest.size,
            digest.checksum,
        ):
            detail = (
                f"{other.spec.name!r} and {sidecar.spec.name!r} would both be stored as {key!r}, "
                "one in place of the other. Use a key_template with {name} or {id}, or on_conflict=rename."
            )
            raise Invalid(detail, errors=[{"pointer": "/key_template", "detail": detail}])
