"""The routes about the service itself: alive, ready, statistics, and where to begin."""

from __future__ import annotations

import falcon.asgi

from api.jobs import write_json
from api.life import Life
from api.problems import TABLE, Problem, title_of
from api.service import Service

Request = falcon.asgi.Request
Response = falcon.asgi.Response


class Alive:
    """`/livez`: this process answers; nothing else is asked."""

    async def on_get(self, req: Request, resp: Response) -> None:
        write_json(resp, {"alive": True})

    on_head = on_get


class Ready:
    """`/readyz`: whether new work can be taken, and if not, why."""

    def __init__(self, service: Service, life: Life) -> None:
        self._service = service
        self._life = life

    async def on_get(self, req: Request, resp: Response) -> None:
        report = dict(await self._service.health.ready())
        if self._life.stopping:
            stopping = {"ok": False, "detail": "This process is stopping."}
            report |= {"ready": False, "checks": {**report.get("checks", {}), "process": stopping}}
        write_json(resp, report, 200 if report["ready"] else 503)
        if not report["ready"]:
            resp.set_header("Retry-After", "2")

    on_head = on_get


class Stats:
    """`/v1/stats`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: Request, resp: Response) -> None:
        write_json(resp, await self._service.health.stats())

    on_head = on_get


class Index:
    """`/`: a pointer for whoever opens the address in a browser."""

    async def on_get(self, req: Request, resp: Response) -> None:
        write_json(
            resp,
            {
                "service": "bucketline",
                "submit": "curl -T FILE 'http://HOST/v1/objects/DESTINATION/KEY'",
                "links": {
                    "jobs": "/v1/jobs",
                    "tus": "/v1/tus",
                    "events": "/v1/events",
                    "destinations": "/v1/destinations",
                    "stats": "/v1/stats",
                    "ready": "/readyz",
                    "docs": "/docs",
                    "openapi": "/openapi.json",
                },
            },
        )

    on_head = on_get


class ProblemPage:
    """`/problems/{code}`: what the `type` of a problem leads to."""

    async def on_get(self, req: Request, resp: Response, code: str) -> None:
        if code not in TABLE:
            raise Problem("no_resource", "There is no problem with this name.")
        kind = TABLE[code]
        write_json(resp, {"code": code, "title": title_of(code), "status": kind.status, "retryable": kind.retryable})

    on_head = on_get
