"""The moment when files in the spool become jobs: all that came in one request, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from engine import operations, records
from engine.errors import Conflict, Invalid
from engine.models import Sidecar
from engine.receptions import Candidate, Reception
from engine.repeats import counted, superseded
from engine.views import job_view

if TYPE_CHECKING:
    from engine.service import AsyncService


async def accept_all(service: AsyncService, receptions: Sequence[Candidate]) -> list[dict[str, Any]]:
    """All become jobs, or none does. From the answer on nothing loses the files.

    A failure before the ledger was asked takes everything back. When the ledger's answer is lost, the files stay and
    the error says 503: reconciliation finds them and makes the jobs, or finds that they are there.
    """
    with ExitStack() as entered:
        sidecars = await _durable(service, receptions, entered)
        return await _made(service, receptions, sidecars)


async def _durable(service: AsyncService, receptions: Sequence[Candidate], entered: ExitStack) -> list[Sidecar]:
    """All files are on the disk for good, or none is, whatever goes wrong: nobody else knows of them yet."""
    try:
        for one in receptions:
            about = {"bucketline.job": one.spec.id}
            entered.enter_context(service.spans.start("accept", one.spec.traceparent, about=about))
        if all(isinstance(one, Reception) and one.is_small for one in receptions):
            entered.enter_context(service.precedence.small())
        await _bind(service, receptions)
        return await _committed(service, receptions)
    except Exception:
        for one in receptions:
            await one.discard()
        raise


async def _made(
    service: AsyncService, receptions: Sequence[Candidate], sidecars: Sequence[Sidecar]
) -> list[dict[str, Any]]:
    """The ledger knows all of them, or none."""
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


async def _committed(service: AsyncService, receptions: Sequence[Candidate]) -> list[Sidecar]:
    small = [one for one in receptions if isinstance(one, Reception) and one.is_small]
    if len(small) < len(receptions):
        return await asyncio.to_thread(_commit_all, receptions)
    sidecars = [one.finish() for one in small]
    _refuse_overwriting(sidecars)
    for one, sidecar in zip(small, sidecars, strict=True):
        one.append(sidecar)
    await service.settler.settle([one.settle for one in small])
    return sidecars


def _commit_all(receptions: Sequence[Candidate]) -> list[Sidecar]:
    sidecars = [one.finish() for one in receptions]
    _refuse_overwriting(sidecars)
    committed: list[Candidate] = []
    try:
        for one, sidecar in zip(receptions, sidecars, strict=True):
            one.commit(sidecar)
            committed.append(one)
    except Exception:
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
