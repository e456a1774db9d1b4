"""The client: submits files to a Bucketline, follows their jobs, and commands them.

    with Client("http://127.0.0.1:8000") as client:
        job = client.submit("holiday.mp4", destinations=["archive"])
        job = client.wait(job.id)

Blocking and thread-safe; `AsyncClient` has the same methods for asyncio. Errors are `Unreachable` (no answer, or 503)
and `Refused` (an answer with a problem in it). Here are only the connections: what is said over them, both share.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, Unpack, cast

import httpx

from bucketline import calls, resumable, sending
from bucketline.bodies import Rewindable, Stream, unheard
from bucketline.connection import Server, patient, request
from bucketline.exchange import STRANGE, Answer, Ask, Exchange, stranger
from bucketline.faults import BrokenOff, ClientError, Refused, Unreachable
from bucketline.following import PATIENCE_SECONDS, Following, ended
from bucketline.results import Event, FailedAttempt, Job, Page, Part, Problem, Token

__all__ = [
    "BrokenOff", "Client", "ClientError", "Event", "FailedAttempt", "Job", "Page", "Part", "Problem", "Refused",
    "Token", "Unreachable",
]  # fmt: skip

T = TypeVar("T")


class Client:
    """One Bucketline. `url` and `token` default to BUCKETLINE_URL and BUCKETLINE_TOKEN (or BUCKETLINE_API_KEY)."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._server = Server.found(url, token)
        self.url = self._server.url
        self._http = httpx.Client(**self._server.settings(timeout), transport=transport)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- submit -----------------------------------------------------------------------------------------------------

    def submit(
        self,
        file: sending.File,
        *,
        idempotency_key: str | None = None,
        on_sent: Callable[[int], None] | None = None,
        **options: Unpack[sending.Options],
    ) -> Job:
        """Send a file and return its job once the server has it safely; the bytes are streamed, never held.

        `file` is a path or a binary file object (its length is asked from the file system where it has one; otherwise
        it is sent in chunks of unknown number). Nothing is sent twice by itself: with an `idempotency_key` (a UUID for
        each file) you can call this again after `Unreachable`, and no second job is made. `on_sent` is called with
        the bytes handed over so far.
        """
        params, headers = sending.parameters(file, options), sending.headers(options)
        with _opened(file) as opened:
            return self._run(calls.submit(Stream.of(opened, on_sent), params, headers, idempotency_key))

    def submit_source(
        self, source: sending.Source, *, idempotency_key: str | None = None, **options: Unpack[sending.Options]
    ) -> Job:
        """Have the server fetch the bytes: a file that it can read itself, a URL, or an object at a destination.

        `source` is {"path": …}, {"url": …} (also with "credentials") or {"destination": …, "key": …}.
        """
        return self._run(calls.submit_source(source, options, idempotency_key))

    def upload(
        self,
        file: sending.File,
        *,
        on_url: Callable[[str], None] | None = None,
        on_sent: Callable[[int], None] | None = None,
        chunk_size: int = resumable.CHUNK_SIZE,
        patience: float = PATIENCE_SECONDS,
        **options: Unpack[sending.Options],
    ) -> Job:
        """Send a file in chunks (tus), through broken connections and restarts of the server; returns its job.

        `on_url` gets the address of the upload before the first byte is sent: whoever keeps it can go on with
        `resume_upload` after this process died. Gives up with `BrokenOff` after `patience` seconds without progress.
        """
        params, headers = sending.parameters(file, options), sending.headers(options)
        rules = resumable.Rules(chunk_size, patience, on_sent or unheard)
        with _opened(file) as opened:
            return self._run(resumable.begin(self.url, Rewindable.of(opened), params, headers, on_url, rules))

    def resume_upload(
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
        with _opened(file) as opened:
            return self._run(resumable.go_on(self.url, url, Rewindable.of(opened), rules))

    # -- look -------------------------------------------------------------------------------------------------------

    def job(self, id: str) -> Job:
        return self._run(calls.job(id))

    def jobs(
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
        return self._run(calls.jobs(labels, state=state, destination=destination, q=q, limit=limit, cursor=cursor))

    def parts(self, id: str, destination: str | None = None) -> list[Part]:
        return self._run(calls.parts(id, destination))

    def failures(self, id: str, destination: str | None = None) -> list[FailedAttempt]:
        """The latest failed attempts of a transfer (the first, if none is named), also of what was made good since."""
        return self._run(calls.failures(id, destination))

    def destinations(self) -> list[dict[str, Any]]:
        return self._run(calls.destinations())

    def stats(self) -> dict[str, Any]:
        return self._run(calls.stats())

    # -- command ----------------------------------------------------------------------------------------------------

    def cancel(self, id: str) -> Job:
        return self.command(id, "cancel")

    def pause(self, id: str) -> Job:
        return self.command(id, "pause")

    def resume(self, id: str) -> Job:
        return self.command(id, "resume")

    def retry(self, id: str) -> Job:
        return self.command(id, "retry")

    def command(self, id: str, command: str) -> Job:
        """Cancel, pause, resume or retry a job; Refused with status 409 when its state does not allow that."""
        return self._run(calls.command(id, command))

    def add_destination(self, id: str, *names: str) -> Job:
        """Send the job's file to further destinations or routes, too; also after its end, while its source is there.

        Those it goes to already change nothing. Refused with status 409 when the source is gone.
        """
        return self._run(calls.add_destination(id, names))

    def forget(self, id: str) -> None:
        """Delete the record of a finished job."""
        self._run(calls.forget(id))

    # -- tokens -----------------------------------------------------------------------------------------------------

    def token(
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
        """A short-lived token for a page: for looking at one job, or for uploads narrowed to what is given here.

        `webhook` is told of the end of each of those uploads; the page itself cannot name one.
        """
        limits = {"prefix": prefix, "max_size": max_size, "uploads": uploads, "ttl_seconds": ttl_seconds}
        return self._run(calls.token(destinations, job=job, webhook=webhook, **limits))

    def end_token(self, id: str) -> None:
        """End a token before its time."""
        self._run(calls.end_token(id))

    # -- follow -----------------------------------------------------------------------------------------------------

    def wait(self, id: str, *, timeout: float | None = None, on_event: Callable[[Event], None] | None = None) -> Job:
        """Follow a job live until it has ended, through lost connections and restarts of the server.

        Raises TimeoutError after `timeout` seconds (up to 15 more when nothing happens), and Unreachable when the
        server stays away for a minute.
        """
        with closing(self._follow(Following.to_the_end(id, timeout))) as events:
            for event in events:
                if on_event is not None:
                    on_event(event)
                if (job := ended(event)) is not None:
                    return job
        return self.job(id)

    def events(
        self, id: str | None = None, *, last_event_id: str | None = None, patience: float = PATIENCE_SECONDS
    ) -> Iterator[Event]:
        """Events of one job until its end, or of all jobs for ever. A lost connection is taken up where it broke.

        The first connection must work; later ones are tried for `patience` seconds.
        """
        return self._follow(Following(id, last_event_id, patience))

    def _follow(self, following: Following) -> Generator[Event, None, None]:
        while True:
            try:
                yield from self._stream(following)
                if following.over:
                    return
                pause = following.lost()
            except Unreachable as error:
                pause = following.lost(error)
            time.sleep(pause)

    def _stream(self, following: Following) -> Iterator[Event]:
        """The events of one connection."""
        timeout = patient(following.silence())
        with self._server.errors():
            with self._http.stream("GET", following.path, headers=following.headers(), timeout=timeout) as response:
                content = b"" if response.is_success else response.read()
                following.answered(self._server.answer(response, content))
                for chunk in response.iter_bytes():
                    yield from following.events(chunk)
                    if following.over:
                        return

    # -- requests ---------------------------------------------------------------------------------------------------

    def _run(self, exchange: Exchange[T]) -> T:
        """Send what an exchange asks, and tell it the answers; returns its result."""
        try:
            ask = next(exchange)
            while True:
                try:
                    answer = self._answer(ask)
                except Unreachable as error:
                    ask = exchange.throw(error)
                else:
                    ask = exchange.send(answer)
        except StopIteration as end:
            return cast(T, end.value)
        except STRANGE as error:
            raise stranger(self.url) from error

    def _answer(self, ask: Ask) -> Answer:
        if ask.after:
            time.sleep(ask.after)
        content = _blocks(ask.body) if isinstance(ask.body, Stream) else ask.body
        with self._server.errors():
            response = self._http.request(**request(ask, content))
            return self._server.answer(response, response.content)


def _opened(file: sending.File) -> AbstractContextManager[BinaryIO]:
    """The file, closed afterwards only if it was opened here."""
    return Path(file).open("rb") if isinstance(file, str | os.PathLike) else nullcontext(file)


def _blocks(stream: Stream) -> Iterator[bytes]:
    while block := stream.read():
        yield block
        stream.sent(block)
