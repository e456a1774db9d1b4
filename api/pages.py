"""The routes of pages for people: files of this package, that load nothing from anywhere else."""

from __future__ import annotations

import hashlib
from functools import cache

import falcon.asgi

from api.assets import HOME, PAGE, STATIC, media_type
from api.health import Index
from api.jobs import matches
from api.problems import Problem

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page:
    """One file."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        data, tag = _read(self._name)
        for name, value in _HEADERS.items():
            resp.set_header(name, value)
        resp.set_header("ETag", tag)
        if matches(req.get_header("If-None-Match"), tag):
            resp.status = 304
            return
        resp.content_type = media_type(self._name)
        resp.data = data

    on_head = on_get


class PageFile:
    """`/page/{file}`: what the page at `/` is made of."""

    def __init__(self) -> None:
        self._files = {name: Page(path) for name, path in PAGE.items()}

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, file: str) -> None:
        if file not in self._files:
            raise Problem("no_resource", "The page has no file of this name.")
        await self._files[file].on_get(req, resp)

    on_head = on_get


class Home:
    """`/`: the page for whoever comes with a browser, and the addresses as JSON for everybody else."""

    def __init__(self) -> None:
        self._page, self._index = Page(HOME), Index()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.set_header("Vary", "Accept")
        # Only who names HTML wants it: curl and most clients send `*/*`.
        shown = "text/html" in (req.get_header("Accept") or "")
        await (self._page if shown else self._index).on_get(req, resp)

    on_head = on_get


@cache
def _read(name: str) -> tuple[bytes, str]:
    data = (STATIC / name).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
