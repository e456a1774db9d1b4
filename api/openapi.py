"""The route of the reference: made when somebody first asks, once per process, and kept as bytes."""

from __future__ import annotations

import hashlib
from functools import cache

import falcon.asgi
import msgspec

from api.jobs import matches


class OpenApi:
    """`/openapi.json`."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        data, tag = served()
        resp.set_header("ETag", tag)
        resp.set_header("Cache-Control", "no-cache")
        if matches(req.get_header("If-None-Match"), tag):
            resp.status = 304
            return
        resp.content_type = "application/json"
        resp.data = data

    on_head = on_get


@cache
def served() -> tuple[bytes, str]:
    """The document as bytes, and its ETag."""
    from api.description import document  # a service that nobody asks for its reference does without the tables

    data = msgspec.json.encode(document())
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
