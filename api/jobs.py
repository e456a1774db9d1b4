"""The routes of jobs: submit, look, list, command, forget."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

import falcon.asgi
import msgspec

from api.caller import Caller
from api.ingest import Intake, wait_seconds
from api.life import Life
from api.limits import LIST_DEFAULT, LIST_MOST, WAIT_MOST_SECONDS
from api.options import Gathered
from api.problems import Problem, from_engine, invalid
from api.service import Json, Service
from api.strict import query_pairs, unknown_parameter
from engine.errors import EngineError
from engine.models import JOB_OVER, JOB_STATES

Request = falcon.asgi.Request
Response = falcon.asgi.Response

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CURSOR = re.compile(r"[A-Za-z0-9_.~:=-]{1,512}")
_LIST_PARAMETERS = ("state", "destination", "q", "limit", "cursor", "owner")


def write_json(resp: Response, document: Any, status: int = 200) -> None:
    """Answer with JSON that no cache keeps without asking."""
    resp.status = status
    resp.content_type = "application/json"
    resp.set_header("Cache-Control", "no-cache")
    resp.data = msgspec.json.encode(document)


def checked_id(job_id: str) -> str:
    """The id, if it has the form of one: anything else is 404 and never reaches a pattern or a key."""
    if not _ID.fullmatch(job_id):
        raise Problem("not_found", "There is no job with this id.")
    return job_id


class Submission:
    """How a submit is answered, for both of its routes."""

    def __init__(self, service: Service, intake: Intake, life: Life) -> None:
        self._service = service
        self._life = life
        self.intake = intake

    def gather(self, req: Request) -> Gathered:
        """The options that are known before the body."""
        gathered = Gathered()
        gathered.query(req.scope["query_string"])
        gathered.headers(req.scope["headers"])
        return gathered

    async def answer(self, req: Request, resp: Response, jobs: list[Json], *, several: bool = False) -> None:
        """202 with the job (or `{"jobs": […]}`); after `Prefer: wait` 200 if all of them are done by then."""
        seconds = wait_seconds(req.get_header("Prefer"), WAIT_MOST_SECONDS)
        if seconds is not None:
            resp.set_header("Preference-Applied", f"wait={seconds}")
            jobs = list(await asyncio.gather(*(self._after_wait(job, seconds) for job in jobs)))
        done = seconds is not None and all(_is_done(job) for job in jobs)
        write_json(resp, {"jobs": jobs} if several else jobs[0], 200 if done else 202)
        if not done:
            resp.set_header("Retry-After", "1")
        if len(jobs) == 1:
            address = f"/v1/jobs/{jobs[0]['id']}"
            resp.set_header("Location", address)
            resp.set_header("Content-Location", address)
        attempt = req.scope["bucketline"].attempt
        if attempt is not None:
            await attempt.answered(resp.status, resp.get_header("Location") or "", resp.data)

    async def _after_wait(self, job: Json, seconds: int) -> Json:
        try:
            return await self._life.until(self._service.wait(job["id"], seconds)) or job
        except EngineError:
            return job  # it is accepted, and that is the answer; looking can be repeated


def _is_done(job: Json) -> bool:
    return job["state"] in JOB_OVER or bool(job.get("satisfied_at"))


class Jobs:
    """`/v1/jobs`."""

    def __init__(self, service: Service, submission: Submission) -> None:
        self._service = service
        self._submission = submission

    async def on_post(self, req: Request, resp: Response) -> None:
        caller: Caller = req.scope["bucketline"]
        intake, gathered = self._submission.intake, self._submission.gather(req)
        if caller.media_type == "multipart/form-data":
            await self._submission.answer(req, resp, await intake.form(req, gathered), several=True)
        elif caller.media_type == "application/json":
            await self._submission.answer(req, resp, [await intake.document(req, gathered)])
        elif caller.media_type == "application/x-www-form-urlencoded":
            raise Problem(
                "unsupported_media_type",
                "A urlencoded form holds no file: send multipart/form-data (curl -F), the file itself (curl -T), or a "
                "source as application/json (curl --json).",
            )
        else:
            gathered.default_type(req.content_type)
            await self._submission.answer(req, resp, [await intake.raw(req, gathered)])

    async def on_get(self, req: Request, resp: Response) -> None:
        asked = _list_query(req.scope["query_string"])
        page = await self._service.jobs(**{**asked, "owner": _whose(req, asked["owner"])})
        write_json(resp, page)
        if page.get("next_cursor"):
            pairs = [(name, value) for name, value in query_pairs(req.scope["query_string"]) if name != "cursor"]
            target = urlencode([*pairs, ("cursor", page["next_cursor"])])
            resp.set_header("Link", f'</v1/jobs?{target}>; rel="next"')

    on_head = on_get


def _list_query(query_string: bytes) -> dict[str, Any]:
    asked: dict[str, Any] = dict.fromkeys(_LIST_PARAMETERS)
    labels: dict[str, str] = {}
    for name, value in query_pairs(query_string):
        if name.startswith("label.") and len(name) > 6:
            labels[name[6:]] = value
        elif name not in asked:
            unknown_parameter(name, (*_LIST_PARAMETERS, "label."))
        elif asked[name] is not None:
            raise invalid(f"/{name}", "This parameter is given twice.")
        else:
            asked[name] = value
    asked["limit"] = _limit(asked["limit"])
    if asked["state"] is not None and asked["state"] not in JOB_STATES:
        raise invalid("/state", f"One of {', '.join(JOB_STATES)} is needed.")
    if asked["cursor"] is not None and not _CURSOR.fullmatch(asked["cursor"]):
        raise invalid("/cursor", "Use the next_cursor of an earlier answer.", code="bad_cursor")
    return {**asked, "labels": labels}


def _whose(req: Request, asked: str | None) -> str | None:
    """The owner whose jobs are listed: one's own, or for an admin anybody's."""
    sees: str | None = req.scope["bucketline"].who.sees
    if asked is not None and not re.fullmatch(r"[a-z0-9]{1,32}", asked):
        raise invalid("/owner", "The id of an API key is needed.")
    if sees is not None and asked not in (None, sees):
        raise Problem("forbidden", "Jobs of other keys are shown to keys with the scope 'admin' only.")
    return sees or asked


def _limit(text: str | None) -> int:
    if text is None:
        return LIST_DEFAULT
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= LIST_MOST:
        raise invalid("/limit", f"A number from 1 to {LIST_MOST} is needed.")
    return int(text)


class Job:
    """`/v1/jobs/{id}`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: Request, resp: Response, job_id: str) -> None:
        job, revision = await self._service.job(checked_id(job_id), req.scope["bucketline"].who)
        tag = f'"{revision}"'
        if matches(req.get_header("If-None-Match"), tag):
            resp.status = 304
            resp.set_header("Cache-Control", "no-cache")  # as the 200 would have it (RFC 9110, section 15.4.5)
        else:
            write_json(resp, job)
        resp.set_header("ETag", tag)
        if job["state"] not in JOB_OVER:
            resp.set_header("Retry-After", "1")

    on_head = on_get

    async def on_delete(self, req: Request, resp: Response, job_id: str) -> None:
        await self._service.forget(checked_id(job_id), req.scope["bucketline"].who)
        req.scope["bucketline"].note(self._service, "forget", job=job_id)
        resp.status = 204


