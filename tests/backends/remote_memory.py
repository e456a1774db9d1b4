"""A memory backend behind a door, a server that asks for a password: for checks of what happens when it stays shut."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from backends.base import ObjectInfo, Session
from backends.errors import AccessDenied, ConnectionFailed
from backends.memory import MemoryBackend, MemoryPlugin
from backends.memory_faults import MemoryOptions

PASSWORD = "Open, Sesame"


class RemoteOptions(MemoryOptions, frozen=True, kw_only=True):
    url: str = ""
    password: str = PASSWORD
    read_timeout_seconds: float = 60.0


class RemoteBackend(MemoryBackend):
    """A memory backend that has to be let in before each call."""

    def __init__(self, options: RemoteOptions) -> None:
        super().__init__(options)
        self.options = options

    def begin(self, key: str, **options: Any) -> Session:
        self.knock()
        return super().begin(key, **options)

    def stat(self, key: str) -> ObjectInfo | None:
        self.knock()
        return super().stat(key)

    def knock(self) -> None:
        try:
            answer = self.ask(self.options.read_timeout_seconds)
        except OSError as error:
            raise ConnectionFailed(f"Nobody opens: {error}.") from error
        if answer != b"yes":
            raise self.refused(answer)

    def ask(self, timeout: float | None) -> bytes:
        place = urlsplit(self.options.url)
        with socket.create_connection((place.hostname or "", place.port or 0), timeout) as connection:
            connection.sendall(self.options.password.encode() + b"\n")
            return connection.recv(10)

    def refused(self, answer: bytes) -> Exception:
        return AccessDenied("The password is wrong.") if answer else ConnectionFailed("Nobody answered.")


class RemotePlugin(MemoryPlugin):
    name: ClassVar[str] = "remote"
    Options: ClassVar[type[msgspec.Struct]] = RemoteOptions
    secrets: ClassVar[frozenset[str]] = frozenset({"password"})

    def __init__(self, kind: type[MemoryBackend] = RemoteBackend) -> None:
        self._kind = kind

    def build(self, options: MemoryOptions) -> MemoryBackend:
        return self._kind(options)


@contextmanager
def door() -> Iterator[str]:
    """The address of a server that says yes to the password, and no to any other."""

    class Door(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"yes" if self.rfile.readline().decode().strip() == PASSWORD else b"no")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Door) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
