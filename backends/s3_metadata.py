"""How a job's key and properties travel in HTTP: unchanged after the round trip, or refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Any
from urllib.parse import urlencode

import msgspec

from backends import header_texts
from backends.base import JSON, Properties
from backends.errors import InvalidRequest

_KMS = "aws:kms"
_SPELLING = {
    "content_type": ("ContentType", "content-type"),
    "content_disposition": ("ContentDisposition", "content-disposition"),
    "cache_control": ("CacheControl", "cache-control"),
    "storage_class": ("StorageClass", "x-amz-storage-class"),
    "acl": ("ACL", "x-amz-acl"),
    "encryption": ("ServerSideEncryption", "x-amz-server-side-encryption"),
    "encryption_key": ("SSEKMSKeyId", "x-amz-server-side-encryption-aws-kms-key-id"),
    "tags": ("Tagging", "x-amz-tagging"),
}
_TOLD = {
    "content_disposition": "ContentDisposition",
    "cache_control": "CacheControl",
    "storage_class": "StorageClass",
    "encryption": "ServerSideEncryption",
}
_WORDS = (
    ("storage_class", r"[A-Z][A-Z0-9_]{1,63}", "a word such as STANDARD_IA or GLACIER_IR"),
    ("acl", r"[a-z][a-z-]{1,63}", "a canned access list such as private or public-read"),
    ("encryption", r"AES256|aws:kms(:dsse)?|aws:kms:[A-Za-z0-9:/_-]{1,256}", "AES256, aws:kms or aws:kms:KEY"),
)
LARGEST = 2048
"""Bytes of all names and values together, as Amazon counts them."""


def encode(metadata: Mapping[str, str]) -> dict[str, str]:
    """Names in lower case, and values as S3 keeps them; raises `InvalidRequest` for what cannot be kept."""
    kept = {_name(name): header_texts.carried(value) for name, value in metadata.items()}
    if len(kept) < len(metadata):
        raise InvalidRequest("S3 keeps metadata names in lower case, and two of the names then are the same.")
    size = sum(len(name) + len(value) for name, value in kept.items())
    if size > LARGEST:
        raise InvalidRequest(f"The metadata has {size} bytes as S3 stores it; it takes {LARGEST}.")
    return kept


def decode(metadata: Mapping[str, str]) -> dict[str, str]:
    """The inverse of `encode`. A value that nobody can decode is shown as it is."""
    return {name.lower(): _text(value) for name, value in metadata.items()}


def arguments_of(properties: Properties) -> dict[str, Any]:
    """The properties as arguments of an S3 operation."""
    found: dict[str, Any] = {argument: value for argument, _, value in _spelled(properties)}
    return {"Metadata": encode(properties.metadata), **found}


def headers_of(properties: Properties) -> dict[str, str]:
    """The same as headers of a request."""
    kept = {f"x-amz-meta-{name}": value for name, value in encode(properties.metadata).items()}
    return kept | {header: value for _, header, value in _spelled(properties)}


def told_properties(answer: Mapping[str, Any]) -> dict[str, JSON]:
    """What HeadObject tells of the further properties: neither the access list nor the tags are among it."""
    found = {name: answer.get(argument) for name, argument in _TOLD.items()}
    if found["encryption"] == _KMS and answer.get("SSEKMSKeyId"):
        found["encryption"] = f"{_KMS}:{answer['SSEKMSKeyId']}"
    return {name: value for name, value in found.items() if value}


def faults(key: str, properties: Properties) -> Iterator[tuple[str, str]]:
    """Everything about an object that S3 would refuse, by the name of the option."""
    for name, check in (("key", lambda: check_key(key)), ("metadata", lambda: encode(properties.metadata))):
        try:
            check()
        except InvalidRequest as error:
            yield name, error.detail
    for name in ("content_type", "content_disposition", "cache_control"):
        value = getattr(properties, name)
        if value and not (value.isascii() and value.isprintable()):
            yield name, "It has characters that no header can carry; RFC 6266 says how a file name is encoded."
    for name, pattern, wanted in _WORDS:
        value = getattr(properties, name)
        if value and not re.fullmatch(pattern, value):
            yield name, f"S3 takes {wanted} here."
    yield from (("tags", text) for text in _faults_of_tags(properties.tags))


def _faults_of_tags(tags: Mapping[str, str]) -> Iterator[str]:
    if len(tags) > 10:
        yield f"S3 takes 10 tags on an object, not {len(tags)}."
    for name, value in tags.items():
        if not 0 < len(name) <= 128 or len(value) > 256 or name.lower().startswith("aws:"):
            yield "A tag's name has 1 to 128 characters and does not begin with aws:, its value at most 256."
        elif re.search(r"[^\w\s+\-=._:/@]", name + value):
            yield "Tags are letters, digits, spaces and + - = . _ : / @."


def _spelled(properties: Properties) -> Iterator[tuple[str, str, str]]:
    """(argument, header, value) for every property that is set."""
    kms_key = (properties.encryption or "").partition(f"{_KMS}:")[2]
    kms_key = "" if kms_key == "dsse" else kms_key  # aws:kms:dsse is a scheme of its own
    values = {
        **msgspec.structs.asdict(properties),
        "encryption": _KMS if kms_key else properties.encryption,
        "encryption_key": kms_key,
        "tags": urlencode(properties.tags),
    }
    for name, (argument, header) in _SPELLING.items():
        value = values[name]
        if value:
            if not (value.isascii() and value.isprintable()):
                raise InvalidRequest(f"The {name.replace('_', ' ')} has characters that no header can carry.")
            yield argument, header, value


def check_key(key: str) -> None:
    """Raise `InvalidRequest` for a key that does not reach a server as it is.

    `.` and `..` are resolved by HTTP clients, proxies and servers on the way, and control characters cannot be told in
    the XML of a listing.
    """
    if not key or re.search(r"[\x00-\x1f\x7f]", key):
        raise InvalidRequest("An S3 key is a text that is not empty and has no control characters.")
    if any(segment in (".", "..") for segment in key.split("/")):
        raise InvalidRequest("An S3 key has no part that is '.' or '..'.")
    if len(header_texts.utf8(key)) > 1024:
        raise InvalidRequest(f"The key has {len(header_texts.utf8(key))} bytes; S3 takes 1024.")


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidRequest(f"{name[:60]!r} is no metadata name: letters, digits, '.', '_' and '-' are.")
    return name.lower()


def _text(value: str) -> str:
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value)
        return "".join(
            piece.decode(charset or "latin-1") if isinstance(piece, bytes) else piece for piece, charset in pieces
        )
    except (HeaderParseError, LookupError, ValueError):
        return value
