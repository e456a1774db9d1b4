"""Memory behind a real door: an address to connect to and a password to say, and nothing else of a network store."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import msgspec

from backends import errors
from backends.base import Body, ObjectInfo, Receipt, Session
from backends.memory import MemoryBackend, MemoryPlugin
from backends.memory_faults import MemoryOptions


class DistantOptions(MemoryOptions, frozen=True, kw_only=True):
    endpoint: str
    """host:port"""
    password: str
    answer_timeout_seconds: float = 20.0


@contextmanager
def door(password: str) -> Iterator[str]:
    """Yields the address where whoever says the password is let in."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        thread = threading.Thread(target=_keep, args=[listener, password], daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _keep(listener: socket.socket, password: str) -> None:
    while True:
        try:
            visitor, _ = listener.accept()
        except OSError:
            return
        with visitor, suppress(OSError):
            said = visitor.makefile("rb").readline().decode().rstrip("\n")
            visitor.sendall(b"in" if said == password else b"no")


class DistantBackend(MemoryBackend):
    """Knocks before every verb that moves or looks at something."""

    def __init__(self, options: DistantOptions) -> None:
        super().__init__(options)
        self._door = options

    def knock(self) -> None:
        try:
            answer = self.ask()
        except TimeoutError:
            raise errors.TimedOut("Nobody answers at the door.") from None
        except OSError as error:
            raise errors.ConnectionFailed(f"The way to the door is broken: {error.strerror}.") from None
        if answer != b"in":
            raise errors.AccessDenied("The password is not the right one." if answer else "The door was shut.")

    def ask(self, seconds: float | None = 0) -> bytes:
        """What is said at the door: `in` or `no`."""
        host, _, port = self._door.endpoint.partition(":")
        patience = seconds if seconds != 0 else self._door.answer_timeout_seconds
        with socket.create_connection((host, int(port)), timeout=patience) as connection:
            connection.sendall(f"{self._door.password}\n".encode())
            return connection.recv(2)

    def begin(self, key: str, **options: Any) -> Session:
        self.knock()
        return super().begin(key, **options)

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        self.knock()
        return super().put_part(session, number, body)

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        self.knock()
        return super().complete(session, receipts)

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        self.knock()
        return super().put_whole(key, body, **options)

    def stat(self, key: str) -> ObjectInfo | None:
        self.knock()
        return super().stat(key)


class DistantPlugin(MemoryPlugin):
    Options: ClassVar[type[msgspec.Struct]] = DistantOptions
    secrets: ClassVar[frozenset[str]] = frozenset({"password"})
    endpoint: ClassVar[str] = "endpoint"

    def build(self, options: MemoryOptions) -> MemoryBackend:
        assert isinstance(options, DistantOptions)
        return DistantBackend(options)
