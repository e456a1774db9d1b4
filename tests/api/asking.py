"""Asking an ASGI application without a server: every event of the body is ours, and every `receive` is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from api.asgi_types import Application

CUT = object()
"""In a list of chunks: the client leaves here."""


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    received: int = 0
    informational: list[int] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One request while it runs."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self.answer = Answer()
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._chunks = list(chunks)
        self._gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        self.answer.received += 1
        if self._chunks:
            chunk = self._chunks.pop(0)
            if chunk is CUT:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.informational":
            self.answer.informational.append(message["status"])
        elif message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            self.answer.body += message.get("body", b"")
            self.frames.put_nowait(message.get("body", b""))
            if not message.get("more_body"):
                self.frames.put_nowait(None)


class Asker:
    """`await ask("PUT", "/v1/objects/media/k", body=b"…")`."""

    def __init__(self, application: Application, headers: Mapping[str, str] | None = None) -> None:
        self._application = application
        self._headers = {"host": "localhost:8000", **(headers or {})}

    async def __call__(
        self, method: str, target: str, *, body: bytes | Sequence[Any] | None = None, **more: Any
    ) -> Answer:
        chunks = [body] if isinstance(body, bytes) else list(body or [b""])
        exchange = Exchange(chunks)
        await self._application(self._scope(method, target, body, **more), exchange.receive, exchange.send)
        return exchange.answer

    @asynccontextmanager
    async def open(self, target: str, **more: Any) -> AsyncIterator[Exchange]:
        """A GET whose answer is read while it comes."""
        exchange = Exchange([b""])
        task: asyncio.Future[None] = asyncio.ensure_future(
            self._application(self._scope("GET", target, None, **more), exchange.receive, exchange.send)
        )
        try:
            yield exchange
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _scope(
        self,
        method: str,
        target: str,
        body: bytes | Sequence[Any] | None,
        *,
        headers: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] = (),
        chunked: bool = False,
    ) -> dict[str, Any]:
        path, _, query = target.partition("?")
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        given = {name.lower() for name, _ in pairs}
        pairs += [(name, value) for name, value in self._headers.items() if name not in given]
        if chunked:
            pairs.append(("transfer-encoding", "chunked"))
        elif body is not None and "content-length" not in given:
            whole = body if isinstance(body, bytes) else b"".join(piece for piece in body if isinstance(piece, bytes))
            pairs.append(("content-length", str(len(whole))))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": _decoded(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(n.lower().encode(), v if isinstance(v, bytes) else v.encode()) for n, v in pairs],
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 1),
        }


def _decoded(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path, errors="replace")


def form(
    *parts: tuple[str, str | bytes] | tuple[str, str | bytes, str], boundary: str = "b0undary"
) -> tuple[str, bytes]:
    """Content type and body of a form; a third member is a file name."""
    body = b""
    for part in parts:
        value = part[1].encode() if isinstance(part[1], str) else part[1]
        name = f'; filename="{part[2]}"' if len(part) > 2 else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{part[0]}"{name}\r\n\r\n'.encode()
        body += value + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()
