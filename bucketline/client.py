"""The client: submits files to a Bucketline, follows their jobs, and commands them.

    with Client("http://127.0.0.1:8000") as client:
        job = client.submit("holiday.mp4", destinations=["archive"])
        job = client.wait(job.id)

Blocking and thread-safe. Errors are `Unreachable` (no answer, or 503) and `Refused` (an answer with a problem in it).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, Unpack
from urllib.parse import quote

import httpx
import msgspec

from bucketline import resumable, sending, sse
from bucketline.faults import ClientError, Refused, Unreachable
from bucketline.results import TERMINAL, Event, Job, Page, Part, Problem, Token

__all__ = ["Client", "ClientError", "Event", "Job", "Page", "Part", "Problem", "Refused", "Token", "Unreachable"]

# Small enough that httpcore, which copies what a socket did not take, seldom copies much; large enough for 1 GB/s.
READ_SIZE = 256 << 10
# The API pings every 15 s: silence of three pings means that the line is dead.
SILENCE_SECONDS = 45.0
# The answer to a large body comes after its fsync.
ANSWER_SECONDS = 300.0
RECONNECT_SECONDS = 0.5
PATIENCE_SECONDS = 60.0  # how long a server that was there may stay away


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
        environ = os.environ
        self.url = (url or environ.get("BUCKETLINE_URL") or "http://127.0.0.1:8000").rstrip("/")
        token = token or environ.get("BUCKETLINE_TOKEN") or environ.get("BUCKETLINE_API_KEY")
        headers = {"User-Agent": "bucketline-client"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            # trust_env off: a proxy of the machine must not see files that are meant for a server beside us.
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=timeout, transport=transport, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(f"{self.url!r} is not the address of a Bucketline: {error}") from None

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
        params = sending.parameters(file, options)
        headers = {"Content-Type": "application/octet-stream"} | sending.headers(options)
        if idempotency_key is not None:
            headers["Idempotency-Key"] = sending.quoted(idempotency_key)
        with _opened(file) as opened:
            return self._send(opened, params, headers, on_sent)

    def submit_source(
        self,
        source: Mapping[str, str],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[sending.Options],
    ) -> Job:
        """Return the job for a file that the server fetches itself, and that is not sent at all.

        `source` is {"path": …} (a file that API and workers see there, below BUCKETLINE_SOURCE_ROOTS), {"url": …} or
        {"destination": …, "key": …}. The source has to stay as it is until the job has ended.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": sending.quoted(idempotency_key)}
        return Job.read(self._request("POST", "/v1/jobs", json=sending.document(source, options), headers=headers))

    def _send(
        self,
        file: BinaryIO,
        params: Mapping[str, str],
        headers: dict[str, str],
        on_sent: Callable[[int], None] | None,
    ) -> Job:
        size = sending.size_of(file)
        if size is not None:
            headers["Content-Length"] = str(size)
        answer = self._request(
            "POST",
            "/v1/jobs",
            params=params,
            headers=headers,
            content=_blocks(file, size, on_sent or _unheard),
            timeout=httpx.Timeout(30.0, write=ANSWER_SECONDS, read=ANSWER_SECONDS),
        )
        return Job.read(answer)

    # -- submit in chunks that survive breaks -----------------------------------------------------------------------

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
        `resume_upload` after this process died. Gives up after `patience` seconds without progress.
        """
        with _opened(file) as opened:
            size = _sized(opened)
            headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size)} | sending.headers(options)
            answer = self._answer("POST", "/v1/tus", params=sending.parameters(file, options), headers=headers)
            if not answer.is_success:
                raise self._error(answer)
            path, job = answer.headers["Location"], answer.headers["Bucketline-Job"]
            if on_url is not None:
                on_url(self.url + path)
            told = resumable.talk(
                path, opened, size, fresh=True, chunk_size=chunk_size, patience=patience, on_sent=on_sent or _unheard
            )
            self._converse(told, path)
        return self.job(job)

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
        path = url.removeprefix(self.url)
        if not path.startswith("/v1/tus/"):
            raise ClientError(f"{url!r} is no upload of {self.url}: give the address that `on_url` was called with")
        with _opened(file) as opened:
            told = resumable.talk(
                path,
                opened,
                _sized(opened),
                fresh=False,
                chunk_size=chunk_size,
                patience=patience,
                on_sent=on_sent or _unheard,
            )
            job = self._converse(told, path)
        return self.job(job)

    def _converse(self, talk: resumable.Talk, path: str) -> str:
        """Send what the conversation asks for, and tell it the answers; returns the id of the job."""
        answer: httpx.Response | None = None
        url = self.url + path
        try:
            step = next(talk)
            while True:
                if isinstance(step, resumable.Wait):
                    time.sleep(step.seconds)
                    step = talk.send(None)
                    continue
                try:
                    answer = self._answer(step.method, step.path, headers=step.headers, content=step.content)
                    step = talk.send(resumable.Answer(answer.status_code, answer.headers))
                except Unreachable:
                    step = talk.send(resumable.Answer(0, {}))
        except StopIteration as end:
            return str(end.value)
        except resumable.AwayError:
            why = f"the last answer was {answer.status_code}" if answer is not None else f"{self.url} does not answer"
            raise Unreachable(f"{why}; what was sent is kept: go on later with resume_upload({url!r}, …)") from None
        except resumable.GoneError:
            raise ClientError(f"{url} is gone: expired, cancelled or deleted; begin anew with upload()") from None
        except resumable.SizeError as error:
            raise ClientError(f"{error}; give the same file, or begin anew with upload()") from None
        except resumable.RefusedError:
            assert answer is not None
            raise self._error(answer) from None

    # -- look -------------------------------------------------------------------------------------------------------

    def job(self, id: str) -> Job:
        return Job.read(self._request("GET", f"/v1/jobs/{_segment(id)}"))

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
        asked = {"state": state, "destination": destination, "q": q, "limit": limit, "cursor": cursor}
        asked |= {f"label.{key}": value for key, value in (labels or {}).items()}
        answer = self._request("GET", "/v1/jobs", params={k: str(v) for k, v in asked.items() if v is not None})
        return Page([Job.read(item) for item in answer["items"]], answer.get("next_cursor"))

    def parts(self, id: str, destination: str | None = None) -> list[Part]:
        params = {"destination": destination} if destination else {}
        answer = self._request("GET", f"/v1/jobs/{_segment(id)}/parts", params=params)
        return msgspec.convert(answer["items"], list[Part], strict=False)

    def destinations(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._request("GET", "/v1/destinations")["items"]
        return items

    def stats(self) -> dict[str, Any]:
        return self._request("GET", "/v1/stats")

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
        return Job.read(self._request("POST", f"/v1/jobs/{_segment(id)}/{command}"))

    def forget(self, id: str) -> None:
        """Delete the record of a finished job."""
        self._request("DELETE", f"/v1/jobs/{_segment(id)}")

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
        wish = {
            "job": job,
            "destinations": list(destinations) or None,
            "prefix": prefix,
            "max_size": max_size,
            "uploads": uploads,
            "webhook": webhook,
            "ttl_seconds": ttl_seconds,
        }
        return msgspec.convert(self._request("POST", "/v1/tokens", json=wish), Token)

    def end_token(self, id: str) -> None:
        """End a token before its time."""
        self._request("DELETE", f"/v1/tokens/{_segment(id)}")

    # -- follow -----------------------------------------------------------------------------------------------------

    def wait(self, id: str, *, timeout: float | None = None, on_event: Callable[[Event], None] | None = None) -> Job:
        """Follow a job live until it has ended, through lost connections and restarts of the server.

        Raises TimeoutError after `timeout` seconds (up to 15 more when nothing happens), and Unreachable when the
        server stays away for a minute.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for event in self._follow(id, None, deadline, PATIENCE_SECONDS, opened=True):
            if on_event is not None:
                on_event(event)
            if event.type in ("end", "snapshot") and event.data.get("state") in TERMINAL:
                return Job.read(event.data)
        return self.job(id)

    def events(
        self,
        id: str | None = None,
        *,
        last_event_id: str | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Iterator[Event]:
        """Events of one job until its end, or of all jobs for ever. A lost connection is taken up where it broke.

        The first connection must work; later ones are tried for `patience` seconds.
        """
        return self._follow(id, last_event_id, None, patience, opened=False)

    def _follow(
        self, id: str | None, last: str | None, deadline: float | None, patience: float, *, opened: bool
    ) -> Iterator[Event]:
        path = "/v1/events" if id is None else f"/v1/jobs/{_segment(id)}/events"
        lost_at = 0.0
        while True:
            try:
                for event in self._stream(path, last, deadline):
                    opened, lost_at, last = True, 0.0, event.id or last
                    yield event
                    if event.type == "end" and id is not None:
                        return
            except _NothingMore:
                return
            except Unreachable:
                if not opened or (lost_at and time.monotonic() - lost_at > patience):
                    raise
            lost_at = lost_at or time.monotonic()
            _check(deadline)
            time.sleep(RECONNECT_SECONDS)

    def _stream(self, path: str, last: str | None, deadline: float | None) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        silence = SILENCE_SECONDS if deadline is None else max(0.1, min(SILENCE_SECONDS, deadline - time.monotonic()))
        try:
            with self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(30, read=silence)) as answer:
                if answer.status_code == 204:
                    raise _NothingMore
                if answer.status_code != 200:
                    answer.read()
                    raise self._error(answer)
                for sent in sse.parse(sse.lines(_until(deadline, answer.iter_bytes())), last or ""):
                    yield Event(sent.id, sent.type, msgspec.json.decode(sent.data, type=dict[str, Any]))
        except httpx.TransportError as error:
            _check(deadline)
            raise Unreachable(f"{self.url} does not answer: {_reason(error)}") from error

    # -- requests ---------------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} does not answer: {_reason(error)}") from error
        except httpx.InvalidURL as error:
            raise ClientError(f"{self.url!r} is not the address of a Bucketline: {error}") from None

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._answer(method, path, **options)
        if not answer.is_success:
            raise self._error(answer)
        if not answer.content:
            return {}
        try:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.DecodeError:
            raise Unreachable(f"{self.url} answers, but is not a Bucketline") from None

    def _error(self, answer: httpx.Response) -> ClientError:
        try:
            problem = msgspec.json.decode(answer.content, type=Problem)
        except msgspec.DecodeError:
            text = f"{self.url} answered {answer.status_code} {answer.reason_phrase} without saying why"
            problem = Problem(title=text, status=answer.status_code)
        if answer.status_code in (502, 503, 504):
            return Unreachable("; ".join(problem.lines()))
        return Refused(answer.status_code, problem)


class _NothingMore(Exception):
    """The server says that the events named were the last ones."""


def _until(deadline: float | None, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        _check(deadline)
        yield chunk


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise TimeoutError("the job has not ended in time")


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    return str(error) or type(error).__name__


def _unheard(_sent: int) -> None:
    """Nobody asked how far it is."""


def _sized(file: BinaryIO) -> int:
    size = sending.size_of(file)
    if size is None:
        raise ClientError("a pipe cannot be read again after a break: use submit(), or give a file")
    return size


def _segment(text: str) -> str:
    return quote(text, safe="")


def _opened(file: sending.File) -> AbstractContextManager[BinaryIO]:
    """The file, closed afterwards only if it was opened here."""
    return Path(file).open("rb") if isinstance(file, str | os.PathLike) else nullcontext(file)


def _blocks(file: BinaryIO, size: int | None, on_sent: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    while size is None or sent < size:
        block = file.read(READ_SIZE if size is None else min(READ_SIZE, size - sent))
        if not block:
            if size is not None:
                raise ClientError(f"the file changed while it was being sent: {sent} bytes came of {size}")
            return
        yield block
        sent += len(block)
        on_sent(sent)