def matches(header: str | None, tag: str) -> bool:
    """Whether an `If-None-Match` names this tag."""
    tags = [item.strip().removeprefix("W/") for item in (header or "").split(",")]
    return tag in tags or "*" in tags


class Parts:
    """`/v1/jobs/{id}/parts`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: Request, resp: Response, job_id: str) -> None:
        destination: str | None = None
        for name, value in query_pairs(req.scope["query_string"]):
            if name != "destination":
                unknown_parameter(name, ("destination",))
            destination = value
        write_json(resp, await self._service.parts(checked_id(job_id), destination, req.scope["bucketline"].who))

    on_head = on_get


class Command:
    """`/v1/jobs/{id}/cancel` and its like: 202 when it will take effect, 200 when it is so already."""

    def __init__(self, service: Service, verb: str) -> None:
        self._service = service
        self._verb = verb

    async def on_post(self, req: Request, resp: Response, job_id: str) -> None:
        job, effective = await self._service.command(checked_id(job_id), self._verb, req.scope["bucketline"].who)
        if effective:
            req.scope["bucketline"].note(self._service, self._verb, job=job_id)
        write_json(resp, job, 202 if effective else 200)


class Webhooks:
    """`/v1/jobs/{id}/webhooks`: who was told of the job's end, and telling it again."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: Request, resp: Response, job_id: str) -> None:
        write_json(resp, await self._service.webhooks(checked_id(job_id), req.scope["bucketline"].who))

    on_head = on_get

    async def on_post_replay(self, req: Request, resp: Response, job_id: str, delivery: str) -> None:
        found = await self._service.replay(checked_id(job_id), delivery, req.scope["bucketline"].who)
        req.scope["bucketline"].note(self._service, "replay", job=job_id)
        write_json(resp, found, 202)


class Objects:
    """`PUT /v1/objects/{destination}/{key}`: the key is the rest of the raw path, percent-decoded and nothing else."""

    def __init__(self, submission: Submission) -> None:
        self._submission = submission

    async def __call__(self, req: Request, resp: Response, **_: Any) -> None:
        if req.method == "OPTIONS":
            resp.status = 204
            resp.set_header("Allow", "OPTIONS, PUT")
            return
        if req.method != "PUT":
            raise falcon.HTTPMethodNotAllowed(["OPTIONS", "PUT"])
        destination, key = _address(req.scope["raw_path"])
        gathered = self._submission.gather(req)
        gathered.fix("destinations", [destination])
        gathered.fix("key", key)
        gathered.default("name", _name_of(key))
        gathered.default_type(req.content_type)
        try:
            job = await self._submission.intake.raw(req, gathered)
        except EngineError as error:
            # The destination is part of the address here, so an unknown one is an address that leads nowhere.
            raise from_engine(error, status=404 if error.code == "unknown_destination" else None) from error
        await self._submission.answer(req, resp, [job])


def _name_of(key: str) -> str | None:
    """The last segment of a key, where it can serve as a file's name: a key need not end in one."""
    name = key.rpartition("/")[2]
    usable = name not in ("", ".", "..") and name.isprintable() and "\\" not in name and len(name.encode()) <= 255
    return name if usable else None


def _address(raw_path: bytes) -> tuple[str, str]:
    """Destination and key of a raw path; normalising nothing, so that every key can be addressed."""
    pieces = raw_path.split(b"/", 4)
    if len(pieces) < 5 or [unquote_to_bytes(piece) for piece in pieces[1:3]] != [b"v1", b"objects"]:
        raise Problem("no_resource", "The address is /v1/objects/{destination}/{key}.")
    try:
        destination, key = unquote_to_bytes(pieces[3]).decode(), unquote_to_bytes(pieces[4]).decode()
    except UnicodeDecodeError:
        raise invalid("/key", "Keys are UTF-8, percent-encoded in the address.") from None
    if not key:
        raise invalid("/key", "The address ends before the key.")
    return destination, key
