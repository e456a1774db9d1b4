"""The routes of pages for people: files of this package, that load nothing from anywhere else."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import falcon.asgi

from api.jobs import matches

DOCS = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
"""Each address with its file."""

_STATIC = Path(__file__).parent / "static"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page:
    """One file."""

    def __init__(self, name: str, content_type: str) -> None:
        self._name = name
        self._content_type = content_type

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        data, tag = _read(self._name)
        for name, value in _HEADERS.items():
            resp.set_header(name, value)
        resp.set_header("ETag", tag)
        if matches(req.get_header("If-None-Match"), tag):
            resp.status = 304
            return
        resp.content_type = self._content_type
        resp.data = data

    on_head = on_get


@cache
def _read(name: str) -> tuple[bytes, str]:
    data = (_STATIC / name).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
