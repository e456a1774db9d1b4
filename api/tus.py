"""The routes of tus 1.0.0: uploads that go on after a break, and become jobs when they are whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import falcon
import falcon.asgi

from api import tus_headers as headers
from api.access import check_spec
from api.bodies import expected_digests
from api.caller import Caller
from api.chunks import Chunks, Promised
from api.forms import file_name
from api.ingest import Intake
from api.life import Life
from api.limits import Pace
from api.options import TABLE, Gathered
from api.problems import Problem
from api.service import Service
from engine.errors import EngineError
from engine.models import JobSpec
from engine.upload import Upload

Request = falcon.asgi.Request
Response = falcon.asgi.Response


class Tus:
    """`/v1/tus` and `/v1/tus/{id}`."""

    def __init__(
        self, service: Service, intake: Intake, life: Life, *, max_size: int | None = None, pace: Pace | None = None
    ) -> None:
        self._service = service
        self._intake = intake
        self._life = life
        self._max_size = max_size
        self._chunks = Chunks(service, life, max_size=max_size, pace=pace or Pace())

    async def on_options_all(self, req: Request, resp: Response) -> None:
        resp.status = 204
        resp.set_headers(headers.capabilities(self._max_size))

    async def on_options_one(self, req: Request, resp: Response, upload_id: str) -> None:
        await self.on_options_all(req, resp)

    async def on_post_all(self, req: Request, resp: Response) -> None:
        """Creation, with or without the first bytes."""
        headers.check_version(req)
        caller: Caller = req.scope["bucketline"]
        parts = headers.concat(req)
        with_bytes = caller.media_type == headers.CHUNK_TYPE
        if parts:
            await self._join(req, resp, parts)
            return
        length = headers.length(req)
        self._check_size(caller, length)
        if length is None and caller.who.quotas.bytes_per_day is not None:
            raise Problem("forbidden", "The bytes of this key are counted: announce them in Upload-Length.")
        promised = _promised(req) if with_bytes else Promised(None, {})
        if with_bytes and length is not None and (caller.declared or 0) > length:
            raise Problem("too_large", f"{caller.declared} bytes are sent, and {length} were announced.")
        job = await self._created_upload(req, caller, length, is_job=parts is None)
        try:
            await self._begin(req, resp, job, promised, with_bytes=with_bytes)
        except BaseException:
            # Without an answer its client does not know the address: nobody could go on with it.
            await asyncio.shield(self._life.keep(self._abandon(job)))
            caller.visit.accepting = False
            raise
        if parts is None:
            caller.note(self._service, "submit", job=job)
        _created(req, resp, job, is_job=parts is None, with_bytes=with_bytes)

    async def _join(self, req: Request, resp: Response, parts: list[str]) -> None:
        """Creation of a final upload. It reaches its end though the client leaves, who may ask again for the same."""
        caller: Caller = req.scope["bucketline"]
        if caller.media_type == headers.CHUNK_TYPE and caller.declared != 0:
            raise Problem("bad_request", "A final upload takes no bytes.")
        concat, given = req.get_header("Upload-Concat") or "", req.get_header("Upload-Metadata")
        options = self._intake.options(caller, _gather(req, given), {})

        async def prepare(size: int) -> JobSpec:
            self._check_size(caller, size)
            return await self._intake.spec(caller, options, size)

        caller.visit.accepting = True
        uploads = self._service.uploads
        work = uploads.join(prepare, options, parts, concat=concat, metadata=given, allows=self._allows(req))
        job = await asyncio.shield(self._life.keep(work))
        caller.note(self._service, "submit", job=job)
        _created(req, resp, job, is_job=True, with_bytes=False)

    async def _created_upload(self, req: Request, caller: Caller, length: int | None, *, is_job: bool) -> str:
        """The id of a new upload without bytes: of one that will be a job, or a part of others."""
        given, uploads = req.get_header("Upload-Metadata"), self._service.uploads
        if not is_job:
            return await uploads.create_partial(length=length, metadata=given, owner=caller.owner)
        options = self._intake.options(caller, _gather(req, given), {})
        spec = await self._intake.spec(caller, options, length)
        caller.visit.accepting = True
        return await uploads.create(spec, options, length=length, metadata=given)

    async def on_post_one(self, req: Request, resp: Response, upload_id: str) -> None:
        """For clients behind proxies that let only POST through."""
        verbs: dict[str, Callable[[Request, Response, str], Awaitable[None]]] = {
            "PATCH": self.on_patch_one,
            "DELETE": self.on_delete_one,
            "HEAD": self.on_head_one,
        }
        verb = verbs.get((req.get_header("X-HTTP-Method-Override") or "").upper())
        if verb is None:
            raise falcon.HTTPMethodNotAllowed(["OPTIONS", "HEAD", "PATCH", "DELETE"])
        await verb(req, resp, upload_id)

    async def on_head_one(self, req: Request, resp: Response, upload_id: str) -> None:
        headers.check_version(req)
        async with self._service.uploads.hold(upload_id, self._allows(req)) as upload:
            upload.check_alive()
            await upload.look()
            if upload.is_whole:
                await upload.finish()  # the process that got the last byte died before it could
            resp.status = 200
            resp.set_header("Cache-Control", "no-store")
            resp.set_header("Upload-Offset", str(upload.offset))
            if upload.note.concat:
                resp.set_header("Upload-Concat", upload.note.concat)
            if not upload.note.is_partial:
                resp.set_header("Bucketline-Job", upload.spec.id)
            if upload.note.length is None:
                resp.set_header("Upload-Defer-Length", "1")
            else:
                resp.set_header("Upload-Length", str(upload.note.length))
            if upload.note.metadata is not None:
                resp.set_header("Upload-Metadata", upload.note.metadata)
            self._expires(resp, upload)

    async def on_patch_one(self, req: Request, resp: Response, upload_id: str) -> None:
        headers.check_version(req)
        caller: Caller = req.scope["bucketline"]
        if caller.media_type != headers.CHUNK_TYPE:
            raise Problem("unsupported_media_type", f"A chunk is sent as {headers.CHUNK_TYPE}.")
        offset, length = headers.number(req, "Upload-Offset"), headers.number(req, "Upload-Length")
        if offset is None:
            raise Problem("bad_request", "Upload-Offset is missing.")
        promised = _promised(req)
        self._check_size(caller, length)
        async with self._service.uploads.hold(upload_id, self._allows(req)) as upload:
            upload.check_alive()
            if upload.note.is_final:
                raise Problem("final_upload", "It has the bytes of its partial uploads, and takes no others.")
            if offset != upload.offset:
                raise Problem("wrong_offset", f"The next byte is {upload.offset}, not {offset}.")
            _check_fits(upload, length, caller.declared)
            if length is not None:
                await upload.declare(length)
            if not upload.accepted:
                await self._chunks.take(caller, upload, promised)
            resp.status = 204
            resp.set_header("Upload-Offset", str(upload.offset))
            self._expires(resp, upload)

    async def on_delete_one(self, req: Request, resp: Response, upload_id: str) -> None:
        headers.check_version(req)
        caller: Caller = req.scope["bucketline"]
        await self._service.uploads.remove(upload_id, allows=self._allows(req))
        caller.note(self._service, "cancel", job=upload_id)
        resp.status = 204

    def _allows(self, req: Request) -> Callable[[JobSpec], bool]:
        """Whose uploads this caller may go on with: those of his key. With a token, also only what it could begin
        itself: pages get a new one when theirs has ended.
        """
        caller: Caller = req.scope["bucketline"]

        def allows(spec: JobSpec) -> bool:
            if spec.owner != caller.owner and caller.who.sees is not None:
                return False
            if not spec.destinations:
                return True  # a partial upload goes nowhere; the final one is looked at
            try:
                check_spec(caller.who, spec, self._service)
            except Problem:
                return False
            return True

        return allows

    async def _begin(self, req: Request, resp: Response, job: str, promised: Promised, *, with_bytes: bool) -> None:
        async with self._service.uploads.hold(job) as upload:
            if with_bytes:
                await self._chunks.take(req.scope["bucketline"], upload, promised)
                resp.set_header("Upload-Offset", str(upload.offset))
            elif upload.is_whole:
                await upload.finish()
            self._expires(resp, upload)

    async def _abandon(self, job: str) -> None:
        try:
            await self._service.uploads.remove(job, "discard")
        except EngineError:
            pass  # it expires

    def _check_size(self, caller: Caller, length: int | None) -> None:
        limit = caller.visit.limit(self._max_size)
        if length is not None and limit is not None and length > limit:
            raise Problem("too_large", f"{length} bytes are announced; the limit is {limit}.")

    def _expires(self, resp: Response, upload: Upload) -> None:
        if not upload.accepted:
            resp.set_header("Upload-Expires", headers.date(upload.expires))


def _promised(req: Request) -> Promised:
    return Promised(headers.checksum(req), expected_digests(req.scope["headers"], (b"content-digest",)))


def _created(req: Request, resp: Response, job: str, *, is_job: bool, with_bytes: bool) -> None:
    caller: Caller = req.scope["bucketline"]
    resp.status = 201
    resp.set_header("Location", f"{headers.PATH}/{job}")
    if is_job:
        resp.set_header("Bucketline-Job", job)
    if not with_bytes and caller.declared != 0:
        resp.set_header("Connection", "close")  # a body that means nothing here is not read


def _check_fits(upload: Upload, length: int | None, declared: int | None) -> None:
    whole = upload.note.length
    if length is not None and whole is not None and length != whole:
        raise Problem("bad_request", f"This upload has {whole} bytes; a length is said only once.")
    whole = length if whole is None else whole
    if whole is not None and upload.offset + (declared or 0) > whole:
        raise Problem("too_large", f"{whole - upload.offset} bytes are missing, and {declared} are sent.")


def _gather(req: Request, given: str | None) -> Gathered:
    """The options of an upload, from query, headers and metadata; metadata that is no option is only given back."""
    gathered = Gathered()
    gathered.query(req.scope["query_string"])
    gathered.headers(req.scope["headers"])
    more: dict[str, Any] = {}
    for name, text in headers.metadata(given):
        if name in TABLE:
            gathered.text(name, text)
        else:
            more[name] = text
    if gathered.get("name") is None:
        gathered.default("name", file_name(more.get("filename")))
    gathered.default_type(more.get("filetype"))
    return gathered
