"""Texts as header lines carry them: as they are, or as one encoded word of RFC 2047."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

from backends.errors import InvalidRequest

_WORD = re.compile(r"=\?utf-8\?b\?([A-Za-z0-9+/]*={0,2})\?=")


def utf8(text: str) -> bytes:
    """The bytes of a text; `InvalidRequest` for one that has none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A lone surrogate is no text.") from None


def is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def carried(value: str) -> str:
    """The text as it survives a header line: servers and signatures trim spaces and may fold runs of them, so only
    single inner spaces stay as they are.
    """
    return value if is_plain(value) and value == " ".join(value.split()) and "=?" not in value else word(value)


def word(value: str) -> str:
    """The text as an encoded word."""
    return f"=?utf-8?b?{b64encode(utf8(value)).decode()}?="


def is_word(value: str) -> bool:
    return _WORD.fullmatch(value) is not None


def read(value: str) -> str:
    """What an encoded word says; any other text says itself."""
    found = _WORD.fullmatch(value)
    if found is None:
        return value
    try:
        return b64decode(found[1], validate=True).decode()
    except ValueError:
        return value
