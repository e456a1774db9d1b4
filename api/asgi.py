"""The composition of one API process from its settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from api.access_log import AccessLog
from api.app import create_app
from api.asgi_types import Application, Receive, Scope, Send
from api.cors import Cors
from api.guard import Guard
from api.life import Life
from api.limits import PING_SECONDS, Pace
from api.routes import Routes
from api.service import Service
from engine.config import Settings

log = logging.getLogger("bucketline.api")


class Composed:
    """The ASGI application that a server runs: lifespan, guard, Falcon."""

    def __init__(
        self,
        service: Service,
        *,
        api_key: str | None = None,
        max_size: int | None = None,
        pace: Pace | None = None,
        ping_seconds: float = PING_SECONDS,
        cors_origins: Sequence[str] = (),
        access_log: AccessLog | None = None,
    ) -> None:
        self.failed = ""
        self._service = service
        self._life = Life()
        app = create_app(service, life=self._life, max_size=max_size, pace=pace, ping_seconds=ping_seconds)
        self._guard = Guard(
            cast(Application, app),
            room=service.room,
            service=service,
            life=self._life,
            api_key=api_key,
            max_size=max_size,
            cors=Cors(cors_origins),
            access_log=access_log,
            routes=Routes(app.templates),
        )

    def stop(self) -> None:
        """The process is going away: no new work from now on, event streams end, what is under way goes on."""
        self._life.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._guard(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._service.start()
        except Exception as error:
            log.exception("the service does not start")
            self.failed = str(error)
            await send({"type": "lifespan.startup.failed", "message": self.failed})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.stop()
        await self._life.settle()
        await self._service.stop()
        await send({"type": "lifespan.shutdown.complete"})


def compose(settings: Settings) -> Composed:
    """The application for these settings. Call it in the process (and after the fork) that will run it."""
    from engine.service import AsyncService  # the engine's clients belong to the process that serves

    service: Any = AsyncService(settings)
    return Composed(
        service,
        api_key=settings.api_key,
        max_size=settings.max_size,
        cors_origins=settings.cors_origins,
        access_log=AccessLog(settings.api_key) if settings.access_log == "json" else None,
    )
