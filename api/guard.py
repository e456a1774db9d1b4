"""The raw ASGI gate in front of Falcon: it refuses what the headers alone condemn, with no byte of the body read.

Falcon asks for the first body event before it routes. Behind this gate that first event is an empty one of our own,
so the body is asked for (and `100 Continue` sent) only by the handler that wants it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from uuid import uuid4

from api.cors import Cors, Headers
from api.life import Life
from api.limits import FORM_OVERHEAD_BYTES, JSON_BODY_BYTES, LARGEST_LENGTH
from api.problems import CONTENT_TYPE, Problem, from_engine
from api.tus_headers import MARKS, capabilities, is_tus
from engine.errors import EngineError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_KEY_PARAMETERS = frozenset({b"api_key", b"apikey", b"api-key", b"access_token", b"authorization", b"token", b"bearer"})
_OPEN_PATHS = frozenset({"/livez", "/readyz", "/"})
_LOOPBACK_4 = re.compile(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}")
BOOTSTRAP = "bootstrap"
"""The owner of everything that is submitted: this version knows one key."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What the gate found out about a request; `scope["bucketline"]`."""

    request_id: str
    declared: int | None
    """The declared length of the body; None for a chunked one, 0 without a body."""
    media_type: str
    receive: Receive
    """Where the rest of the body comes from, once the framework has had its first event."""
    owner: str = BOOTSTRAP


class Guard:
    """Wraps an ASGI application. `room(size)` raises EngineError when the spool cannot take that much."""

    def __init__(
        self,
        application: Application,
        *,
        room: Callable[[int | None], None],
        life: Life,
        api_key: str | None = None,
        max_size: int | None = None,
        cors: Cors | None = None,
    ) -> None:
        self._application = application
        self._room = room
        self._life = life
        self._key = _fingerprint(api_key.encode()) if api_key else None
        self._max_size = max_size
        self._cors = cors or Cors()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope["headers"])
        tus = is_tus(scope["path"])
        marked = _marking(send, request_id, self._cors.headers(scope["headers"]) + (MARKS if tus else []))
        preflight = self._cors.preflight(scope["method"], scope["headers"])
        if preflight is not None:
            # A browser asks before it sends the key: there is none to look at.
            told = capabilities(self._max_size) if tus else {}
            preflight += [(name.lower().encode(), value.encode()) for name, value in told.items()]
            await marked({"type": "http.response.start", "status": 204, "headers": preflight})
            await marked({"type": "http.response.body", "body": b""})
            return
        try:
            caller, expects = self._admit(scope, request_id)
        except EngineError as error:
            await _refuse(from_engine(error), scope, request_id, marked)
        except Problem as problem:
            await _refuse(problem, scope, request_id, marked)
        else:
            if caller.declared != 0:
                receive = _Gate(receive, send if expects else None)
            scope["bucketline"] = replace(caller, receive=receive)
            await self._application(scope, receive, marked)

    def _admit(self, scope: Scope, request_id: str) -> tuple[Caller, bool]:
        fields = _Fields(scope["headers"])
        if self._key is None:
            _check_host(fields)
            _check_origin(fields, self._cors)
        self._check_key(scope, fields)
        expects = _check_expectation(fields)
        declared = fields.length()
        media_type = (fields.one(b"content-type") or "").partition(";")[0].strip().lower()
        if declared != 0:
            _check_encoding(fields)
        if _takes_file(scope):
            self._check_room(scope, declared, media_type)
        return Caller(request_id, declared, media_type, _nothing), expects

    def _check_key(self, scope: Scope, fields: _Fields) -> None:
        for item in scope["query_string"].split(b"&") if scope["query_string"] else ():
            name, _, value = item.partition(b"=")
            if unquote_to_bytes(name).lower() in _KEY_PARAMETERS or (value and self._is_key(unquote_to_bytes(value))):
                raise Problem("key_in_query", "Send the key as `Authorization: Bearer …`; URLs end up in logs.")
        given = fields.all(b"authorization")
        if len(given) > 1:
            raise Problem("bad_request", "Authorization is given twice.")
        if self._key is None or scope["path"] in _OPEN_PATHS or _asks_what_is_there(scope):
            return
        scheme, _, key = (given[0] if given else b"").partition(b" ")
        if scheme.lower() != b"bearer" or not self._is_key(key.strip()):
            raise Problem(
                "unauthorized",
                "Send `Authorization: Bearer …` with a valid key.",
                headers={"WWW-Authenticate": 'Bearer realm="bucketline"'},
            )

    def _is_key(self, text: bytes) -> bool:
        return self._key is not None and hmac.compare_digest(_fingerprint(text), self._key)

    def _check_room(self, scope: Scope, declared: int | None, media_type: str) -> None:
        if self._life.stopping:
            raise Problem("stopping", "Nothing new is taken; another process or the next start will.")
        # Only jobs are made of JSON and forms: a creation of tus takes any body, and ignores it.
        json = media_type == "application/json" and scope["path"] == "/v1/jobs"
        form = media_type == "multipart/form-data" and scope["path"] == "/v1/jobs"
        limit = JSON_BODY_BYTES if json else self._max_size
        if declared is not None and limit is not None and declared > limit + (FORM_OVERHEAD_BYTES if form else 0):
            raise Problem("too_large", f"The declared length is {declared} bytes; the limit is {limit}.")
        if not json:
            self._room(declared)


