"""How a job's key and properties travel in HTTP: unchanged after the round trip, or refused with the reason."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header

from backends.errors import InvalidRequest

LARGEST = 2048
"""Bytes of all names and values together, as Amazon counts them."""


def encode(metadata: Mapping[str, str]) -> dict[str, str]:
    """Names in lower case, and values as S3 keeps them; raises `InvalidRequest` for what cannot be kept."""
    kept = {_name(name): _value(value) for name, value in metadata.items()}
    if len(kept) < len(metadata):
        raise InvalidRequest("S3 keeps metadata names in lower case, and two of the names then are the same.")
    size = sum(len(name) + len(value) for name, value in kept.items())
    if size > LARGEST:
        raise InvalidRequest(f"The metadata has {size} bytes as S3 stores it; it takes {LARGEST}.")
    return kept


def decode(metadata: Mapping[str, str]) -> dict[str, str]:
    """The inverse of `encode`. A value that nobody can decode is shown as it is."""
    return {name.lower(): _text(value) for name, value in metadata.items()}


def content_type(value: str | None) -> dict[str, str]:
    """The argument `ContentType`, if there is one."""
    if value is None:
        return {}
    if not value.isascii() or not value.isprintable():
        raise InvalidRequest("The content type has characters that no header can carry.")
    return {"ContentType": value}


def check_key(key: str) -> None:
    """Raise `InvalidRequest` for a key that does not reach a server as it is.

    `.` and `..` are resolved by HTTP clients, proxies and servers on the way, and control characters cannot be told in
    the XML of a listing.
    """
    if not key or re.search(r"[\x00-\x1f\x7f]", key):
        raise InvalidRequest("An S3 key is a text that is not empty and has no control characters.")
    if any(segment in (".", "..") for segment in key.split("/")):
        raise InvalidRequest("An S3 key has no part that is '.' or '..'.")
    if len(_utf8(key)) > 1024:
        raise InvalidRequest(f"The key has {len(_utf8(key))} bytes; S3 takes 1024.")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A lone surrogate is no text.") from None


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidRequest(f"{name[:60]!r} is no metadata name: letters, digits, '.', '_' and '-' are.")
    return name.lower()


def _value(value: str) -> str:
    # Servers and signatures trim spaces and fold runs of them, so only single inner spaces survive unencoded.
    if value.isascii() and value.isprintable() and value == " ".join(value.split()) and "=?" not in value:
        return value
    return f"=?utf-8?b?{b64encode(_utf8(value)).decode()}?="


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
