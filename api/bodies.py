"""Reading one request body as it arrives: its end, its length and its pace."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from api.asgi_types import Headers, Message, Receive
from api.limits import Pace
from api.problems import Problem

WAY_BYTES = 1 << 20
_DIGESTS = {"sha-256": "sha256", "sha-512": "sha512"}
_DIGEST_BYTES = {"sha256": 32, "sha512": 64}
_DIGEST_MEMBER = re.compile(r"([a-z0-9*_.-]+)=:([A-Za-z0-9+/]*={0,2}):")


class Body:
    """The bytes of one request, straight from the server's events.

    A body that does not reach its end (the client left, the declared length was not reached) raises `truncated`;
    one that passes `limit` raises `too_large`; one that comes too slowly raises `too_slow`; one that is not what
    `Content-Digest` promised raises `checksum_mismatch`. `give_way` is awaited after each MiB. A context manager: its
    watch over the pace ends there.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        declared: int | None,
        limit: int | None = None,
        digests: dict[str, bytes] | None = None,
        pace: Pace | None = None,
        give_way: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.declared = declared
        self.received = 0
        self._receive = receive
        self._limit = limit
        self._digests = digests or {}
        self._hashes = [hashlib.new(name) for name in self._digests]
        self._ended = declared == 0
        self._give_way = give_way
        self._way_due = WAY_BYTES if give_way else math.inf
        self._watch = _Watch(pace or Pace())

    def __enter__(self) -> Body:
        self._watch.start(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._watch.stop()

    async def next(self) -> bytes:
        """The next bytes, in the sizes they came in; empty at the end of a whole body."""
        while not self._ended:
            event = await self._watch.wait(self._receive())
            if event["type"] == "http.disconnect":
                raise self._cut()
            chunk: bytes = event.get("body", b"")
            self._ended = not event.get("more_body", False)
            if chunk:
                self._count(chunk)
                if self._give_way is not None and self.received >= self._way_due:
                    self._way_due = self.received + WAY_BYTES
                    await self._give_way()
                return chunk
        self._check_end()
        return b""

    async def read(self) -> bytes:
        """The whole of a small body; `limit` bounds it."""
        chunks = []
        while chunk := await self.next():
            chunks.append(chunk)
        return b"".join(chunks)

    def _count(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self._limit is not None and self.received > self._limit:
            raise Problem("too_large", f"The body passes the limit of {self._limit} bytes.")
        for digest in self._hashes:
            digest.update(chunk)

    def _check_end(self) -> None:
        if self.declared is not None and self.received != self.declared:
            raise self._cut()
        for digest in self._hashes:
            if not hmac.compare_digest(digest.digest(), self._digests[digest.name]):
                raise Problem(
                    "checksum_mismatch",
                    f"The {digest.name} of the body is not the announced one; nothing was kept.",
                )

    def _cut(self) -> Problem:
        announced = "" if self.declared is None else f" of {self.declared}"
        return Problem("truncated", f"Only {self.received}{announced} bytes arrived; nothing was kept.")


class _Watch:
    """Cancels a wait for bytes that takes too long, and says why.

    One timer per body instead of one per chunk: it looks every few seconds at how long we have been waiting.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._waiting_since: float | None = None
        self._waited = 0.0
        self._reason = ""

    def start(self, body: Body) -> None:
        self._body = body
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._arm()

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    async def wait(self, event: Awaitable[Message]) -> Message:
        self._waiting_since = began = self._loop.time()
        try:
            return await event
        except asyncio.CancelledError:
            if self._reason and self._task and self._task.uncancel() == 0:
                raise Problem("too_slow", self._reason) from None
            raise
        finally:
            self._waiting_since = None
            self._waited += self._loop.time() - began

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._pace.look_every_seconds, self._look)

    def _look(self) -> None:
        self._reason = self._verdict()
        if self._reason and self._task:
            self._task.cancel()
        else:
            self._arm()

    def _verdict(self) -> str:
        if self._waiting_since is None:
            return ""
        waiting = self._loop.time() - self._waiting_since
        waited = self._waited + waiting
        if waiting > self._pace.idle_seconds:
            return f"No byte came for {self._pace.idle_seconds:g} seconds."
        if waited > self._pace.grace_seconds and self._body.received < waited * self._pace.bytes_per_second:
            return f"Less than {self._pace.bytes_per_second} bytes per second came over {waited:.0f} seconds."
        return ""


def expected_digests(
    headers: Headers, names: Sequence[bytes] = (b"content-digest", b"repr-digest")
) -> dict[str, bytes]:
    """What `Content-Digest` and `Repr-Digest` (RFC 9530) promise, as {"sha256": bytes}.

    Bodies are never encoded here, so both mean the same, where the body is all there is: of a chunk, only the first
    speaks of the bytes that are sent.
    """
    found: dict[str, bytes] = {}
    for name, value in headers:
        if name in names:
            for algorithm, digest in _digest_members(value.decode("latin-1"), name.decode()):
                if found.setdefault(algorithm, digest) != digest:
                    raise Problem("bad_checksum", "The digest headers contradict each other.")
    return found


def _digest_members(value: str, header: str) -> list[tuple[str, bytes]]:
    members = []
    for item in value.split(","):
        match = _DIGEST_MEMBER.fullmatch(item.strip())
        if not match:
            raise Problem("bad_checksum", f"{header} is written as sha-256=:<base64>:, see RFC 9530.")
        algorithm = _DIGESTS.get(match[1])
        if algorithm:
            members.append((algorithm, _digest_bytes(match[2], algorithm, header)))
    if not members:
        raise Problem("bad_checksum", f"{header} needs sha-256 or sha-512; no other algorithm is checked here.")
    return members


def _digest_bytes(text: str, algorithm: str, header: str) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES[algorithm]:
        raise Problem("bad_checksum", f"{header}: this is not the base64 of a {algorithm} digest.")
    return digest
