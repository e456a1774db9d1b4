"""Where a Bucketline is, and how requests and answers are said in httpx: what connections of both kinds share."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import httpx

from bucketline.bodies import Stream
from bucketline.exchange import Answer, Ask
from bucketline.faults import ClientError, Unreachable

# The answer to a large body comes after its fsync.
ANSWER_SECONDS = 300.0
CONNECT_SECONDS = 30.0


class Server(NamedTuple):
    """The address of a Bucketline, and the headers that every request to it has."""

    url: str
    headers: dict[str, str]

    @classmethod
    def found(cls, url: str | None, token: str | None) -> Self:
        """As given, else as the environment says."""
        environ = os.environ
        url = (url or environ.get("BUCKETLINE_URL") or "http://127.0.0.1:8000").rstrip("/")
        try:
            httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(f"{url!r} is not the address of a Bucketline: {error}") from None
        token = (token or environ.get("BUCKETLINE_TOKEN") or environ.get("BUCKETLINE_API_KEY") or "").strip()
        if re.search(r"[^!-~]", token):  # httpx would show it in its error
            raise ClientError("The key or token has spaces, line breaks or signs that none has: is it all of one?")
        headers = {"User-Agent": "bucketline-client"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return cls(url, headers)

    def settings(self, timeout: float) -> dict[str, Any]:
        """For httpx."""
        # trust_env off: a proxy of the machine must not see files that are meant for a server beside us.
        return {"base_url": self.url, "headers": self.headers, "timeout": timeout, "trust_env": False}

    def answer(self, response: httpx.Response, content: bytes) -> Answer:
        return Answer(self.url, response.status_code, response.reason_phrase, response.headers, content)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """The errors of httpx as ours."""
        try:
            yield
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} does not answer: {_reason(error)}") from error
        except httpx.InvalidURL as error:
            raise ClientError(f"{self.url!r} is not the address of a Bucketline: {error}") from None


def request(ask: Ask, content: Any) -> dict[str, Any]:
    """The arguments of httpx for a request; `content` is its body, or iterates over its blocks."""
    headers = dict(ask.headers)
    if isinstance(ask.body, Stream) and ask.body.size is not None:
        headers["Content-Length"] = str(ask.body.size)
    said = {"method": ask.method, "url": ask.path, "params": ask.params, "headers": headers, "content": content}
    if ask.large:
        said["timeout"] = httpx.Timeout(CONNECT_SECONDS, write=ANSWER_SECONDS, read=ANSWER_SECONDS)
    return said


def patient(silence: float) -> httpx.Timeout:
    """For a stream of events."""
    return httpx.Timeout(CONNECT_SECONDS, read=silence)


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    return str(error) or type(error).__name__
