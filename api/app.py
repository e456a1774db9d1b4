"""The Falcon application: routes, and one way for every error to become a problem."""

from __future__ import annotations

import logging
from typing import Any, cast

import falcon
import falcon.asgi

from api.additions import Additions
from api.assets import DOCS, PAGE_FILE
from api.audit import AuditLog
from api.destinations import Destination, Destinations
from api.events import Feed
from api.health import Alive, ProblemPage, Ready, Stats
from api.ingest import Intake
from api.jobs import Command, Job, Jobs, Objects, Parts, Submission, Webhooks
from api.life import Life
from api.limits import PING_SECONDS, Pace
from api.metrics import Metrics
from api.openapi import OpenApi
from api.pages import Home, Page, PageFile
from api.problems import CONTENT_TYPE, Problem, from_engine, from_framework
from api.service import Service
from api.tokens import Tokens
from api.tus import Tus
from api.tus_headers import PATH as TUS
from engine.errors import EngineError

log = logging.getLogger("bucketline.api")

VERBS = ("cancel", "pause", "resume", "retry")


class App(falcon.asgi.App[Any, Any]):
    """Falcon's, which also tells what it was given to route."""

    def __init__(self) -> None:
        super().__init__()
        self.templates = ["/v1/objects/{destination}/{key}"]  # a sink: keys have slashes

    def add_route(self, uri_template: str, resource: object, **words: Any) -> None:
        self.templates.append(uri_template)
        super().add_route(uri_template, resource, **words)


def create_app(
    service: Service,
    *,
    life: Life | None = None,
    max_size: int | None = None,
    pace: Pace | None = None,
    ping_seconds: float = PING_SECONDS,
) -> App:
    """The application over a service. It expects `api.guard.Guard` in front, which fills `scope["bucketline"]`."""
    life = life or Life()
    app = App()
    intake = Intake(service, life, max_size=max_size, pace=pace)
    submission = Submission(service, intake, life)
    feed = Feed(service, life, ping_seconds=ping_seconds)
    destination = Destination(service)
    app.add_route("/", Home())
    app.add_route("/livez", Alive())
    app.add_route("/readyz", Ready(service, life))
    app.add_route("/openapi.json", OpenApi())
    for address, (name, _) in DOCS.items():
        app.add_route(address, Page(name))
    app.add_route(PAGE_FILE, PageFile())
    app.add_route("/problems/{code}", ProblemPage())
    app.add_route("/metrics", Metrics(service))
    app.add_route("/v1/stats", Stats(service))
    app.add_route("/v1/jobs", Jobs(service, submission))
    app.add_route("/v1/jobs/{job_id}", Job(service))
    app.add_route("/v1/jobs/{job_id}/parts", Parts(service))
    app.add_route("/v1/jobs/{job_id}/destinations", Additions(service, submission, pace))
    webhooks = Webhooks(service)
    app.add_route("/v1/jobs/{job_id}/webhooks", webhooks)
    app.add_route("/v1/jobs/{job_id}/webhooks/{delivery}/replay", webhooks, suffix="replay")
    for verb in VERBS:
        app.add_route(f"/v1/jobs/{{job_id}}/{verb}", Command(service, verb))
    app.add_route("/v1/jobs/{job_id}/events", feed, suffix="one")
    app.add_route("/v1/events", feed, suffix="all")
    app.add_route("/v1/destinations", Destinations(service))
    app.add_route("/v1/destinations/{name}", destination)
    app.add_route("/v1/destinations/{name}/check", destination, suffix="check")
    tokens = Tokens(service, pace)
    app.add_route("/v1/tokens", tokens)
    app.add_route("/v1/tokens/{token_id}", tokens, suffix="one")
    app.add_route("/v1/audit", AuditLog(service))
    tus = Tus(service, intake, life, max_size=max_size, pace=pace)
    app.add_route(TUS, tus, suffix="all")
    app.add_route(TUS + "/{upload_id}", tus, suffix="one")
    app.add_sink(cast(Any, Objects(submission).__call__), prefix="/v1/objects/")
    _answer_errors(app)
    return app


def _answer_errors(app: falcon.asgi.App[Any, Any]) -> None:
    """Replace every default error answer of Falcon."""

    async def problem(req: Any, resp: Any, error: Any, params: Any) -> None:
        write_problem(req, resp, error)

    async def engine(req: Any, resp: Any, error: Any, params: Any) -> None:
        write_problem(req, resp, from_engine(error))

    async def framework(req: Any, resp: Any, error: Any, params: Any) -> None:
        write_problem(req, resp, from_framework(error))

    async def unforeseen(req: Any, resp: Any, error: Any, params: Any) -> None:
        request_id = req.scope["bucketline"].request_id
        log.error("request %s failed: %s %s", request_id, req.method, req.path, exc_info=error)
        write_problem(req, resp, Problem("unexpected", "The log has more under this request_id."))

    def serialize(req: Any, resp: Any, error: falcon.HTTPError) -> None:
        write_problem(req, resp, from_framework(error))

    app.set_error_serializer(serialize)
    app.add_error_handler(Exception, unforeseen)
    app.add_error_handler(falcon.HTTPError, framework)
    app.add_error_handler(EngineError, engine)
    app.add_error_handler(Problem, problem)


def write_problem(req: falcon.asgi.Request, resp: falcon.asgi.Response, problem: Problem) -> None:
    """Put the problem into the response, in place of whatever was there."""
    resp.status = problem.status
    resp.stream = None
    resp.text = None
    resp.content_type = CONTENT_TYPE
    resp.data = problem.body(request_id=req.scope["bucketline"].request_id, instance=req.path[:2000])
    for name, value in problem.all_headers().items():
        resp.set_header(name, value)
    resp.set_header("Cache-Control", "no-store")
    if req.scope["bucketline"].declared != 0:
        resp.set_header("Connection", "close")  # some of the body may be unread
