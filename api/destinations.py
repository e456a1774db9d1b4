"""The routes of destinations: what is configured, and whether it works."""

from __future__ import annotations

from collections.abc import Awaitable

import falcon.asgi

from api.jobs import write_json
from api.problems import from_engine
from api.service import Json, Service
from engine.errors import EngineError


class Destinations:
    """`/v1/destinations`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        write_json(resp, {"items": self._service.destinations()})

    on_head = on_get


class Destination:
    """`/v1/destinations/{name}` and its check."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        write_json(resp, await _named(self._service.destination(name)))

    async def on_post_check(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        write_json(resp, await _named(self._service.check(name)))


async def _named(answer: Awaitable[Json]) -> Json:
    """A destination that is named in the address and unknown is 404, not 422."""
    try:
        return await answer
    except EngineError as error:
        raise from_engine(error, status=404 if error.code == "unknown_destination" else None) from error
