"""A web server in a thread of the test, whose pages behave as badly as they are told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BLOCK = 1 << 16


@dataclass
class Page:
    """One file. Everything beside `data` is how it misbehaves, or what it asks for."""

    data: bytes = b""
    etag: str = '"one"'
    modified: str = ""
    ranges: bool = True
    honours_if_range: bool = True
    status: int = 0
    """Another answer than the file."""
    headers: dict[str, str] = field(default_factory=dict)
    wants: dict[str, str] = field(default_factory=dict)
    """Headers without which it answers 401."""
    announced: int | None = None
    """What Content-Length says, whatever is sent."""
    cut_at: int | None = None
    """The connection ends after so many bytes of the body."""
    endless: bool = False
    unbounded: bool = False
    """Neither a length nor chunks: the connection ends where the file does."""
    chunked: bool = False
    before: Callable[[dict[str, str]], None] = lambda headers: None
    """Called with the request's headers before it is answered."""


@dataclass
class Seen:
    path: str
    headers: dict[str, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave in the middle are what this is for."""


class WebServer:
    """`pages` by path; `seen` is every request."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.seen: list[Seen] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.web = self  # type: ignore[attr-defined]
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ranges(self, path: str) -> list[str]:
        """The ranges that were asked for, in order."""
        return [one.headers.get("range", "") for one in self.seen if one.path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        web: WebServer = self.server.web  # type: ignore[attr-defined]
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        web.seen.append(Seen(path, headers))
        page = web.pages.get(path)
        try:
            if page is None:
                self._answer(404, {}, b"nothing here")
                return
            page.before(headers)
            self._serve(page, headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _serve(self, page: Page, headers: dict[str, str]) -> None:
        if any(headers.get(name.lower()) != value for name, value in page.wants.items()):
            self._answer(401, {}, b"who are you?")
        elif page.status:
            self._answer(page.status, page.headers, b"")
        elif page.endless:
            self._head(200, {**page.headers, "Transfer-Encoding": "chunked"})
            while True:
                self._chunk(bytes(BLOCK))
        else:
            self._file(page, headers)

    def _file(self, page: Page, headers: dict[str, str]) -> None:
        own = {"ETag": page.etag, "Last-Modified": page.modified}
        told = {name: value for name, value in own.items() if value} | page.headers
        first, _, last = headers.get("range", "").removeprefix("bytes=").partition("-")
        same = headers.get("if-range", page.etag or page.modified) in (page.etag, page.modified)
        if not first or not page.ranges or (page.honours_if_range and not same):
            self._answer(200, told, page.data, page)
        elif int(first) >= len(page.data):
            self._answer(416, {**told, "Content-Range": f"bytes */{len(page.data)}"}, b"")
        else:
            end = min(int(last or len(page.data)), len(page.data) - 1)
            told["Content-Range"] = f"bytes {first}-{end}/{len(page.data)}"
            self._answer(206, told, page.data[int(first) : end + 1], page)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, page: Page | None = None) -> None:
        page = page or Page()
        if page.chunked:
            self._head(status, {**headers, "Transfer-Encoding": "chunked"})
            for begin in range(0, len(body[: page.cut_at]), BLOCK):
                self._chunk(body[begin : min(begin + BLOCK, page.cut_at or len(body))])
            if page.cut_at is None:
                self._chunk(b"")
        elif page.unbounded:
            self._head(status, headers)
            self.wfile.write(body)
            self.close_connection = True
        else:
            length = page.announced if page.announced is not None else len(body)
            self._head(status, {**headers, "Content-Length": str(length)})
            self.wfile.write(body[: page.cut_at])
        if page.cut_at is not None or page.announced is not None:
            self.close_connection = True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests look at `seen`."""
