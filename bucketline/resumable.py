"""A resumable upload (tus) as a conversation without connections: what to ask next, and what an answer means."""

import os
import time
from collections.abc import Callable, Generator, Mapping
from typing import BinaryIO, NamedTuple

CHUNK_SIZE = 8 << 20  # one request and one fsync of the server each; what is lost with a connection at most
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
# Another request has the upload, the server is busy, full or away: all pass.
PASSING = {408, 409, 423, 425, 429}


class Ask(NamedTuple):
    """A request to be sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes | None = None


class Wait(NamedTuple):
    """Seconds to let pass before the next step."""

    seconds: float


class Answer(NamedTuple):
    """What the server said; `status` is 0 when the line broke before it did."""

    status: int
    headers: Mapping[str, str]


class GoneError(Exception):
    """The server does not have the upload (any more)."""


class SizeError(Exception):
    """The file is not the one that the upload began with."""


class AwayError(Exception):
    """The server made no progress for as long as the caller wanted to wait."""


class RefusedError(Exception):
    """The answer to a request is a refusal that waiting does not change; the last answer has it."""


Talk = Generator[Ask | Wait, Answer | None, str]


def talk(
    path: str,
    file: BinaryIO,
    size: int,
    *,
    fresh: bool,
    chunk_size: int,
    patience: float,
    on_sent: Callable[[int], None],
) -> Talk:
    """Send what the server lacks of a file; returns the job's id if it was told. `fresh`: it has nothing yet."""
    start = file.tell()
    offset, job, wait, since = (0 if fresh else -1), "", FIRST_WAIT, time.monotonic()
    while offset < size:
        asked = _head(path) if offset < 0 else _patch(path, offset, _read(file, start, offset, size, chunk_size))
        answer = yield asked
        assert answer is not None
        reached = _reached(asked, answer, size)
        if reached is None:
            if time.monotonic() - since > patience:
                raise AwayError
            yield Wait(wait)
            offset, wait = -1, min(wait * 2, LONGEST_WAIT)
            continue
        job = answer.headers.get("Bucketline-Job", job)
        if asked.method == "PATCH":
            wait, since = FIRST_WAIT, time.monotonic()
        offset = reached
        on_sent(offset)
    return job


def _reached(asked: Ask, answer: Answer, size: int) -> int | None:
    """The offset that the server tells, or None when it is to be asked again."""
    status = answer.status
    if status == 0 or status in PASSING or status >= 500:
        return None
    if status in (404, 410):
        raise GoneError
    if status not in (200, 204):
        raise RefusedError
    if asked.method == "HEAD" and answer.headers.get("Upload-Length", str(size)) != str(size):
        raise SizeError(f"the upload is of {answer.headers['Upload-Length']} bytes, the file has {size}")
    return int(answer.headers["Upload-Offset"])


def _head(path: str) -> Ask:
    return Ask("HEAD", path, {"Tus-Resumable": "1.0.0"})


def _patch(path: str, offset: int, content: bytes) -> Ask:
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
    }
    return Ask("PATCH", path, headers, content)


def _read(file: BinaryIO, start: int, offset: int, size: int, chunk_size: int) -> bytes:
    file.seek(start + offset, os.SEEK_SET)
    wanted = min(chunk_size, size - offset)
    content = file.read(wanted)
    if len(content) != wanted:
        raise SizeError(
            f"the file changed while it was being sent: it ended at {offset + len(content)} of {size} bytes"
        )
    return content
