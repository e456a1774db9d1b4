"""The secrets of API keys and tokens: how they are made, recognised and compared.

    bl_<id>_<secret>     an API key         id: 12 hex digits, secret: 43 letters and digits
    blt_<id>_<secret>    a token            the same, with 16 hex digits

The secret is 256 random bits. That is why one SHA-256 is the right hash here: slow hashes (scrypt, argon2) make it
expensive to try the few words that people choose; nobody tries 2^256 of anything, and a slow hash would cost every
request. What is stored cannot be sent in place of the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from typing import NamedTuple

from engine.access import Kind

_WORDS: dict[Kind, tuple[str, int]] = {"key": ("bl", 6), "token": ("blt", 8)}
_FORM = re.compile(r"(?:bl_(?P<key>[0-9a-f]{12})|blt_(?P<token>[0-9a-f]{16}))_[0-9A-Za-z]{43}")
_ALPHABET = string.digits + string.ascii_letters
_SECRET_CHARACTERS = 43  # 62^43 is a little more than 2^256
_NOBODY = "0" * 64


class Fresh(NamedTuple):
    """A credential at the only moment when its secret is known."""

    id: str
    text: str
    hash: str


def fresh(kind: Kind) -> Fresh:
    """A new credential."""
    word, size = _WORDS[kind]
    own = secrets.token_hex(size)
    text = f"{word}_{own}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARACTERS))
    return Fresh(own, text, fingerprint(text))


def named(text: str) -> tuple[Kind, str] | None:
    """What kind of credential this text is, and its id; None when it is none of ours."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    return ("key", match["key"]) if match["key"] else ("token", match["token"])


def fingerprint(text: str) -> str:
    """What is stored in place of a credential."""
    return hashlib.sha256(text.encode("latin-1", "replace")).hexdigest()


def same(stored: str | None, text: str) -> bool:
    """Whether `text` is the credential of which `stored` is the hash. As long in vain as with success, None too."""
    return hmac.compare_digest(stored or _NOBODY, fingerprint(text)) and stored is not None
