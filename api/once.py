"""Idempotency-Key: what is read of a request for it, and how the request holds its key until it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence

import msgspec

from api.access import begins_upload
from api.asgi_types import Headers, Scope
from api.bodies import expected_digests
from api.problems import Problem
from api.service import Json, Service
from engine.access import Identity
from engine.errors import EngineError
from engine.models import Once
from engine.once import Answered

MOST_CHARACTERS = 255
QUOTED = r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"'
PLAIN = r"[!#-+\--:<-\[\]-~]+"
_FORM = re.compile(rf"(?:{QUOTED}|({PLAIN}))")


class Attempt:
    """A request with an Idempotency-Key, the first of its kind: it holds the key until it is answered or fails."""

    def __init__(self, service: Service, once: Once) -> None:
        self.once = once
        self._repeats = service.repeats
        self._over = False
        self._renewing = asyncio.create_task(self._renew())

    async def answered(self, status: int, location: str, body: bytes) -> None:
        """Keep what the client is about to be told. Without Redis only the jobs are known, which is enough."""
        try:
            await self._repeats.answer(self.once, status, location, body)
        except EngineError:
            return

    async def end(self, *, failed: bool) -> None:
        """The request is over; may be said twice. After a failure its key is free at once, or without Redis, soon."""
        if self._over:
            return
        self._over = True
        self._renewing.cancel()
        await asyncio.wait({self._renewing})
        if failed:
            try:
                await self._repeats.release(self.once)
            except EngineError:
                return

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._repeats.renew_seconds)
            try:
                if not await self._repeats.renew(self.once):
                    return  # whoever makes it a job hears of it
            except EngineError:
                continue


class Replay(Exception):
    """The request was answered before: this is the answer."""

    def __init__(self, status: int, location: str, body: bytes, jobs: Sequence[str]) -> None:
        super().__init__(location)
        self.status = status
        self.location = location
        self.body = body
        self.jobs = jobs

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the answer; `Location` only when there is one job."""
        found = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            (b"cache-control", b"no-cache"),
            (b"idempotent-replayed", b"true"),
        ]
        if self.location:
            found += [(name, self.location.encode()) for name in (b"location", b"content-location")]
        return found + ([(b"retry-after", b"1")] if self.status == 202 else [])


async def attempt(
    service: Service, scope: Scope, who: Identity, declared: int | None, media_type: str
) -> Attempt | None:
    """The attempt that this request is, None without a key. Raises Replay, and why it can be neither."""
    if not begins_upload(scope["method"], scope["path"]) or scope["path"] == "/v1/tus":
        return None
    key = key_of(scope["headers"])
    if key is None:
        return None
    print_ = fingerprint(scope["query_string"], scope["headers"], declared, media_type)
    found = await service.repeats.claim(name_of(scope, who, key), print_)
    if isinstance(found, Answered):
        raise await _replay(service, found, several=media_type == "multipart/form-data")
    return Attempt(service, found)


async def _replay(service: Service, found: Answered, *, several: bool) -> Replay:
    if found.status:
        return Replay(found.status, found.location, found.body, found.jobs)
    # The first request's process died before it could write its answer down: the jobs are what it would have shown.
    jobs: list[Json] = [(await service.job(job))[0] for job in found.jobs]
    location = f"/v1/jobs/{found.jobs[0]}" if len(found.jobs) == 1 else ""
    return Replay(202, location, msgspec.json.encode({"jobs": jobs} if several else jobs[0]), found.jobs)


def key_of(headers: Headers) -> str | None:
    """The value of Idempotency-Key: a string of RFC 9651, or the same without quotes. Raises `bad_idempotency_key`."""
    found = [value for name, value in headers if name == b"idempotency-key"]
    if not found:
        return None
    match = _FORM.fullmatch(found[0].decode("latin-1").strip(" \t")) if len(found) == 1 else None
    if match is None:
        raise Problem("bad_idempotency_key", 'Send one Idempotency-Key, as "…" of printable ASCII.')
    key = match[2] or re.sub(r"\\(.)", r"\1", match[1])
    if len(key) > MOST_CHARACTERS:
        raise Problem("bad_idempotency_key", f"An Idempotency-Key has {MOST_CHARACTERS} characters at most.")
    return key


def name_of(scope: Scope, who: Identity, key: str) -> str:
    """Whose key it is, and for what: others may use the same. A token's requests are its own, like its jobs."""
    path = scope.get("raw_path") or scope["path"].encode()
    parts = [who.key.encode(), who.token.encode(), scope["method"].encode(), path, key.encode()]
    return _hash(parts)[:40]


def fingerprint(query: bytes, headers: Headers, declared: int | None, media_type: str) -> str:
    """Of all that is known of the request before its body: its length, its digests, and its options in any order."""
    digests = sorted((name.encode(), digest) for name, digest in expected_digests(headers).items())
    options = sorted((name, value.strip()) for name, value in headers if name.startswith(b"bucketline-"))
    # A form says where its files end in words of its own, other ones each time.
    kind = media_type.encode() if media_type == "multipart/form-data" else _first(headers, b"content-type")
    pairs = [*digests, (b"", b""), *options, (b"", b""), *((b"", one) for one in sorted(query.split(b"&")) if one)]
    return _hash([str(declared).encode(), kind, *(part for pair in pairs for part in pair)])


def _first(headers: Headers, name: bytes) -> bytes:
    return next((value.strip() for field, value in headers if field == name), b"")


def _hash(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()
