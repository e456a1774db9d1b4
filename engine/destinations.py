"""The destinations and routes in force, as they are shown, and their checks by workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import uuid_utils

from backends.registry import Destination
from engine import notices
from engine.errors import EngineError, Invalid, LedgerUnavailable, NotFound
from engine.views import moment

if TYPE_CHECKING:
    from engine.service import AsyncService

Json = dict[str, Any]

CHECK_SECONDS = 30.0


class Destinations:
    """One per API process."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service

    def reach(self, names: Sequence[str]) -> frozenset[str]:
        """The destinations that these names lead to, the members of routes included; unknown names lead nowhere."""
        configuration = self._service.configuration
        known = [name for name in names if name in configuration.destinations or name in configuration.routes]
        return frozenset(configuration.expand(known))

    def shown(self) -> list[Json]:
        """Destinations and routes as configured, without secrets."""
        configuration = self._service.configuration
        known = [self._view(one) for one in configuration.destinations.values()]
        routes = [
            {
                "name": name,
                "kind": "route",
                "backend": None,
                "mirror": members,
                "capabilities": None,
                "health": None,
                "default": name == configuration.default,
            }
            for name, members in configuration.routes.items()
        ]
        return known + routes

    async def all(self) -> list[Json]:
        """Those shown, each with the result of its last check; without it while Redis is away."""
        try:
            _, health = await self._service.ledger.run(notices.noted_checks())
        except LedgerUnavailable:
            health = {}
        return [{**view, "health": _health(health.get(view["name"]))} for view in self.shown()]

    def _view(self, destination: Destination) -> Json:
        return {
            "name": destination.name,
            "kind": "destination",
            "backend": destination.backend,
            "url": destination.url_for(""),
            "capabilities": msgspec.to_builtins(destination.capabilities),
            "health": None,
            "default": destination.name == self._service.configuration.default,
        }

    async def one(self, name: str) -> Json:
        """One destination or route, with the result of its last check."""
        for view in self.shown():
            if view["name"] == name:
                _, health = await self._service.ledger.run(notices.noted_checks())
                return {**view, "health": _health(health.get(name))}
        raise NotFound(f"There is no destination or route {name!r}.", code="unknown_destination")

    async def check(self, name: str) -> Json:
        """A real write, read and delete at a destination, by a worker; EngineError `check_timeout` when none answers
        in time.
        """
        view = await self.one(name)
        if view["kind"] == "route":
            raise Invalid("A route is checked by checking its destinations.")
        request = str(uuid_utils.uuid7())
        self._service.minter.ask_check(name, request)
        deadline = asyncio.get_running_loop().time() + CHECK_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            result, _ = await self._service.ledger.run(notices.noted_checks(request))
            if result is not None:
                return {**view, "health": _health(result), "ok": result["ok"]}
            await asyncio.sleep(0.1)
        raise EngineError(
            f"No worker of node {self._service.settings.node!r} answered within {CHECK_SECONDS:.0f} s.",
            code="check_timeout",
            retryable=True,
        )


def _health(result: Json | None) -> Json | None:
    """The result of a check, as it is shown."""
    if result is None:
        return None
    return {name: value for name, value in result.items() if name != "at_ms"} | {"at": moment(result["at_ms"])}
