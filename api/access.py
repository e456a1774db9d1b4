"""What a caller may ask for: the rights that each address needs, and what one request counts for.

The guard asks here before the body is read. What only the body says (a form's options) is asked again by who reads it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from api.problems import Problem, method_not_allowed
from api.service import Gate, Service
from engine.access import Identity, known_beginning
from engine.errors import EngineError
from engine.models import JobSpec, Source, SubmitOptions

_JOB = r"/v1/jobs/[^/]+"
# The first line that fits says which scope is needed; '' is any key at all. HEAD is GET.
_RULES = [
    (frozenset(methods.split()), re.compile(path, re.DOTALL), scope)
    for methods, path, scope in [
        ("OPTIONS", r".*", ""),
        ("POST", r"/v1/jobs", "submit"),
        ("PUT", r"/v1/objects/.*", "submit"),
        ("GET POST PATCH DELETE", r"/v1/tus(/.*)?", "submit"),
        ("POST", _JOB + r"/destinations", "submit"),
        ("POST", _JOB + r"/(cancel|pause|resume|retry|webhooks/[^/]+/replay)", "control"),
        ("DELETE", _JOB, "control"),
        ("POST", r"/v1/tokens", ""),  # what it is for decides
        ("DELETE", r"/v1/tokens/[^/]+", ""),
        ("GET", r"/metrics", "metrics"),
        ("GET", r"/v1/(audit|stats)", "admin"),
        ("GET", r"/v1/.*", "read"),
        ("GET", r"/(?!/).*", ""),
        ("GET POST PUT PATCH DELETE", r".*", "admin"),
    ]
]
_TAKES = [(re.compile(r"/v1/objects/.+", re.DOTALL), "PUT"), (re.compile(r"/v1/jobs"), "GET, HEAD, POST, OPTIONS")]
"""All that these take. What else is tried there is a slip of the method, and is told so whatever the key may do."""
_WATCHED = re.compile(_JOB + r"(/parts|/events)?")
_WITH_TOKEN = re.compile(r"/v1/jobs|/v1/objects/.*|/v1/tus(/.*)?", re.DOTALL)
_EVENTS = re.compile(_JOB + r"/events")
_TOLD = {"webhook": "webhook", "on_success": "actor", "on_failure": "actor"}
"""Whom a job may name to be told of its end, and what that is."""
SECRET = re.compile(r"blt?_[0-9a-f]{12,16}_[0-9A-Za-z]{43}")
"""What a key or a token of ours looks like."""


def scope_of(method: str, path: str) -> str:
    """The scope that a request needs; '' when any key will do."""
    method = "GET" if method == "HEAD" else method
    return next((scope for methods, form, scope in _RULES if method in methods and form.fullmatch(path)), "admin")


def check_scope(who: Identity, method: str, path: str) -> None:
    """Raises the problem `forbidden` unless this caller may use this address in this way, and `method_not_allowed`
    where the right to do what nobody can do would be asked for.
    """
    scope = scope_of(method, path)
    allow = next((allow for form, allow in _TAKES if form.fullmatch(path)), "")
    if allow and scope == "admin" and method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        raise method_not_allowed(allow)
    if who.token and not _fits_token(who, method, path, scope):
        raise Problem("forbidden", "A token submits, or looks at one job; everything else needs a key.")
    if scope and not who.token and not who.has(scope):
        raise Problem(
            "forbidden",
            f"This needs the scope {scope!r}, which the key has not got.",
            headers={"WWW-Authenticate": f'Bearer realm="bucketline", error="insufficient_scope", scope="{scope}"'},
        )


def _fits_token(who: Identity, method: str, path: str, scope: str) -> bool:
    if not path.startswith("/v1/"):
        return scope == ""
    if method in ("GET", "HEAD") and _WATCHED.fullmatch(path):
        return True  # whether this very job is shown is asked where it is known: Identity.may_see
    return method == "OPTIONS" or (scope == "submit" and bool(_WITH_TOKEN.fullmatch(path)) and who.has("submit"))


def begins_upload(method: str, path: str) -> bool:
    """Whether this request counts as an upload. Of tus that is the creation: each PATCH is the same upload."""
    return (method == "POST" and path in ("/v1/jobs", "/v1/tus")) or (
        method == "PUT" and path.startswith("/v1/objects/")
    )


def is_secret(text: bytes) -> bool:
    """Whether this looks like a key or a token of ours."""
    return SECRET.fullmatch(text.decode("latin-1")) is not None


def takes_query_token(method: str, path: str) -> bool:
    """Browsers' EventSource cannot send headers: there, and only there, a token may stand in the address."""
    return method in ("GET", "HEAD") and _EVENTS.fullmatch(path) is not None


