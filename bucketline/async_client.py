"""The client for asyncio: the methods of `Client`, each with the same parameters, to be awaited.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        job = await client.submit("holiday.mp4", destinations=["archive"])
        async for event in client.events(job.id):
            print(event.type, event.data["state"])

To be used in one event loop, by as many tasks as you like. Files are read in threads, so the loop never waits for a
disk. Callbacks (`on_sent`, `on_url`, `on_event`) are plain functions, called in the loop.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, Unpack, cast

import httpx

from bucketline import calls, resumable, sending
from bucketline.bodies import Rewindable, Stream, unheard
from bucketline.connection import Server, patient, request
from bucketline.exchange import STRANGE, Answer, Ask, Exchange, stranger
from bucketline.faults import Unreachable
from bucketline.following import PATIENCE_SECONDS, Following, ended
from bucketline.results import Event, FailedAttempt, Job, Page, Part, Token

T = TypeVar("T")


class AsyncClient:
    """One Bucketline. `url` and `token` default to BUCKETLINE_URL and BUCKETLINE_TOKEN (or BUCKETLINE_API_KEY)."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._server = Server.found(url, token)
        self.url = self._server.url
        self._http = httpx.AsyncClient(**self._server.settings(timeout), transport=transport)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- submit -----------------------------------------------------------------------------------------------------

    async def submit(
        self,
        file: sending.File,
        *,
        idempotency_key: str | None = None,
        on_sent: Callable[[int], None] | None = None,
        **options: Unpack[sending.Options],
    ) -> Job:
        """Send a file and return its job once the server has it safely. See `Client.submit`."""
        params, headers = sending.parameters(file, options), sending.headers(options)
        async with _opened(file) as opened:
            body = await asyncio.to_thread(Stream.of, opened, on_sent)
            return await self._run(calls.submit(body, params, headers, idempotency_key))

    async def submit_source(
        self, source: sending.Source, *, idempotency_key: str | None = None, **options: Unpack[sending.Options]
    ) -> Job:
        """Have the server fetch the bytes from a path, a URL or a destination. See `Client.submit_source`."""
        return await self._run(calls.submit_source(source, options, idempotency_key))

    async def upload(
        self,
        file: sending.File,
        *,
        on_url: Callable[[str], None] | None = None,
        on_sent: Callable[[int], None] | None = None,
        chunk_size: int = resumable.CHUNK_SIZE,
        patience: float = PATIENCE_SECONDS,
        **options: Unpack[sending.Options],
    ) -> Job:
        """Send a file in chunks, through broken connections and restarts of the server. See `Client.upload`."""
        params, headers = sending.parameters(file, options), sending.headers(options)
        rules = resumable.Rules(chunk_size, patience, on_sent or unheard)
        async with _opened(file) as opened:
            whole = await asyncio.to_thread(Rewindable.of, opened)
            return await self._run(resumable.begin(self.url, whole, params, headers, on_url, rules))

    async def resume_upload(
        self,
        url: str,
        file: sending.File,
        *,
        on_sent: Callable[[int], None] | None = None,
        chunk_size: int = resumable.CHUNK_SIZE,
        patience: float = PATIENCE_SECONDS,
    ) -> Job:
        """Go on with an upload that `upload` began, in this process or another one, from the byte where it stopped."""
        rules = resumable.Rules(chunk_size, patience, on_sent or unheard)
        async with _opened(file) as opened:
            whole = await asyncio.to_thread(Rewindable.of, opened)
            return await self._run(resumable.go_on(self.url, url, whole, rules))

    # -- look -------------------------------------------------------------------------------------------------------

    async def job(self, id: str) -> Job:
        return await self._run(calls.job(id))

    async def jobs(
        self,
        *,
        state: str | None = None,
        destination: str | None = None,
        labels: Mapping[str, str] | None = None,
        q: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """One page of jobs, newest first."""
        wanted = calls.jobs(labels, state=state, destination=destination, q=q, limit=limit, cursor=cursor)
        return await self._run(wanted)

    async def parts(self, id: str, destination: str | None = None) -> list[Part]:
        return await self._run(calls.parts(id, destination))

    async def failures(self, id: str, destination: str | None = None) -> list[FailedAttempt]:
        """The latest failed attempts of a transfer (the first, if none is named), also of what was made good since."""
        return await self._run(calls.failures(id, destination))

    async def destinations(self) -> list[dict[str, Any]]:
        return await self._run(calls.destinations())

    async def stats(self) -> dict[str, Any]:
        return await self._run(calls.stats())

    # -- command ----------------------------------------------------------------------------------------------------

    async def cancel(self, id: str) -> Job:
        return await self.command(id, "cancel")

    async def pause(self, id: str) -> Job:
        return await self.command(id, "pause")

    async def resume(self, id: str) -> Job:
        return await self.command(id, "resume")

    async def retry(self, id: str) -> Job:
        return await self.command(id, "retry")

    async def command(self, id: str, command: str) -> Job:
        """Cancel, pause, resume or retry a job; Refused with status 409 when its state does not allow that."""
        return await self._run(calls.command(id, command))

    async def add_destination(self, id: str, *names: str) -> Job:
        """Send the job's file to further destinations or routes, too. See `Client.add_destination`."""
        return await self._run(calls.add_destination(id, names))

    async def forget(self, id: str) -> None:
        """Delete the record of a finished job."""
        await self._run(calls.forget(id))

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def token(
        self,
        *,
        job: str | None = None,
        destinations: Iterable[str] = (),
        prefix: str | None = None,
        max_size: int | None = None,
        uploads: int | None = None,
        webhook: str | None = None,
        ttl_seconds: int | None = None,
    ) -> Token:
        """A short-lived token for a page: for looking at one job, or for uploads narrowed to what is given here."""
        limits = {"prefix": prefix, "max_size": max_size, "uploads": uploads, "ttl_seconds": ttl_seconds}
        return await self._run(calls.token(destinations, job=job, webhook=webhook, **limits))

    async def end_token(self, id: str) -> None:
        """End a token before its time."""
        await self._run(calls.end_token(id))

    # -- follow -----------------------------------------------------------------------------------------------------

    async def wait(
        self,
        id: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- as Client.wait has it
        on_event: Callable[[Event], None] | None = None,
    ) -> Job:
        """Follow a job live until it has ended, through lost connections and restarts. See `Client.wait`."""
        async with aclosing(self._follow(Following.to_the_end(id, timeout))) as events:
            async for event in events:
                if on_event is not None:
                    on_event(event)
                if (job := ended(event)) is not None:
                    return job
        return await self.job(id)

    def events(
        self, id: str | None = None, *, last_event_id: str | None = None, patience: float = PATIENCE_SECONDS
    ) -> AsyncIterator[Event]:
        """Events of one job until its end, or of all jobs for ever. See `Client.events`."""
        return self._follow(Following(id, last_event_id, patience))

    async def _follow(self, following: Following) -> AsyncGenerator[Event, None]:
        while True:
            try:
                async with aclosing(self._stream(following)) as events:
                    async for event in events:
                        yield event
                if following.over:
                    return
                pause = following.lost()
            except Unreachable as error:
                pause = following.lost(error)
            await asyncio.sleep(pause)

    async def _stream(self, following: Following) -> AsyncGenerator[Event, None]:
        """The events of one connection."""
        timeout = patient(following.silence())
        with self._server.errors():
            async with self._http.stream(
                "GET", following.path, headers=following.headers(), timeout=timeout
            ) as response:
                content = b"" if response.is_success else await response.aread()
                following.answered(self._server.answer(response, content))
                async for chunk in response.aiter_bytes():
                    for event in following.events(chunk):
                        yield event
                    if following.over:
                        return

    # -- requests ---------------------------------------------------------------------------------------------------

    async def _run(self, exchange: Exchange[T]) -> T:
        """Send what an exchange asks, and tell it the answers; returns its result."""
        try:
            ask = next(exchange)
            while True:
                try:
                    answer = await self._answer(ask)
                except Unreachable as error:
                    ask = exchange.throw(error)
                else:
                    ask = exchange.send(answer)
        except StopIteration as end:
            return cast(T, end.value)
        except STRANGE as error:
            raise stranger(self.url) from error

    async def _answer(self, ask: Ask) -> Answer:
        if ask.after:
            await asyncio.sleep(ask.after)
        content = _blocks(ask.body) if isinstance(ask.body, Stream) else ask.body
        with self._server.errors():
            response = await self._http.request(**request(ask, content))
            return self._server.answer(response, response.content)


@asynccontextmanager
async def _opened(file: sending.File) -> AsyncIterator[BinaryIO]:
    """The file, closed afterwards only if it was opened here."""
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    opened = await asyncio.to_thread(Path(file).open, "rb")
    try:
        yield opened
    finally:
        opened.close()


async def _blocks(stream: Stream) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(stream.read):
        yield block
        stream.sent(block)
