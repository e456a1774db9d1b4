"""Server-sent events: the feed of one job and the feed of all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import falcon.asgi
import msgspec

from api.caller import Caller
from api.jobs import checked_id
from api.life import Life
from api.limits import ALREADY_SECONDS, PING_SECONDS, RECONNECT_MILLISECONDS
from api.problems import invalid
from api.service import Event, Service
from api.strict import query_pairs, unknown_parameter
from engine.errors import EngineError
from engine.models import JOB_OVER

log = logging.getLogger("bucketline.api")

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_PING = b": ping\n\n"


class Feed:
    """`/v1/events` and `/v1/jobs/{id}/events`."""

    def __init__(self, service: Service, life: Life, *, ping_seconds: float = PING_SECONDS) -> None:
        self._service = service
        self._life = life
        self._ping_seconds = ping_seconds

    async def on_get_all(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._stream(req, resp, self._service.events(None, _last_event_id(req), req.scope["bucketline"].who.sees))

    async def on_get_one(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: str) -> None:
        last = _last_event_id(req)
        job, _ = await self._service.job(checked_id(job_id), req.scope["bucketline"].who)
        events = self._service.events(job_id, last)
        first: Event | None = None
        if last is not None and job["state"] in JOB_OVER:
            # Of a finished job everything is known at once: nothing after this id means that it is the id of `end`.
            first = await self._life.until(_next(events), seconds=ALREADY_SECONDS)
            if first is None:
                resp.status = 204
                return
        self._stream(req, resp, events, first)

    def _stream(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        events: AsyncIterator[Event],
        first: Event | None = None,
    ) -> None:
        for name, value in _HEADERS.items():
            resp.set_header(name, value)
        if req.scope["bucketline"].token_in_query:
            resp.set_header("Cache-Control", "private, no-store, no-transform")  # RFC 6750, section 2.3
        resp.stream = self._frames(events, first, req.scope["bucketline"])

    async def _frames(self, events: AsyncIterator[Event], first: Event | None, caller: Caller) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        look_at = clock() + self._ping_seconds
        yield b"retry: %d\n\n" % RECONNECT_MILLISECONDS
        if first is not None:
            yield frame(first)
        end = asyncio.create_task(self._life.stopped())
        upcoming: asyncio.Task[Event | None] | None = None
        try:
            while not self._life.stopping:
                upcoming = upcoming or asyncio.create_task(_next(events))
                await asyncio.wait({upcoming, end}, timeout=self._ping_seconds, return_when=asyncio.FIRST_COMPLETED)
                if upcoming.done():
                    event, upcoming = upcoming.result(), None
                    if event is None:
                        return
                    yield frame(event)
                elif not end.done():
                    yield _PING
                if clock() >= look_at:
                    look_at = clock() + self._ping_seconds
                    if not await caller.lives():
                        return  # its key or token has ended; coming back, the client hears of it
        except EngineError as error:
            log.warning("an event stream ends early: %s", error.detail)  # its reader comes back with Last-Event-ID
        finally:
            await _close(events, upcoming, end)


def frame(event: Event) -> bytes:
    """One event on the wire; its data is one line."""
    name = event.event.encode()
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), name, msgspec.json.encode(event.data))


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


async def _close(events: AsyncIterator[Event], *tasks: asyncio.Task[object] | None) -> None:
    waiting = [task for task in tasks if task is not None]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


def _last_event_id(req: falcon.asgi.Request) -> str | None:
    """Where a reader left off: the header that browsers send, or the parameter for a first connection."""
    asked: str | None = None
    for name, value in query_pairs(req.scope["query_string"]):
        if name != "last_event_id":
            unknown_parameter(name, ("last_event_id",))
        asked = value
    told = req.get_header("Last-Event-ID")
    for one in (told, asked):
        if one is not None and (len(one) > 128 or not one.isprintable()):
            raise invalid("/last_event_id", "This is not the id of an event.", code="bad_cursor")
    return told or asked or None
