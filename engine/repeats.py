"""Finds out whether a request with an Idempotency-Key is the first of its kind, and what the first one was told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from engine import once, operations
from engine.errors import Conflict, EngineError, Invalid, LedgerUnavailable
from engine.known import known_sidecar
from engine.models import JobSpec, Once, Sidecar
from engine.once import Answered
from engine.tombstones import Tombstones

if TYPE_CHECKING:
    from engine.service import AsyncService

LARGEST_BODY = 256 << 10
"""An answer that is larger is not kept word by word, only which jobs it was about."""
ASK_AGAIN_SECONDS = 5.0  # its answer may come at any moment, its time run out in a minute


class Repeats:
    """One per API process. Everything may raise LedgerUnavailable."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service
        self._ledger = service.ledger
        self._seconds = service.settings.idempotency_lease_seconds
        self._node = service.settings.node

    @property
    def renew_seconds(self) -> float:
        """How often a request that goes on has to say so."""
        return self._seconds / 3

    async def claim(self, name: str, fingerprint: str) -> Once | Answered:
        """The right to be the first request with this key, or what the first one was told.

        Raises `idempotency_busy` while the first one is still running, and `idempotency_mismatch` when it was another.
        """
        mine = Once(name, fingerprint, secrets.token_hex(8))
        verdict = await self._ledger.run(once.claim(mine, self._seconds, self._node))
        if verdict.word == "look":
            looked = await self._look(verdict.ids)
            verdict = await self._ledger.run(once.claim(mine, self._seconds, self._node, looked))
        if verdict.word == "mine":
            return mine
        if verdict.answered is not None:
            return verdict.answered
        if verdict.word == "other":
            raise Invalid(
                "This Idempotency-Key was used for another request: its length, digest or options are not the same.",
                code="idempotency_mismatch",
            )
        raise busy(min(verdict.left_ms / 1000, self._seconds, ASK_AGAIN_SECONDS))

    async def renew(self, held: Once) -> bool:
        """Says that the request goes on; False when another one has taken its place."""
        return await self._ledger.run(once.renew(held, self._seconds, self._node))

    async def bind(self, held: Once, jobs: Sequence[str]) -> None:
        """Writes down which jobs are about to be made, before anything of them is durable."""
        if not await self._ledger.run(once.renew(held, self._seconds, self._node, jobs)):
            raise superseded()

    async def answer(self, held: Once, status: int, location: str, body: bytes) -> None:
        """Keeps what the client is about to be told."""
        if len(body) <= LARGEST_BODY:
            await self._ledger.run(once.answer(held, status, location, body))

    async def release(self, held: Once) -> None:
        """The request failed: the next one with this key is a real try."""
        await self._ledger.run(once.release(held))

    async def _look(self, ids: str) -> str:
        """Whether an earlier request came so far that its bytes are durable: then they are made jobs here and now."""
        if not ids:
            if await asyncio.to_thread(self._disk_knows_anything):
                raise LedgerUnavailable(
                    "Redis has not been compared with the spool yet: whether this Idempotency-Key was used is not "
                    "known. A worker of this node compares them when it starts, within seconds.",
                    retry_after=2,
                )
            return "*"
        for job in ids.split(","):
            sidecar = await asyncio.to_thread(self._sidecar, job)
            if sidecar is not None:
                made = operations.accept_sidecar(sidecar, self._service.settings, remade=True)
                self._service.minter.send((await self._ledger.run(made)).tokens)
        return ids

    def _sidecar(self, job: str) -> Sidecar | None:
        spool = self._service.spool
        try:
            sidecar = known_sidecar(spool, job)
            if sidecar is not None and sidecar.spec.source.spooled:
                spool.source(job)  # a sidecar counts only together with its bytes
        except (EngineError, msgspec.MsgspecError):
            return None
        return sidecar

    def _disk_knows_anything(self) -> bool:
        if next(iter(self._service.spool.sidecars()), None) is not None:
            return True
        ends = Tombstones(self._service.settings.spool / "ended")
        return next(iter(ends.scan()), None) is not None


def busy(seconds: float) -> Conflict:
    """409: the first request with this key has not been answered yet."""
    return Conflict(
        "The first request with this Idempotency-Key is still running; send this one again later to get its answer.",
        code="idempotency_busy",
        retryable=True,
        retry_after=max(1.0, seconds),
    )


def superseded() -> Conflict:
    """409: this request stood still for so long that another one with its key took its place."""
    return Conflict(
        "Another request with this Idempotency-Key took the place of this one, which was silent for too long. Nothing "
        "of this one was kept; send it again to get the other one's answer.",
        code="idempotency_busy",
        retryable=True,
        retry_after=1,
    )


def counted(specs: Sequence[JobSpec]) -> list[JobSpec]:
    """The jobs of one request, each of which knows how many they are."""
    return [
        msgspec.structs.replace(spec, once=msgspec.structs.replace(spec.once, of=len(specs))) if spec.once else spec
        for spec in specs
    ]
