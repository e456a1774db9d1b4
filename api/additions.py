"""The route that adds destinations to a job."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from api.bodies import Body, expected_digests
from api.caller import Caller
from api.jobs import Submission, checked_id, write_json
from api.limits import JSON_BODY_BYTES, Pace
from api.problems import Problem, invalid
from api.service import Json, Service
from api.strict import read_json, unknown_parameter


class Additions:
    """`/v1/jobs/{id}/destinations`: 202 when something was added, 200 when the job goes there already."""

    def __init__(self, service: Service, submission: Submission, pace: Pace | None = None) -> None:
        self._service = service
        self._submission = submission
        self._pace = pace or Pace()

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, job_id: str) -> None:
        caller: Caller = req.scope["bucketline"]
        checked_id(job_id)
        names = _names(await self._read(caller, expected_digests(req.scope["headers"])))
        await self._check_allowed(caller, job_id, names)
        job, new = await self._service.add_destinations(job_id, names, caller.who)
        for name in new:
            caller.note(self._service, "add", job=job_id, destination=name)
        if new:
            await self._submission.answer(req, resp, [job])
        else:
            write_json(resp, job)

    async def _read(self, caller: Caller, digests: dict[str, bytes]) -> Any:
        if caller.declared != 0 and caller.media_type != "application/json":
            raise Problem("unsupported_media_type", "The destinations are named in an application/json body.")
        declared = caller.declared
        with Body(caller.receive, declared=declared, limit=JSON_BODY_BYTES, digests=digests, pace=self._pace) as body:
            return read_json(await body.read())

    async def _check_allowed(self, caller: Caller, job_id: str, names: list[str]) -> None:
        """Raises `forbidden` for a destination where this caller could not have sent the job's key."""
        if not caller.who.restricted:
            return
        job: Json = (await self._service.job(job_id, caller.who))[0]
        reached = sorted(self._service.destinations.reach(names))
        fault = caller.who.fault_of(reached, job["key"] or "", self._service.destinations.reach)
        if fault is not None:
            raise Problem("forbidden", fault[1], errors=[{"pointer": "/destinations", "detail": fault[1]}])


def _names(document: Any) -> list[str]:
    if not isinstance(document, dict):
        raise invalid("", "The body must be a JSON object.")
    for member in document:
        if member != "destinations":
            unknown_parameter(member, ("destinations",))
    given = document.get("destinations")
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        raise invalid("/destinations", 'Name at least one: {"destinations": ["NAME", …]}.')
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise invalid(f"/destinations/{index}", "A string is needed.")
    return names
