"""The raw ASGI gate in front of Falcon: it refuses what the headers alone condemn, with no byte of the body read.

Falcon asks for the first body event before it routes. Behind this gate that first event is an empty one of our own,
so the body is asked for (and `100 Continue` sent) only by the handler that wants it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from api.access import Visit, begins_upload, check_scope
from api.access_log import AccessLog, Entry, entry_of
from api.asgi_types import Application, Headers, Receive, Scope, Send
from api.caller import Caller
from api.channels import LateReceive, MarkedSend, nothing
from api.cors import Cors
from api.doorman import Doorman
from api.fields import Fields, check_encoding, check_expectation
from api.life import Life
from api.limits import FORM_OVERHEAD_BYTES, JSON_BODY_BYTES
from api.loopback import check_host, check_origin
from api.once import Attempt, Replay, attempt
from api.problems import CONTENT_TYPE, Problem, from_engine
from api.routes import UNKNOWN, Routes
from api.service import Service
from api.tracing import traceparent_of
from api.tus_headers import MARKS, as_length, capabilities, is_tus
from api.tus_headers import PATH as TUS
from engine.access import ANYBODY
from engine.errors import EngineError
from engine.measures import METHODS
from engine.spans import Span

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_LEAVE_PAUSES = (0.5, 1.0, 2.0, 4.0)


class Guard:
    """Wraps an ASGI application. `room(size)` raises EngineError when the spool cannot take that much.

    Without `api_key`, the bootstrap key, nobody is asked for one: only this machine is served then.
    """

    def __init__(
        self,
        application: Application,
        *,
        room: Callable[[int | None], None],
        service: Service,
        life: Life,
        api_key: str | None = None,
        max_size: int | None = None,
        cors: Cors | None = None,
        access_log: AccessLog | None = None,
        routes: Routes | None = None,
    ) -> None:
        self._application = application
        self._room = room
        self._service = service
        self._gate = service.gate
        self._life = life
        self._doorman = Doorman(service.gate, api_key)
        self._max_size = max_size
        self._cors = cors or Cors()
        self._access_log = access_log
        self._routes = routes or Routes()
        self._strict = routes is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            if scope["path"] == TUS + "/":
                scope["path"] = TUS  # as many clients of tus have it in their examples
            await self._tell(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves, and writes the line of the access log when that is over."""
        request_id = self._request_id(scope["headers"])
        entry = entry_of(scope, request_id)
        entry.traceparent = traceparent_of(scope["headers"])
        cors = self._cors.headers(scope["headers"])
        marked = MarkedSend(send, request_id, cors + MARKS if is_tus(scope["path"]) else cors)
        route = self._routes.of(scope["path"])
        method = scope["method"] if scope["method"] in METHODS else "other"
        try:
            if route.startswith("/v1/"):
                with self._span(method, route, entry) as span:
                    await self._serve(scope, receive, marked, entry)
                    _describe(span, entry, marked.status)
            else:
                await self._serve(scope, receive, marked, entry)
        finally:
            self._service.counters.request(method, route, marked.status, time.perf_counter() - entry.began)
            if self._access_log is not None:
                self._access_log.tell(entry, marked.status, marked.sent)

    def _span(self, method: str, route: str, entry: Entry) -> Span:
        """What the request does belongs to this span, which belongs to whatever the client said."""
        found = {"http.request.method": method, "http.route": route, "bucketline.request_id": entry.request_id}
        span = self._service.spans.start(f"{method} {route}", entry.traceparent, "server", found)
        entry.traceparent = span.traceparent
        return span

    def _request_id(self, headers: Headers) -> str:
        """The client's own, if it has the form of one and is no secret: it ends up in logs."""
        for name, value in headers:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value) and not self._doorman.knows_secret(value):
                return value.decode()
        return uuid4().hex

    async def _serve(self, scope: Scope, receive: Receive, marked: MarkedSend, entry: Entry) -> None:
        request_id = entry.request_id
        preflight = self._cors.preflight(scope["method"], scope["headers"])
        if preflight is not None:
            # A browser asks before it sends the key: there is none to look at.
            told = capabilities(self._max_size) if is_tus(scope["path"]) else {}
            preflight += [(name.lower().encode(), value.encode()) for name, value in told.items()]
            await marked({"type": "http.response.start", "status": 204, "headers": preflight})
            await marked({"type": "http.response.body", "body": b""})
            return
        try:
            caller, expects = await self._admit(scope, entry, marked)
        except EngineError as error:
            await _refuse(from_engine(error), scope, request_id, marked)
        except Problem as problem:
            await _refuse(problem, scope, request_id, marked)
        except Replay as replay:
            await _replay(replay, entry, marked)
        else:
            if caller.declared != 0:
                receive = LateReceive(receive, marked.send if expects else None, entry)
            scope["bucketline"] = replace(caller, receive=receive)
            marked.attempt = caller.attempt
            await self._pass_on(scope, receive, marked, caller)

    async def _pass_on(self, scope: Scope, receive: Receive, marked: MarkedSend, caller: Caller) -> None:
        visit = caller.visit
        try:
            await self._application(scope, receive, marked)
        finally:
            self._tell_end(visit, marked.status)
            if caller.attempt is not None:
                # Without an answer, while jobs were being made, they may be: its time runs out by itself then.
                failed = marked.status >= 400 or (marked.status == 0 and not visit.accepting)
                self._life.keep(caller.attempt.end(failed=failed))

    def _tell_end(self, visit: Visit, status: int) -> None:
        if visit.owes(status):
            # Beside it: the answer is out, and the server takes no further request from this connection meanwhile.
            self._life.keep(_leave(visit, self._life))

    async def _admit(self, scope: Scope, entry: Entry, marked: MarkedSend) -> tuple[Caller, bool]:
        fields = Fields(scope["headers"])
        if not self._doorman.asks:
            check_host(fields)
            check_origin(fields, self._cors)
        sender = await self._doorman.identify(scope, fields.all(b"authorization"))
        who = sender.who
        entry.key, entry.token = who.key or None, who.token or None
        if who is not ANYBODY:
            check_scope(who, scope["method"], scope["path"])
        if self._strict and self._routes.of(scope["path"]) == UNKNOWN:
            # Falcon is less exact, and takes //v1/jobs for /v1/jobs: it must not see what the rules above do not know.
            raise Problem("no_resource", "No resource has this address.")
        expects = check_expectation(fields)
        declared = fields.length()
        media_type = (fields.one(b"content-type") or "").partition(";")[0].strip().lower()
        if declared != 0:
            check_encoding(fields)
        size = _size(scope, fields, declared, media_type)
        visit = Visit(self._gate, who, begins_upload(scope["method"], scope["path"]), size)
        marked.more = visit.headers
        first = await self._attempt(scope, visit, declared, media_type)
        try:
            if _takes_file(scope):
                self._check_room(scope, declared, media_type, visit)
            await visit.enter()
        except BaseException:
            # A client that leaves is a failure, too. What is cancelled once more leaves this to itself.
            self._tell_end(visit, 0)
            if first is not None:
                await asyncio.shield(self._life.keep(first.end(failed=True)))
            raise
        client = scope.get("client") or ("",)
        forwarded = (fields.one(b"x-forwarded-for") or "")[:200]
        caller = Caller(
            entry.request_id, declared, media_type, nothing, visit, str(client[0]), forwarded, sender, entry,
            entry.traceparent, first,
        )  # fmt: skip
        return caller, expects

    async def _attempt(self, scope: Scope, visit: Visit, declared: int | None, media_type: str) -> Attempt | None:
        """Before anything else is counted or asked: what was answered once is answered again, quota or not."""
        try:
            return await attempt(self._service, scope, visit.who, declared, media_type)
        except Replay:
            visit.upload = False
            await visit.enter()
            raise

    def _check_room(self, scope: Scope, declared: int | None, media_type: str, visit: Visit) -> None:
        if self._life.stopping:
            raise Problem("stopping", "Nothing new is taken; another process or the next start will.")
        json = _is_source(scope, media_type)
        form = media_type == "multipart/form-data" and scope["path"] == "/v1/jobs"
        limit = JSON_BODY_BYTES if json else visit.limit(self._max_size)
        if declared is not None and limit is not None and declared > limit + (FORM_OVERHEAD_BYTES if form else 0):
            raise Problem("too_large", f"The declared length is {declared} bytes; the limit is {limit}.")
        if not json:
            self._room(declared)


