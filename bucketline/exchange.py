"""A request and its answer as values: what both clients send and receive, whatever their connections are."""

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from bucketline.bodies import Stream
from bucketline.faults import ClientError, NotNow, Refused, Unreachable
from bucketline.results import Problem

T = TypeVar("T")


class Ask(NamedTuple):
    """A request to be sent, `after` so many seconds. `large`: its body may take long, and so may its answer."""

    method: str
    path: str
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes | Stream | None = None
    after: float = 0.0
    large: bool = False


class Answer(NamedTuple):
    """What the server at `url` said."""

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    def checked(self) -> "Answer":
        """Itself, unless it is an error: then that is raised."""
        if not 200 <= self.status < 300:
            raise self.error()
        return self

    def json(self) -> dict[str, Any]:
        """The JSON object in it; an error is raised."""
        if not self.checked().content:
            return {}
        try:
            return msgspec.json.decode(self.content, type=dict[str, Any])
        except msgspec.DecodeError:
            raise stranger(self.url) from None

    def error(self) -> ClientError:
        try:
            problem = msgspec.json.decode(self.content, type=Problem)
        except msgspec.DecodeError:
            text = f"{self.url} answered {self.status} {self.reason} without saying why"
            problem = Problem(title=text, status=self.status)
        if self.status in (502, 503, 504):
            kind = Unreachable if problem.code == "unknown" else NotNow  # without a code, a proxy says it
            return kind("; ".join(problem.lines()))
        return Refused(self.status, problem)


def stranger(url: str) -> Unreachable:
    """For an answer that no Bucketline gives: something else listens there."""
    return Unreachable(f"{url} answers, but is not a Bucketline")


# What reading an answer raises that has not the members it must have.
STRANGE = (msgspec.ValidationError, KeyError)

# Yields what to ask, is sent the answer (Unreachable is thrown in where there is none), and returns the result.
Exchange: TypeAlias = Generator[Ask, Answer, T]


def asked(method: str, path: str, *, params: Mapping[str, str] | None = None, json: Any = None) -> Exchange[Any]:
    """One request without a file; returns the JSON object of its answer."""
    if json is None:
        answer = yield Ask(method, path, params or {})
    else:
        answer = yield Ask(method, path, headers={"Content-Type": "application/json"}, body=msgspec.json.encode(json))
    return answer.json()


def segment(text: str) -> str:
    """An id as one segment of a path."""
    return quote(text, safe="")