def check_spec(who: Identity, spec: JobSpec, service: Service, options: SubmitOptions | None = None) -> JobSpec:
    """The job as this caller may have it. Raises `forbidden` for a destination or a key that is not allowed.

    What is looked at is the job as it will be done, with routes expanded and templates filled, not what was asked.
    """
    _check_source(who, spec, service)
    for name, what in _TOLD.items():
        if who.token and getattr(spec, name) not in (None, getattr(who, name, None)):
            detail = f"A token may name no {what}; whoever mints it may submit with a key."
            raise Problem("forbidden", detail, errors=[{"pointer": f"/{name}", "detail": detail}])
    if not who.restricted:
        return spec
    fault = who.fault_of(spec.destinations, known_beginning(spec.key, spec.key_template), service.destinations.reach)
    if fault is not None:
        pointer, detail = fault
        if pointer == "/key" and (options is None or options.key is None):
            pointer = "/key_template"
        raise Problem("forbidden", detail, errors=[{"pointer": pointer, "detail": detail}])
    return spec


def _check_source(who: Identity, spec: JobSpec, service: Service) -> None:
    """Raises `forbidden` for a source that this caller may not read."""
    source = spec.source
    if source.kind == "body":
        return
    pointer, detail = "/source", ""
    if who.token:
        detail = "A token sends files; it may name no source."
    elif source.kind == "path" and not who.has("admin"):
        pointer, detail = (
            "/source/path",
            "Files on the server's disk take the scope 'admin'.",
        )
    elif who.max_size is not None and source.distant:
        detail = f"This key may send {who.max_size} bytes at most, and the size of such a source is known too late."
    elif source.kind == "destination":
        pointer, detail = _fault_of_object(who, source, service)
    if detail:
        raise Problem("forbidden", detail, errors=[{"pointer": pointer, "detail": detail}])


def _fault_of_object(who: Identity, source: Source, service: Service) -> tuple[str, str]:
    """Reading an object takes the scope to read, and the destinations and folders where the caller may write."""
    if not who.has("read"):
        return "/source", "Copying an object needs the scope 'read', which the key has not got."
    pointer, detail = who.fault_of([source.destination], source.key, service.destinations.reach) or ("", "")
    where = {"/destinations": "/source/destination", "/key": "/source/key"}.get(pointer, "/source")
    return where, detail and f"An object may be copied only from where the key may write. {detail}"


def placed(who: Identity, *given: Any) -> str | None:
    """The key template for somebody who may write to one folder only and says nothing about the key."""
    prefix = who.prefix
    if not prefix or any(one is not None for one in given) or not {"{", "}"}.isdisjoint(prefix):
        return None
    return prefix + "{id}/{name}"


@dataclass(slots=True)
class Visit:
    """One request of a caller, and what it counts for. Callers without quotas cost nothing here."""

    gate: Gate
    who: Identity
    upload: bool = False
    declared: int | None = None
    entries: list[str] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    came: int = 0
    """Bytes of files whose size was not announced."""
    accepting: bool = False
    """Whether jobs are being made: an answer that nobody got says nothing about them then."""
    _unused: list[str] = field(default_factory=list)
    _charged: int = 0
    _left: int | None = None
    _at_ms: int = 0
    _lost: str = ""
    """The entry whose admission has no answer yet, or never will."""
    _told: bool = False

    @property
    def _counted(self) -> bool:
        quotas = self.who.quotas
        return self.who.uploads is not None or quotas.bytes_per_day is not None or quotas.jobs is not None

    async def enter(self) -> None:
        """Counts the request. Raises `quota_exceeded`, `token_used_up` or `too_large`."""
        upload = self.upload and self._counted
        if not upload and self.who.quotas.requests_per_minute is None:
            return
        await self._admit(upload=upload, charge=self.declared, again=False)

    async def entry(self) -> str | None:
        """The id that the next job of this request is to have; None: any."""
        if not self._counted:
            return None
        if not self._unused:
            await self._admit(upload=True, charge=0, again=True)
        return self._unused.pop(0)

    def limit(self, most: int | None) -> int | None:
        """The largest file for this caller, where the server's own limit is `most`."""
        limits = [most, self.who.max_size, self.left]
        return min((one for one in limits if one is not None), default=None)

    @property
    def left(self) -> int | None:
        """The bytes of a day that a body of unknown length may have, in all its files; None: any."""
        return self._left if self.declared is None else None

    def owes(self, status: int) -> bool:
        """Whether something is to be told when the request is over (0: without an answer). Nothing is given back unless
        it is clear that there is no job.
        """
        failed = 400 <= status < 500 or not (self.accepting or 200 <= status < 400)
        return bool(self.entries) and not self._told and (failed or (self._has_rest and 200 <= status < 300))

    @property
    def _has_rest(self) -> bool:
        """Whether nobody else of the key may upload meanwhile: it did not say how much comes."""
        return self.declared is None and self.who.quotas.bytes_per_day is not None

    async def settle(self) -> None:
        """Its jobs are made. What came is counted before the answer, so that the next upload finds what is left, or
        without Redis behind it.
        """
        if self._has_rest and self.entries:
            with suppress(EngineError):
                await self.leave()

    async def leave(self) -> None:
        """Tells what is owed."""
        used = self.came or self._charged
        await self.gate.leave(
            self.who, self.entries, charged=self._charged, used=used, at_ms=self._at_ms, lost=self._lost
        )
        self._told = True

    async def _admit(self, *, upload: bool, charge: int | None, again: bool) -> None:
        quotas = self.who.quotas
        if quotas.bytes_per_day is None:
            charge = 0
        elif charge is not None and charge > quotas.bytes_per_day:
            raise Problem("too_large", f"The key may send {quotas.bytes_per_day} bytes a day; these are {charge}.")
        entry = self._promise(charge or 0) if upload else ""
        admitted = await self.gate.admit(self.who, entry=entry, charge=charge, again=again)
        self._lost = ""
        self.headers[:] = _rates(self.who, admitted)
        if admitted.refused:
            if entry:
                self._charged -= charge or 0
                self.entries.remove(entry)
            _refuse(admitted.refused, self.who, admitted.now_ms)
        self._at_ms = self._at_ms or admitted.now_ms  # its day is that of the first file
        if quotas.bytes_per_day is not None and self._left is None:
            self._left = quotas.bytes_per_day - admitted.bytes
        if entry:
            self._unused.append(entry)

    def _promise(self, charge: int) -> str:
        """A new entry, written down before it is counted: an answer that is lost leaves nothing counted for good."""
        entry = self._lost = self.gate.entry()
        self._charged += charge
        self.entries.append(entry)
        return entry


