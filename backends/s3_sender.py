"""Stores one body with one PUT, in the best of three ways that the server takes.

1. A signed request with the CRC32C in its headers, straight from the file (`backends.transport`).
2. The same without the CRC32C, for servers that do not know it; the MD5 in the ETag is compared.
3. s3fs's own call, for servers or policies that want the payload signed.

A body that is refused goes the next way at once, and only if that succeeds the way becomes the rule: a wrong secret or
a missing permission changes nothing, and costs two requests more.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from backends.base import Body
from backends.checksums import PREFIX, crc32c_text
from backends.errors import AccessDenied, IntegrityError, InvalidRequest, ShortBody, Unavailable
from backends.s3_client import Client
from backends.transport import BLOCK, Answer, verify

log = logging.getLogger(__name__)

_CRC_HEADER = "x-amz-checksum-crc32c"


class Put(NamedTuple):
    """One PUT in both spellings: as a request (query, headers) and as an S3 operation (method, arguments)."""

    key: str
    doing: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    method: str
    arguments: Mapping[str, Any]


class Stored(NamedTuple):
    etag: str
    checksum: str
    """`crc32c:…` as confirmed by the provider, or empty."""
    version: str | None


class Sender:
    """Sends bodies for one bucket, and remembers what its server does not do. Safe for many threads."""

    def __init__(self, client: Client, *, checks: bool, sends_crc: bool) -> None:
        self._client = client
        self._checks = checks
        self._confirms = False
        self._ways: tuple[Callable[[Put, Body], Stored], ...] = (
            (self._with_crc, self._without_crc, self._plain) if sends_crc else (self._without_crc, self._plain)
        )

    def store(self, put: Put, body: Body) -> Stored:
        ways = self._ways
        for position, way in enumerate(ways):
            try:
                stored = way(put, body)
            except (InvalidRequest, AccessDenied) as error:
                if way is ways[-1]:
                    raise
                refusal = error
                continue
            if position:
                self._ways = ways[position:]
                log.warning("This S3 server does not take the fastest uploads. It said: %s", refusal.detail)
            return stored
        raise AssertionError("the last way returns or raises")

    def _with_crc(self, put: Put, body: Body) -> Stored:
        sent = crc32c_text(verify(body) if body.crc32c is None else body.crc32c)
        answer = self._request(put, body, {_CRC_HEADER: sent.removeprefix(PREFIX)}, md5=not self._confirms)
        told = answer.headers.get(_CRC_HEADER)
        if told is None:
            return _stored(answer, put.doing)
        self._confirms = True
        if PREFIX + told != sent:
            raise IntegrityError(f"Cannot {put.doing}: the provider stored other bytes (CRC32C {told}) than were sent.")
        return _stored(answer._replace(md5=""), put.doing, sent)

    def _without_crc(self, put: Put, body: Body) -> Stored:
        verify(body)  # such servers may keep what arrived of a request that breaks off; with a CRC32C they see it
        return _stored(self._request(put, body, {}, md5=self._checks), put.doing)

    def _request(self, put: Put, body: Body, headers: Mapping[str, str], *, md5: bool) -> Answer:
        return self._client.put(put.key, put.query, {**put.headers, **headers}, body, put.doing, md5=md5)

    def _plain(self, put: Put, body: Body) -> Stored:
        """s3fs's call. It is made once and with a body that was seen to rewind: s3fs's own retry would not rewind it,
        and so store an empty part. Signing reads the body a second time, and has it verified by SHA-256."""
        verify(body)
        with body.open() as reader:
            if reader.seek(0) != 0:
                raise ShortBody("The source cannot be read again from its start.")
            answer = self._client.call(put.method, put.doing, Key=put.key, Body=reader, **put.arguments)
        etag = _etag(answer.get("ETag"), put.doing)
        if self._checks:
            _compare_md5(etag, _md5_of(body), answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}), put.doing)
        return Stored(etag, "", answer.get("VersionId"))


def _stored(answer: Answer, doing: str, checksum: str = "") -> Stored:
    etag = _etag(answer.headers.get("etag"), doing)
    if answer.md5:
        _compare_md5(etag, answer.md5, answer.headers, doing)
    return Stored(etag, checksum, answer.headers.get("x-amz-version-id"))


def _etag(value: str | None, doing: str) -> str:
    if not value:
        raise Unavailable(f"Cannot {doing}: the provider's answer has no ETag, so it is unclear whether it is stored.")
    return value.strip('"')


def _compare_md5(etag: str, md5: str, headers: Mapping[str, str], doing: str) -> None:
    """An ETag of 32 hexadecimal digits is the MD5 of the bytes, except under SSE-KMS and SSE-C."""
    sealed = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    sealed = sealed or "x-amz-server-side-encryption-customer-algorithm" in headers
    if not sealed and re.fullmatch(r"[0-9a-f]{32}", etag) and etag != md5:
        raise IntegrityError(
            f"Cannot {doing}: the provider's ETag is not the MD5 of the bytes sent. If that is how this store is, "
            'set `checksum = "none"`.'
        )


def _md5_of(body: Body) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with body.open() as reader:
        while block := reader.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
