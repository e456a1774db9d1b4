"""Files on their way in: bodies and forms become receptions, receptions become jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import falcon.asgi
import msgspec

from api.access import check_spec, placed
from api.bodies import Body, expected_digests
from api.caller import Caller
from api.forms import Event, FormParser, PartEnd, PartStart, boundary_of, file_name
from api.life import Life
from api.limits import EAGER_SECONDS, FORM_FIELD_BYTES, FORM_OVERHEAD_BYTES, JSON_BODY_BYTES, PROGRESS_SECONDS, Pace
from api.options import Gathered, told_type
from api.problems import Problem, invalid
from api.service import Json, Reception, Service
from api.strict import read_json
from engine.errors import EngineError
from engine.models import JobSpec, SubmitOptions

_ONE_FILE_ONLY = ("key", "name", "checksum")


class Intake:
    """What the submitting routes share."""

    def __init__(self, service: Service, life: Life, *, max_size: int | None = None, pace: Pace | None = None) -> None:
        self._service = service
        self._life = life
        self._max_size = max_size
        self._pace = pace or Pace()

    async def raw(self, request: falcon.asgi.Request, gathered: Gathered) -> Json:
        """The body is the file."""
        caller: Caller = request.scope["bucketline"]
        digests = expected_digests(request.scope["headers"])
        if "sha256" in digests and gathered.get("checksum") is None:
            gathered.default("checksum", f"sha256:{digests.pop('sha256').hex()}")
        spec = await self.prepare(caller, gathered, caller.declared)
        async with self._receiving(caller) as batch:
            reception = await batch.open(spec, caller.declared)
            with self._body(request, caller.visit.limit(self._max_size), digests) as body:
                await self._pour(body, reception)
            return (await batch.accept())[0]

    async def form(self, request: falcon.asgi.Request, gathered: Gathered) -> list[Json]:
        """Every part called `file` is a file; all become jobs, or none."""
        caller: Caller = request.scope["bucketline"]
        parser = FormParser(boundary_of(request.content_type or ""))
        most = caller.visit.limit(self._max_size)
        limit = None if most is None else most * 64 + FORM_OVERHEAD_BYTES
        digests = expected_digests(request.scope["headers"])
        async with self._receiving(caller) as batch:
            form = _Form(self, batch, gathered, caller, most)
            with self._body(request, limit, digests) as body:
                while chunk := await body.next():
                    for event in parser.feed(chunk):
                        await form.take(event)
                parser.finish()
            form.revise()
            return await batch.accept()

    async def document(self, request: falcon.asgi.Request, gathered: Gathered) -> Json:
        """A JSON body names a source."""
        caller: Caller = request.scope["bucketline"]
        with self._body(request, JSON_BODY_BYTES, expected_digests(request.scope["headers"])) as body:
            gathered.json(read_json(await body.read()))
        if gathered.get("source") is None:
            raise invalid("/source", "A JSON body needs a source; send a file as any other content type.")
        spec = await self.prepare(caller, gathered, None)
        caller.visit.accepting = True
        job = await self._service.submit_source(spec)
        await caller.visit.settle()
        caller.note(self._service, "submit", job=job["id"])
        return job

    async def prepare(self, caller: Caller, gathered: Gathered, size: int | None, **own: Any) -> JobSpec:
        """The job, if it is possible, and if this caller may have it."""
        return await self.spec(caller, self.options(caller, gathered, own), size)

    async def spec(self, caller: Caller, options: SubmitOptions, size: int | None) -> JobSpec:
        """The same, of options that were gathered already."""
        job = await caller.visit.entry()
        spec = self._service.prepare(options, size=size, owner=caller.owner, job=job)
        return msgspec.structs.replace(
            check_spec(caller.who, spec, self._service, options),
            token=caller.who.token,
            request_id=caller.request_id,
            traceparent=caller.traceparent,
            once=caller.attempt.once if caller.attempt else None,
        )

    def options(self, caller: Caller, gathered: Gathered, own: dict[str, Any]) -> SubmitOptions:
        """What is asked for so far; who may write to one folder only writes there unless he says where.
        A token's webhook is that of its jobs.
        """
        template = placed(caller.who, gathered.get("key"), gathered.get("key_template"))
        return gathered.options(**own, key_template=template, webhook=caller.who.webhook)

    def check_again(self, caller: Caller, reception: Reception, options: SubmitOptions) -> None:
        """Options that came after the file are looked at like those before it."""
        reception.revise(options)
        check_spec(caller.who, reception.spec, self._service, options)

    @asynccontextmanager
    async def _receiving(self, caller: Caller) -> AsyncIterator[Batch]:
        with self._life.receiving():
            async with Batch(self._service, self._life, caller) as batch:
                yield batch

    def _body(self, request: falcon.asgi.Request, limit: int | None, digests: dict[str, bytes]) -> Body:
        caller: Caller = request.scope["bucketline"]
        give_way = self._service.give_way
        return Body(
            caller.receive, declared=caller.declared, limit=limit, digests=digests, pace=self._pace, give_way=give_way
        )

    async def _pour(self, body: Body, reception: Reception) -> None:
        clock = asyncio.get_running_loop().time
        teller = _Teller(reception, self._life)
        told = clock()
        while chunk := await body.next():
            reception.write(chunk)
            if clock() >= told + (EAGER_SECONDS if reception.has_more else PROGRESS_SECONDS):
                teller.tell()
                told = clock()
        await teller.silence()


class Batch:
    """The receptions of one request: accepted together, or discarded together when anything goes wrong before."""

    def __init__(self, service: Service, life: Life, caller: Caller) -> None:
        self._service = service
        self._life = life
        self._caller = caller
        self._visit = caller.visit
        self._receptions: list[Reception] = []
        self._handed_over = False

    async def __aenter__(self) -> Batch:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if not self._handed_over:
            await asyncio.shield(self._life.keep(self._discard()))

    async def open(self, spec: JobSpec, size: int | None) -> Reception:
        """A new reception of this request."""
        reception = await self._service.receive(spec, size)
        self._receptions.append(reception)
        return reception

    async def accept(self) -> list[Json]:
        """Make them jobs. This runs to its end even when the client leaves meanwhile."""
        self._handed_over = self._visit.accepting = True
        return await asyncio.shield(self._life.keep(self._accept()))

    async def _accept(self) -> list[Json]:
        try:
            jobs = await self._service.accept_all(self._receptions)
        except EngineError as error:
            # A clear refusal leaves nothing behind. After an unclear answer (the ledger is away) the job may exist: the
            # bytes stay, and reconciliation decides.
            if not error.retryable:
                await self._discard()
            raise
        for job in jobs:
            self._caller.note(self._service, "submit", job=job["id"])
        if self._visit.declared is None:
            self._visit.came += sum(job.get("size") or 0 for job in jobs)
        await self._visit.settle()
        return jobs

    async def _discard(self) -> None:
        for reception in self._receptions:
            await reception.discard()


class _Teller:
    """Publishes how much has arrived, beside the reading and never more than one message at a time."""

    def __init__(self, reception: Reception, life: Life) -> None:
        self._reception = reception
        self._life = life
        self._telling: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Publish now, unless the last message is still on its way. A job that is gone ends the reception."""
        if self._telling is None or self._telling.done():
            self._check()
            self._telling = self._life.keep(self._reception.progress())

    async def silence(self) -> None:
        """Wait for the last message."""
        if self._telling:
            await asyncio.wait({self._telling})
            self._check()

    def _check(self) -> None:
        error = self._telling.exception() if self._telling else None
        if isinstance(error, EngineError) and not error.retryable:
            raise error