class _Gate:
    """A `receive` whose first event is empty; the real first one is waited for only when somebody asks again."""

    def __init__(self, receive: Receive, send: Send | None) -> None:
        self._receive = receive
        self._send = send
        self._asked = False

    async def __call__(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": True}
        if self._send:
            send, self._send = self._send, None
            await send({"type": "http.response.informational", "status": 100, "headers": []})
        return await self._receive()


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


class _Fields:
    """The header fields of one request."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers

    def all(self, name: bytes) -> list[bytes]:
        return [value for field, value in self._headers if field == name]

    def one(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for field, value in self._headers if field == name), None)

    def length(self) -> int | None:
        codings = self.all(b"transfer-encoding")
        if codings:
            # The parser takes a body in an unknown coding for an empty one: it must not become an empty file.
            if [coding.strip().lower() for coding in codings] != [b"chunked"]:
                raise Problem("unknown_coding", "Only `Transfer-Encoding: chunked` is understood.")
            return None
        text = self.one(b"content-length") or "0"
        if not text.isascii() or not text.isdigit():
            raise Problem("bad_request", "Content-Length is not a number.")
        if len(text) > 19 or int(text) > LARGEST_LENGTH:
            raise Problem("too_large", "No file is that large.")
        return int(text)


def _fingerprint(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return uuid4().hex


def _marking(send: Send, request_id: str, more: Headers) -> Send:
    """A `send` that puts on every answer what all of them carry."""
    common = [
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"server", b"bucketline"),
        *more,
    ]

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *common]
        await send(message)

    return marked


async def _refuse(problem: Problem, scope: Scope, request_id: str, send: Send) -> None:
    body = problem.body(request_id=request_id, instance=scope["path"][:2000])
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.all_headers().items()]
    headers += [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _takes_file(scope: Scope) -> bool:
    method, path = scope["method"], scope["path"]
    if is_tus(path):
        return method in ("POST", "PATCH")
    return bool((method == "POST" and path == "/v1/jobs") or (method == "PUT" and path.startswith("/v1/objects/")))


def _asks_what_is_there(scope: Scope) -> bool:
    """What tus can do here is told to everybody, as to a browser before it sends the key."""
    return scope["method"] == "OPTIONS" and is_tus(scope["path"])


def _check_expectation(fields: _Fields) -> bool:
    expectation = fields.one(b"expect")
    if expectation is None:
        return False
    if expectation.strip().lower() != "100-continue":
        raise Problem("expectation_failed", "Only 100-continue can be met.")
    return True


def _check_encoding(fields: _Fields) -> None:
    encodings = [value.strip().lower() for value in fields.all(b"content-encoding")]
    if any(encoding not in (b"", b"identity") for encoding in encodings):
        raise Problem("unsupported_encoding", "Files are stored as they come: send the body without Content-Encoding.")


def _check_host(fields: _Fields) -> None:
    host = fields.one(b"host")
    if not host:
        raise Problem("bad_request", "The Host header is missing.")
    if not is_loopback(_host_name(host)):
        raise Problem("host_refused", "Without an API key only loopback names are served; set BUCKETLINE_API_KEY.")


def _check_origin(fields: _Fields, cors: Cors) -> None:
    for value in fields.all(b"origin"):
        if cors.names(value):
            continue
        try:
            name = urlsplit(value.decode("latin-1")).hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name):
            raise Problem(
                "origin_refused",
                "Without an API key only pages of this machine may call, "
                "and of sites that BUCKETLINE_CORS_ORIGINS names (`*` counts only with a key).",
            )


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(name: str) -> bool:
    """Whether a host name always means this machine (no look-up: DNS may lie)."""
    name = name.lower().rstrip(".")
    return name in ("localhost", "::1") or name.endswith(".localhost") or bool(_LOOPBACK_4.fullmatch(name))
