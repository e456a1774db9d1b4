"""A TCP proxy on loopback that tests can cut, or let hang, in the middle of anything."""

from __future__ import annotations

import contextlib
import socket
import threading
from math import inf
from types import TracebackType


class Proxy:
    """Passes everything on to a port. Sockets are shut down, not closed, by whoever is not their thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._refused = 0.0
        self._left: float = inf
        self._later: list[float] = []
        self._instead: list[tuple[bytes, bytes]] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Proxy:
        self._run(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def cut(self) -> None:
        """Break every connection; new ones are taken."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut_after(self, *counts: int) -> None:
        """Break every connection when so many more bytes have come from clients, and again after so many more."""
        self._left, *self._later = counts

    def answer(self, begin: bytes, *answers: bytes) -> None:
        """Answer the next requests that begin so, in the server's place. Their heads have to come in one piece."""
        self._instead += [(begin, each) for each in answers]

    @property
    def owes_answers(self) -> bool:
        return bool(self._instead)

    @property
    def has_cut(self) -> bool:
        """Whether all of those breaks have happened."""
        return self._left == inf

    def lead_to(self, port: int) -> None:
        """Where new connections go from now on."""
        self._port = port

    def refuse(self, times: float = inf) -> None:
        """Break every connection; so many new ones are closed at once."""
        self._refused = times
        self.cut()

    def hang(self) -> None:
        """From now on nothing passes, in neither direction, but connections stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def _answer_to(self, data: bytes) -> bytes:
        for each in self._instead:
            if data.startswith(each[0]):
                self._instead.remove(each)
                return each[1]
        return b""

    def _run(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refused > 0:
                self._refused -= 1
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()  # the server is down at the moment
                continue
            self._open += [client, server]
            self._run(self._pass_on, client, server, True)
            self._run(self._pass_on, server, client, False)

    def _pass_on(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                self._flowing.wait()
                if from_client and (answer := self._answer_to(data)):
                    source.sendall(answer)
                    break
                if from_client and len(data) >= self._left:
                    sink.sendall(data[: int(self._left)])
                    self._left = self._later.pop(0) if self._later else inf
                    self.cut()
                    break
                self._left -= len(data) if from_client else 0
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if from_client:
            return
        for each in (source, sink):
            each.close()
