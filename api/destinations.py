"""The routes of destinations: what is configured, and whether it works."""

from __future__ import annotations

from collections.abc import Awaitable

import falcon.asgi

from api.jobs import write_json
from api.problems import Problem, from_engine
from api.service import Json, Service
from engine.errors import EngineError


class Destinations:
    """`/v1/destinations`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        found = await self._service.destinations.all()
        write_json(resp, {"items": [one for one in found if self._shown(req, one)]})

    def _shown(self, req: falcon.asgi.Request, one: Json) -> bool:
        return may_write(req, one["name"], self._service)

    on_head = on_get


class Destination:
    """`/v1/destinations/{name}` and its check."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        if not may_write(req, name, self._service):
            raise Problem("unknown_destination", f"There is no destination or route {name!r}.", status=404)
        write_json(resp, await _named(self._service.destinations.one(name)))

    on_head = on_get

    async def on_post_check(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        answer = await _named(self._service.destinations.check(name))
        req.scope["bucketline"].note(self._service, "check", destination=name)
        write_json(resp, answer)


def may_write(req: falcon.asgi.Request, name: str, service: Service) -> bool:
    """Whether the caller may write to this destination, or to every member of this route: others are not shown."""
    members = service.destinations.reach([name])
    return all(
        not grant.destinations or (bool(members) and members <= service.destinations.reach(grant.destinations))
        for grant in req.scope["bucketline"].who.grants
    )


async def _named(answer: Awaitable[Json]) -> Json:
    """A destination that is named in the address and unknown is 404, not 422."""
    try:
        return await answer
    except EngineError as error:
        raise from_engine(error, status=404 if error.code == "unknown_destination" else None) from error
