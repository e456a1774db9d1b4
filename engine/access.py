"""Who may do what: grants of API keys and tokens, and the rules by which a request fits them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from engine import keys

Kind = Literal["key", "token"]

SCOPES = ("submit", "read", "control", "metrics", "admin")
BOOTSTRAP = "bootstrap"
"""The owner of what the bootstrap key submits, and of everything where no key is asked for."""

Reach = Callable[[Sequence[str]], frozenset[str]]
"""The destinations that these names of destinations and routes lead to; what is not configured leads nowhere."""


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a key or a token allows. Empty destinations or prefixes are no restriction; sizes are bytes.

    prefixes: folders, each ends with a slash; a key lies in one when it begins with it, byte for byte. job: only
    looking at this job is allowed, whatever else is said. webhook: told of the end of what a token submits.
    """

    scopes: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    max_size: int | None = None
    job: str = ""
    webhook: str | None = None

    def has(self, scope: str) -> bool:
        """`admin` has all rights."""
        return scope in self.scopes or "admin" in self.scopes

    def fault_of(self, destinations: Iterable[str], key: str, reach: Reach) -> tuple[str, str] | None:
        """Why an object may not be written there: (pointer, detail); None when it may.

        destinations: routes expanded. key: or the beginning of it that is known.
        """
        if self.destinations:
            allowed = reach(self.destinations)
            for name in destinations:
                if name not in allowed:
                    return "/destinations", f"Destination {name!r} is not among those that this key may write to."
        if self.prefixes and not key.startswith(self.prefixes):
            return "/key", f"This key may write only keys that begin with {_listed(self.prefixes)}."
        return None


class Quotas(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a key may use; None is no limit. `jobs`: unfinished ones at the same time."""

    requests_per_minute: int | None = None
    bytes_per_day: int | None = None
    jobs: int | None = None

    def __bool__(self) -> bool:
        return self != Quotas()


class ApiKey(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An API key as it is stored: never its secret, only the SHA-256 of it, as hex. Times are milliseconds, 0 never."""

    id: str
    hash: str
    name: str = ""
    grant: Grant = Grant()
    quotas: Quotas = Quotas()
    created_ms: int = 0
    expires_ms: int = 0


class Token(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A short-lived token as it is stored; `key` is the id of the API key that made it. uploads: None is any number."""

    id: str
    hash: str
    key: str
    grant: Grant = Grant()
    uploads: int | None = None
    created_ms: int = 0
    expires_ms: int = 0


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a key, or a token of it. Every grant must allow what is done, so a token never allows more than its
    key.
    """

    key: str = ""
    grants: tuple[Grant, ...] = ()
    quotas: Quotas = Quotas()
    token: str = ""
    uploads: int | None = None

    def has(self, scope: str) -> bool:
        return bool(self.grants) and all(grant.has(scope) for grant in self.grants)

    @property
    def sees(self) -> str | None:
        """Whose jobs may be seen: None is everybody's."""
        return None if self.has("admin") else self.key

    @property
    def prefix(self) -> str:
        """The one folder that may be written to, '' when there is none or a choice."""
        narrowest = next((grant.prefixes for grant in reversed(self.grants) if grant.prefixes), ())
        return narrowest[0] if len(narrowest) == 1 else ""

    @property
    def max_size(self) -> int | None:
        return min((grant.max_size for grant in self.grants if grant.max_size is not None), default=None)

    @property
    def webhook(self) -> str | None:
        """Who is told of what is submitted with this token: whoever made it said so, and nobody else can."""
        return self.grants[-1].webhook if self.grants and self.token else None

    @property
    def restricted(self) -> bool:
        """Whether not every object may be written."""
        return any(grant.destinations or grant.prefixes for grant in self.grants)

    def fault_of(self, destinations: Sequence[str], key: str, reach: Reach) -> tuple[str, str] | None:
        """Like `Grant.fault_of`, for all grants."""
        faults = (grant.fault_of(destinations, key, reach) for grant in self.grants)
        return next((fault for fault in faults if fault), None)

    def may_see(self, job: str, owner: str, token: str) -> bool:
        """Whether a job is shown. A token sees the job it was made for, or else what was submitted with it."""
        if not self.grants or (owner != self.key and not self.grants[0].has("admin")):
            return False
        if not self.token:
            return True
        reads = self.grants[-1].job
        return self.grants[0].has("read") and (reads == job if reads else token == self.token)


ANYBODY = Identity()
EVERYTHING = Identity(key=BOOTSTRAP, grants=(Grant(scopes=("admin",)),))


def known_beginning(key: str | None, key_template: str) -> str:
    """A job's key, or what its template puts before the first field, where the key depends on the content."""
    return key if key is not None else key_template.partition("{")[0]


def folder(text: str) -> str:
    """A key prefix as it is stored: with a slash at its end. ValueError says what is wrong with it."""
    fault = keys.fault_of_key(text.removesuffix("/"))
    if fault:
        raise ValueError(fault.replace("A key", "A prefix").replace("The key", "The prefix"))
    return text.removesuffix("/") + "/"


def fault_of_narrowing(identity: Identity, wish: Grant, reach: Reach) -> tuple[str, str] | None:
    """Why this caller cannot hand out such a grant: it has not got it; None when it can. (pointer, detail)"""
    for grant in identity.grants:
        for scope in wish.scopes:
            if not grant.has(scope):
                return "/scopes", f"This key has not got the scope {scope!r} itself."
        if wish.destinations and grant.destinations and not reach(wish.destinations) <= reach(grant.destinations):
            return "/destinations", "This key may not write to all of these destinations itself."
        for prefix in wish.prefixes:
            if grant.prefixes and not prefix.startswith(grant.prefixes):
                return "/prefix", f"This key itself may write only keys that begin with {_listed(grant.prefixes)}."
        if wish.max_size is not None and grant.max_size is not None and wish.max_size > grant.max_size:
            return "/max_size", f"This key itself may send at most {grant.max_size} bytes."
    return None


def _listed(prefixes: Sequence[str]) -> str:
    return " or ".join(repr(one) for one in prefixes)
