"""The operations on keys, tokens and quotas, as values like those of operations.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from engine.access import ApiKey, Kind, Quotas, Token
from engine.models import dumps
from engine.operations import Operation
from engine.records import text


class Found(NamedTuple):
    """A live credential: the key, the token if it is one, and for how long both will live (0: no end)."""

    key: ApiKey | None
    token: Token | None
    left_ms: int


class ListedKey(NamedTuple):
    """A key with what became of it: active, expired or revoked; and its unfinished jobs."""

    key: ApiKey
    state: str
    jobs: int


class Admitted(NamedTuple):
    """The answer of `admit`: what is used up ('' when the request may pass), and how much is used now.

    refused: requests, bytes, rest (an upload of unannounced length has what is left of the day), jobs, uploads, or gone
    (the token does not live any more).
    """

    refused: str
    requests: int
    bytes: int
    jobs: int
    now_ms: int


def add_key(key: ApiKey) -> Operation[bool]:
    """Stores a key; False when the id is taken."""
    return Operation("key_add", (key.id, dumps(key), key.expires_ms), bool)


def revoke_key(key: str) -> Operation[str]:
    """Ends a key, and with it its tokens: done, already or missing."""
    return Operation("key_revoke", (key,), text)


def list_keys() -> Operation[list[ListedKey]]:
    """All keys that ever were, the oldest first."""

    def read(reply: list[Any]) -> list[ListedKey]:
        found = [
            ListedKey(msgspec.json.decode(reply[i], type=ApiKey), text(reply[i + 1]), int(reply[i + 2]))
            for i in range(0, len(reply), 3)
        ]
        return sorted(found, key=lambda one: (one.key.created_ms, one.key.id))

    return Operation("keys", (), read)


def look_up(kind: Kind, credential: str) -> Operation[Found | None]:
    """The key or token with this id, as long as it lives. A token lives no longer than its key."""

    def read(reply: list[Any]) -> Found | None:
        if not reply:
            return None
        key, token, left = reply
        return Found(
            msgspec.json.decode(key, type=ApiKey) if key else None,
            msgspec.json.decode(token, type=Token) if token else None,
            int(left),
        )

    return Operation("look_up", (kind, credential), read)


def mint_token(token: Token, life_ms: int) -> Operation[int]:
    """Stores a token for so long; when it will end, in milliseconds, or 0: its key does not live."""
    return Operation("token_mint", (token.id, dumps(token), token.key, life_ms), int)


def revoke_token(token: str, owner: str) -> Operation[bool]:
    """Ends a token; `owner` '' ends anybody's."""
    return Operation("token_revoke", (token, owner), bool)


def admit(
    key: str, quotas: Quotas, token: str, uploads: int | None, charge: int | None, entry: str, *, again: bool
) -> Operation[Admitted]:
    """Counts a request, and with an `entry` (the id that its job will have) an upload with `charge` bytes; or nothing
    at all where something is used up. charge: None where nobody knows how many come, who have all that is left of the
    day until `leave`. again: one more file of a request that is counted already. An upload is counted once, however
    often this is repeated.
    """
    limits = ["" if one is None else one for one in (quotas.requests_per_minute, quotas.bytes_per_day, quotas.jobs)]
    if again:
        limits[0] = ""
    uploads_most, size = ("" if one is None else one for one in (uploads, charge))
    args = (key, *limits, token, uploads_most, size, entry, "1" if again else "")
    return Operation("admit", args, lambda reply: Admitted(text(reply[0]), *map(int, reply[1:])))


def leave(
    key: str, token: str, entries: Sequence[str], charged: int, used: int, at_ms: int, lost: str = ""
) -> Operation[int]:
    """The end of a request that was admitted: what did not become a job is given back; how many did.
    lost: the one of its entries whose admission had no answer; what is given back of it is what was counted, if
    anything was. Repeating it is harmless, also where the admission comes behind it.
    """
    return Operation("leave", (key, token, charged, used, at_ms, lost, *entries), int)
