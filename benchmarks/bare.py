"""The least that an upload endpoint can do: a Falcon ASGI app that writes the body to a file and fsyncs it.

The yardstick for ingest, on the same server as Bucketline: `gunicorn "benchmarks.bare:create_application()" -k asgi`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import falcon
import falcon.asgi


class FileResource:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def on_put(self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str) -> None:
        received = 0
        with (self._folder / name).open("wb", buffering=0) as target:
            async for chunk in request.stream:
                received += target.write(chunk)
            await asyncio.to_thread(os.fsync, target.fileno())
        response.status = falcon.HTTP_201
        response.media = {"size": received}

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str) -> None:
        response.media = {"name": name}


def create_application() -> falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]:
    """For gunicorn's factory syntax: the folder comes from BARE_FOLDER."""
    application: falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response] = falcon.asgi.App()
    application.add_route("/files/{name}", FileResource(Path(os.environ["BARE_FOLDER"])))
    return application
