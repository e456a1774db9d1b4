"""Uploads in chunks (tus) as conversations without connections: what to ask next, and what an answer means."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bucketline.bodies import OnSent, Rewindable
from bucketline.exchange import Answer, Ask, Exchange, segment
from bucketline.faults import BrokenOff, ClientError, Unreachable
from bucketline.results import Job

CHUNK_SIZE = 8 << 20  # one request and one fsync of the server each; what is lost with a connection at most
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
# Another request has the upload, the server is busy, full or away: all pass.
PASSING = frozenset({408, 409, 423, 425, 429})
VERSION = {"Tus-Resumable": "1.0.0"}


class Rules(NamedTuple):
    """How an upload is sent."""

    chunk_size: int
    patience: float
    on_sent: OnSent


def begin(
    server: str,
    file: Rewindable,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    on_url: Callable[[str], None] | None,
    rules: Rules,
) -> Exchange[Job]:
    """Make an upload, tell its address, and send all of it."""
    answer = yield Ask("POST", "/v1/tus", params, {**VERSION, "Upload-Length": str(file.size), **headers})
    path = answer.checked().headers["Location"]
    if on_url is not None:
        on_url(server + path)
    return (yield from _send(server + path, path, file, rules, 0, answer.headers["Bucketline-Job"]))


def go_on(server: str, url: str, file: Rewindable, rules: Rules) -> Exchange[Job]:
    """Send what the server lacks of an upload that was begun before."""
    path = url.removeprefix(server)
    if not path.startswith("/v1/tus/"):
        raise ClientError(f"{url!r} is no upload of {server}: give the address that `on_url` was called with")
    return (yield from _send(server + path, path, file, rules, -1, ""))


def _send(url: str, path: str, file: Rewindable, rules: Rules, offset: int, job: str) -> Exchange[Job]:
    """Send from `offset` on; where it is unknown (-1), the server is asked."""
    line = _Line(url, rules.patience)
    while offset < file.size:
        ask = Ask("HEAD", path, headers=VERSION)
        if offset >= 0:
            said = {**VERSION, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            ask = Ask("PATCH", path, headers=said, body=file.piece(offset, rules.chunk_size))
        answer = yield from line.ask(ask)
        if answer is None:
            offset = -1
            continue
        offset = _reached(url, answer, file.size)
        job = answer.headers.get("Bucketline-Job", job)
        if ask.method == "PATCH":
            line.moved()
        rules.on_sent(offset)
    while (answer := (yield from line.ask(Ask("GET", f"/v1/jobs/{segment(job)}")))) is None:
        """The bytes are there; only the line was lost once more."""
    return Job.read(answer.json())


class _Line:
    """A line that may break: it is waited for, until nothing has moved for as long as `patience`."""

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._after = 0.0
        self.moved()

    def moved(self) -> None:
        self._next, self._since = FIRST_WAIT, time.monotonic()

    def ask(self, ask: Ask) -> Exchange[Answer | None]:
        """The answer, or None when it is to be tried again."""
        try:
            answer = yield ask._replace(after=self._after)
        except Unreachable as error:
            why = str(error)
        else:
            if answer.status not in PASSING and answer.status < 500:
                self._after = 0.0
                return answer
            why = str(answer.error())
        if time.monotonic() - self._since > self._patience:
            raise BrokenOff(self._url, why)
        self._after, self._next = self._next, min(self._next * 2, LONGEST_WAIT)
        return None


def _reached(url: str, answer: Answer, size: int) -> int:
    """The offset that the server tells."""
    if answer.status in (404, 410):
        raise ClientError(f"{url} is gone: expired, cancelled or deleted; begin anew with upload()")
    headers = answer.checked().headers
    if headers.get("Upload-Length", str(size)) != str(size):
        raise ClientError(
            f"the upload is of {headers['Upload-Length']} bytes, the file has {size}; "
            "give the same file, or begin anew with upload()"
        )
    return int(headers["Upload-Offset"])