_MINUTE_MS, _DAY_MS = 60_000, 86_400_000


def _refuse(what: str, who: Identity, now_ms: int) -> None:
    quotas = who.quotas
    if what == "gone":
        raise unauthorized("The token has ended.")
    if what == "uploads":
        raise Problem("token_used_up", f"This token was good for {who.uploads} uploads, and they are used up.")
    detail, seconds = {
        "requests": (f"{quotas.requests_per_minute} requests a minute are allowed.", _until(now_ms, _MINUTE_MS)),
        "bytes": (f"{quotas.bytes_per_day} bytes a day (of UTC) are allowed.", _until(now_ms, _DAY_MS)),
        "rest": (
            f"{quotas.bytes_per_day} bytes a day (of UTC) are allowed, and an upload that does not say how large it is "
            "has what is left of them until it is over. Send Content-Length: then several may come at once.",
            None,
        ),
        "jobs": (f"{quotas.jobs} unfinished jobs at a time are allowed; wait for some to end.", None),
    }[what]
    raise Problem("quota_exceeded", detail, retry_after=seconds)


def _until(now_ms: int, window_ms: int) -> int:
    """Seconds until the next window begins, at least one."""
    return -(-(window_ms - now_ms % window_ms) // 1000)


def _rates(who: Identity, admitted: Any) -> list[tuple[bytes, bytes]]:
    """The fields of draft-ietf-httpapi-ratelimit-headers-10: structured lists, an item for each quota."""
    quotas, now = who.quotas, admitted.now_ms
    policies, limits = [], []
    if quotas.requests_per_minute is not None:
        policies.append(f'"requests";q={quotas.requests_per_minute};w=60')
        left = max(0, quotas.requests_per_minute - admitted.requests)
        limits.append(f'"requests";r={left};t={_until(now, _MINUTE_MS)}')
    if quotas.bytes_per_day is not None:
        policies.append(f'"bytes";q={quotas.bytes_per_day};qu="content-bytes";w=86400')
        left = max(0, quotas.bytes_per_day - admitted.bytes)
        limits.append(f'"bytes";r={left};t={_until(now, _DAY_MS)}')
    if quotas.jobs is not None:
        policies.append(f'"jobs";q={quotas.jobs};qu="concurrent-requests"')
        limits.append(f'"jobs";r={max(0, quotas.jobs - admitted.jobs)}')
    if not policies:
        return []
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(limits).encode())]


NO_KEY = "Send `Authorization: Bearer …` with a valid key."
NOT_VALID = "The key or token that was sent is not known here: it may be mistyped, revoked, or have expired."


def unauthorized(detail: str = NO_KEY, *, error: bool = False) -> Problem:
    """401, with the challenge of RFC 6750."""
    challenge = 'Bearer realm="bucketline"' + (', error="invalid_token"' if error else "")
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": challenge})
