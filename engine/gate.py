"""Recognises callers, and counts what they use: the API's door to keys, tokens and quotas."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import uuid_utils

from engine import admission, credentials
from engine.access import EVERYTHING, Grant, Identity, Token
from engine.ledger import AsyncLedger

KNOWN_SECONDS = 5.0
"""For so long a key is known without asking Redis again: so late its revocation is noticed at most."""
KNOWN_MOST = 4096


class Minted(NamedTuple):
    """A token at the only moment when its text is known."""

    id: str
    text: str
    expires_ms: int


class Gate:
    """One per API process."""

    def __init__(self, ledger: AsyncLedger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._known: dict[str, tuple[Identity, float]] = {}

    async def identify(self, text: str) -> Identity | None:
        """Whose key or token this is; None when it is nobody's, or was. Raises LedgerUnavailable."""
        named = credentials.named(text)
        if named is None:
            return None
        # The hash of what was sent is looked for, and says nothing about the secret to whoever takes the time of it.
        known = self._known.get(credentials.fingerprint(text))
        if known is not None and known[1] > self._clock():
            return known[0]
        found = await self._ledger.run(admission.look_up(*named))
        stored = None if found is None else (found.token or found.key)
        if not credentials.same(stored.hash if stored else None, text) or found is None:
            return None
        identity = _identity(found)
        self._remember(credentials.fingerprint(text), identity, found.left_ms)
        return identity

    def _remember(self, name: str, identity: Identity, left_ms: int) -> None:
        if len(self._known) >= KNOWN_MOST:
            self._known.clear()
        seconds = min(KNOWN_SECONDS, left_ms / 1000) if left_ms > 0 else KNOWN_SECONDS
        self._known[name] = (identity, self._clock() + seconds)

    def forget(self, token: str) -> None:
        """This process knows the token no longer without asking."""
        for name in [name for name, (identity, _) in self._known.items() if identity.token == token]:
            del self._known[name]

    def entry(self) -> str:
        """The id that the job of an upload is to have. It is known before the upload is counted: see `leave`."""
        return str(uuid_utils.uuid7())

    async def admit(self, who: Identity, *, entry: str, charge: int | None, again: bool) -> admission.Admitted:
        """Counts a request of somebody with quotas, and with an entry an upload, of so many bytes if that is known."""
        uploads = who.uploads if entry else None
        operation = admission.admit(who.key, who.quotas, who.token, uploads, charge, entry, again=again)
        return await self._ledger.run(operation)

    async def leave(
        self, who: Identity, entries: Sequence[str], *, charged: int, used: int, at_ms: int, lost: str = ""
    ) -> None:
        """Gives back what was counted for uploads that became no job, and counts what came unannounced.
        lost: the entry whose admission had no answer.
        """
        token = who.token if who.uploads is not None else ""
        await self._ledger.run(admission.leave(who.key, token, entries, charged, used, at_ms, lost))

    async def mint(self, who: Identity, grant: Grant, *, uploads: int | None, life_seconds: int) -> Minted | None:
        """A token of this key; None when the key has just ended."""
        fresh = credentials.fresh("token")
        token = Token(
            id=fresh.id, hash=fresh.hash, key=who.key, grant=grant, uploads=uploads, created_ms=int(time.time() * 1000)
        )
        expires_ms = await self._ledger.run(admission.mint_token(token, life_seconds * 1000))
        return Minted(fresh.id, fresh.text, expires_ms) if expires_ms else None

    async def revoke(self, who: Identity, token: str) -> bool:
        """Ends a token of this key, or, for an admin, of any."""
        self.forget(token)
        return await self._ledger.run(admission.revoke_token(token, who.sees or ""))


def _identity(found: admission.Found) -> Identity:
    key = found.key
    who = EVERYTHING if key is None else Identity(key=key.id, grants=(key.grant,), quotas=key.quotas)
    token = found.token
    if token is None:
        return who
    return Identity(
        key=who.key, grants=(*who.grants, token.grant), quotas=who.quotas, token=token.id, uploads=token.uploads
    )
