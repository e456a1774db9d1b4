"""One chunk of an upload, from the body of a request into the file that grows."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

from api.bodies import Body
from api.caller import Caller
from api.life import Life
from api.limits import READ_AHEAD_BYTES, Pace
from api.problems import Problem
from api.service import Service
from engine.sums import Sum
from engine.turns import Interrupted
from engine.upload import Upload

DRAIN_SECONDS = 0.02


class Promised(NamedTuple):
    """What the client says of a chunk: its `Upload-Checksum`, and its `Content-Digest` as {"sha256": bytes}."""

    checksum: Sum | None
    digests: dict[str, bytes]


class Chunks:
    """How chunks are taken in by this process."""

    def __init__(self, service: Service, life: Life, *, max_size: int | None, pace: Pace) -> None:
        self._service = service
        self._life = life
        self._max_size = max_size
        self._pace = pace

    async def take(self, caller: Caller, upload: Upload, promised: Promised) -> None:
        """One chunk, to its end or to the client's; then the job, if it was the last one."""
        with self._life.receiving():
            await upload.begin(caller.declared, promised.checksum, proof=bool(promised.digests))
            try:
                await self._pour(caller, upload, promised.digests)
            except Problem as problem:
                if problem.code in ("too_large", "checksum_mismatch"):
                    upload.take_back()
                if problem.code == "too_slow":
                    # tus clients give up at a 408, and try again after a 503.
                    raise Problem("too_slow", problem.detail, status=503) from problem
                raise
            if not await upload.prove():
                raise Problem("checksum_mismatch", "The chunk is not what its checksum says.", status=460)
            await upload.settle()
            if upload.is_whole:
                await upload.finish()

    async def _pour(self, caller: Caller, upload: Upload, digests: dict[str, bytes]) -> None:
        most = caller.visit.limit(self._max_size) if upload.note.length is None else upload.note.length
        limit = None if most is None else most - upload.offset
        give_way = self._service.give_way
        with Body(
            caller.receive, declared=caller.declared, limit=limit, digests=digests, pace=self._pace, give_way=give_way
        ) as body:
            stop = asyncio.create_task(self._at_stop(upload))
            try:
                with upload.watched():
                    while chunk := await body.next():
                        upload.write(chunk)
            except Interrupted:
                await _drain(body, upload)
                await upload.check_wanted()
                if self._life.stopping:
                    raise Problem("stopping", "What had arrived is kept: go on in a moment.") from None
                raise
            finally:
                stop.cancel()

    async def _at_stop(self, upload: Upload) -> None:
        """A chunk does not hold up the end of the process: its client goes on with the next one."""
        await self._life.stopped()
        upload.turn.ask()


async def _drain(body: Body, upload: Upload) -> None:
    """Takes what has come already, and waits for nothing: the client that left is often the one that now asks."""
    most = body.received + READ_AHEAD_BYTES
    with suppress(Problem, TimeoutError):
        while body.received < most:
            async with asyncio.timeout(DRAIN_SECONDS):
                chunk = await body.next()
            if not chunk:
                return
            upload.write(chunk)
