"""The fake engine behind a real gunicorn: run as a process, asked over sockets, looked into through `/_fake`.

python -m tests.api.served PORT '{"max_size": 1000000}'

The option `parser` says which of gunicorn's two parsers reads the requests.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.asgi import Composed
from api.limits import Pace
from api.server import serve
from tests.api.fakes import FakeService
from tests.servers import eventually, free_port

ROOT = Path(__file__).parents[2]


class Inspected:
    """The composed application with a window into its fake: POST sets attributes, both show its state."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.service = FakeService()
        pace = Pace(**options.pop("pace", {}))
        if options.pop("broken", False):
            self.service.crash = _break
        self._inner = Composed(self.service, pace=pace, **options)
        self.stop = self._inner.stop

    @property
    def failed(self) -> str:
        return self._inner.failed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/_fake":
            await self._inner(scope, receive, send)
            return
        for name, value in json.loads((await receive())["body"] or b"{}").items():
            setattr(self.service, name, value)
        service = self.service
        state = {
            "receptions": [[len(reception._data), reception.ended] for reception in service.receptions],
            "jobs": {job.spec.id: [job.state, len(job.content)] for job in service.jobs_by_id.values()},
            "told": service.told,
        }
        document = json.dumps(state).encode()
        headers = [(b"content-length", str(len(document)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": document})


def _break() -> None:
    raise RuntimeError("the configuration is broken")


@dataclass
class Served:
    """A running server process."""

    options: dict[str, Any] = field(default_factory=dict)
    directory: Path = ROOT
    port: int = field(default_factory=free_port)

    def start(self, *, ready: bool = True) -> Served:
        command = [sys.executable, "-P", "-m", "tests.api.served", str(self.port), json.dumps(self.options)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(self.directory)}
        environment.pop("XDG_RUNTIME_DIR", None)
        self.process = subprocess.Popen(command, cwd=self.directory, env=environment, stderr=subprocess.PIPE)
        if ready:
            eventually(self.answers, "the server answers")
        return self

    def answers(self) -> bool:
        try:
            return self.ask(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
                b"HTTP/1.1 200"
            )
        except OSError:
            return False

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(20)
        return connection

    def ask(self, request: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def look(self, **attributes: Any) -> Any:
        """The state of the fake, after setting these attributes."""
        body = json.dumps(attributes).encode()
        head = b"POST /_fake HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        return json.loads(self.ask(head + body).partition(b"\r\n\r\n")[2])

    def stop(self, sign: int = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()


def read_all(connection: socket.socket) -> bytes:
    """Until the other side closes, politely or not."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionError:
        found += b"<reset>"
    return found


def read_until(connection: socket.socket, text: bytes) -> bytes:
    """What comes, up to and with a text."""
    found = b""
    while text not in found:
        piece = connection.recv(65536)
        assert piece, f"closed before {text!r} came"
        found += piece
    return found


if __name__ == "__main__":
    options = json.loads(sys.argv[2])
    if options.pop("parser", "c") == "python":
        sys.modules["gunicorn_h1c"] = None  # type: ignore[assignment]  # to import it fails, as where it is not
    sys.exit(serve(lambda: Inspected(options), "127.0.0.1", int(sys.argv[1])))