async def _leave(visit: Visit, life: Life) -> None:
    """Tells Redis, which may be away for a moment; after that it stays counted: better too much than too little."""
    for pause in (*_LEAVE_PAUSES, None):
        try:
            return await visit.leave()
        except EngineError:
            if pause is None or await life.until(asyncio.sleep(pause, True)) is None:
                return None


def _size(scope: Scope, fields: Fields, declared: int | None, media_type: str) -> int | None:
    """How large the file will be, as far as that is known: a tus creation says it in a header. One that joins others
    brings no bytes; they were counted with those. Nor does JSON.
    """
    if _is_source(scope, media_type):
        return declared or 0
    if scope["path"] != TUS:
        return declared
    if (fields.one(b"upload-concat") or "").partition(";")[0].strip() == "final":
        return 0
    length = fields.one(b"upload-length") or ""
    return as_length(length) if length.isascii() and length.isdigit() else None


def _is_source(scope: Scope, media_type: str) -> bool:
    """Only jobs are made of JSON: a creation of tus takes any body, and ignores it."""
    return media_type == "application/json" and scope["path"] == "/v1/jobs"


def _describe(span: Span, entry: Entry, status: int) -> None:
    span.set("http.response.status_code", status)
    span.set("bucketline.jobs", entry.jobs or None)
    if status >= 500:
        span.fail(str(status))


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


async def _replay(replay: Replay, entry: Entry, send: Send) -> None:
    """The body is not read, so the connection ends, unless there is none."""
    for job in replay.jobs:
        entry.seen(job)
    headers = [*replay.headers(), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": replay.status, "headers": headers})
    await send({"type": "http.response.body", "body": replay.body})


def _takes_file(scope: Scope) -> bool:
    method, path = scope["method"], scope["path"]
    if is_tus(path):
        return method in ("POST", "PATCH")
    return bool((method == "POST" and path == "/v1/jobs") or (method == "PUT" and path.startswith("/v1/objects/")))