class _Form:
    """One form while it is read: text fields become options, files become receptions."""

    def __init__(self, intake: Intake, batch: Batch, gathered: Gathered, caller: Caller, max_size: int | None) -> None:
        self._intake = intake
        self._batch = batch
        self._gathered = gathered
        self._caller = caller
        self._max_size = max_size
        self._files: list[tuple[Reception, dict[str, Any]]] = []
        self._late_options = False
        self._field: str | None = None
        self._text = bytearray()
        self._size = self._all = 0
        self._left = caller.visit.left

    async def take(self, event: Event) -> None:
        """The next piece of the form."""
        if isinstance(event, bytes):
            self._bytes(event)
        elif isinstance(event, PartEnd):
            self._end()
        elif event.name == "file":
            await self._open_file(event)
        elif event.filename is None:
            self._field = event.name
        else:
            raise invalid(f"/{event.name[:200]}", "Files are sent in fields called file.", code="unknown_option")

    def revise(self) -> None:
        """The form is whole: options that came after a file now count for it too."""
        if not self._files:
            raise invalid("/file", "The form has no file: add a part called file.")
        self._check_several()
        if self._late_options:
            for reception, own in self._files:
                self._intake.check_again(
                    self._caller, reception, self._intake.options(self._caller, self._gathered, own)
                )

    async def _open_file(self, part: PartStart) -> None:
        name = file_name(part.filename)
        own = {"name": name, "content_type": told_type(part.content_type, name)}
        spec = await self._intake.prepare(self._caller, self._gathered, None, **own)
        self._files.append((await self._batch.open(spec, None), own))
        self._check_several()
        self._field = None
        self._size = 0

    def _bytes(self, data: bytes) -> None:
        if self._field is None:
            self._size += len(data)
            self._all += len(data)
            if self._max_size is not None and self._size > self._max_size:
                raise Problem("too_large", f"A file of the form passes the limit of {self._max_size} bytes.")
            if self._left is not None and self._all > self._left:
                raise Problem("too_large", f"The files of the form pass the {self._left} bytes that are left today.")
            self._files[-1][0].write(data)
        else:
            self._text += data
            if len(self._text) > FORM_FIELD_BYTES:
                raise Problem("field_too_large", f"The field {self._field[:80]!r} passes {FORM_FIELD_BYTES} bytes.")

    def _end(self) -> None:
        if self._field is None:
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise invalid(f"/{self._field[:200]}", "Fields must be UTF-8.") from None
        self._gathered.field(self._field, text)
        self._late_options = self._late_options or bool(self._files)
        self._field = None
        self._text.clear()

    def _check_several(self) -> None:
        if len(self._files) > 1:
            for name in _ONE_FILE_ONLY:
                if self._gathered.get(name) is not None:
                    raise invalid(f"/{name}", f"Several files cannot share one {name}.")


_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d+)\"?\s*(?=[,;]|$)", re.IGNORECASE)


def wait_seconds(prefer: str | None, most: int) -> int | None:
    """The seconds of `Prefer: wait=N` (RFC 7240), capped; None when not asked for."""
    match = _WAIT.search(prefer or "")
    return min(int(match[1].lstrip("0")[:9] or 0), most) if match else None
