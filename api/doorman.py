"""Finds out who sends a request, from its headers and its address alone."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from api.access import NOT_VALID, SECRET, is_secret, takes_query_token, unauthorized
from api.asgi_types import Scope
from api.assets import OPEN
from api.problems import Problem
from api.service import Gate
from api.tus_headers import is_tus
from engine.access import ANYBODY, EVERYTHING, Identity

Again = Callable[[], Awaitable[Identity | None]]

_KEY_PARAMETERS = frozenset({b"api_key", b"apikey", b"api-key", b"access_token", b"authorization", b"token", b"bearer"})
_ACCESS_TOKEN = b"access_token"
OPEN_PATHS = frozenset({"/livez", "/readyz", "/", "/openapi.json", *OPEN})
"""They hold no secret."""
PROBLEMS = "/problems/"
"""Nor do the pages below: whoever was refused for want of a key may read why."""


class Sender(NamedTuple):
    """Who sent a request. `again` asks once more: a key may end while an answer goes on. None: that cannot change."""

    who: Identity
    token_in_query: bool
    again: Again | None


class Doorman:
    """`api_key` is the bootstrap key, which needs no Redis. Without it nobody is asked for a key."""

    def __init__(self, gate: Gate, api_key: str | None) -> None:
        self._gate = gate
        self._key = _fingerprint(api_key.encode()) if api_key else None

    @property
    def asks(self) -> bool:
        """Whether a key is needed."""
        return self._key is not None

    async def identify(self, scope: Scope, authorization: Sequence[bytes]) -> Sender:
        """The sender. Raises `unauthorized`, and LedgerUnavailable when only Redis could tell."""
        token = self._from_query(scope)
        text = self._credential(authorization, token)
        again = None if text is None or self._is_key(text) else partial(self._gate.identify, text.decode("latin-1"))
        # What tus can do here is told to everybody, as to a browser before it sends the key.
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(PROBLEMS) or (scope["method"] == "OPTIONS" and is_tus(path)):
            return Sender(ANYBODY, False, None)
        if not text and self.asks:
            raise unauthorized()
        # Without `again` it is the bootstrap key, or no key where none is needed.
        who = EVERYTHING if again is None else await again()
        if who is None:
            raise unauthorized(NOT_VALID, error=True)
        return Sender(who, token is not None, again)

    def _from_query(self, scope: Scope) -> bytes | None:
        """Refuses keys in the address. A token, where one may stand there, is taken out and answered."""
        token: bytes | None = None
        kept = []
        for item in scope["query_string"].split(b"&") if scope["query_string"] else ():
            name, _, raw = item.partition(b"=")
            name, value = unquote_to_bytes(name).lower(), unquote_to_bytes(raw)
            if name == _ACCESS_TOKEN and token is None and takes_query_token(scope["method"], scope["path"]):
                if not value.startswith(b"blt_"):
                    raise Problem("key_in_query", "Only a short-lived token may stand here: POST /v1/tokens makes one.")
                token = value
            elif name in _KEY_PARAMETERS or is_secret(value) or (value and self._is_key(value)):
                raise Problem("key_in_query", "Send the key as `Authorization: Bearer …`; URLs end up in logs.")
            else:
                kept.append(item)
        if token is not None:
            scope["query_string"] = b"&".join(kept)  # so that it can end up nowhere
        return token

    def _credential(self, authorization: Sequence[bytes], token: bytes | None) -> bytes | None:
        """What was sent to say who that is. Where no key is needed, only what looks like one of ours counts."""
        if len(authorization) + (token is not None) > 1:
            raise Problem("bad_request", "Authorization is given twice.")
        scheme, _, text = (authorization[0] if authorization else b"").partition(b" ")
        if token is not None or scheme.lower() != b"bearer":
            return token
        text = text.strip()
        return text if self.asks or is_secret(text) else None

    def knows_secret(self, text: bytes) -> bool:
        """Whether this is the bootstrap key, or holds what looks like a key or a token of ours."""
        return SECRET.search(text.decode("latin-1")) is not None or self._is_key(text)

    def _is_key(self, text: bytes) -> bool:
        return self._key is not None and hmac.compare_digest(_fingerprint(text), self._key)


def _fingerprint(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
