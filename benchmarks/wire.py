"""HTTP as a measuring client speaks it: bodies by sendfile, answers read whole, nothing else in the way."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An answer with its body, when it came (epoch seconds) and how long it took from the first byte sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    at: float
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(Exception):
    """The server answered with an error."""


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, path: str, *, process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """Return when the path answers 200. Raises RuntimeError when the process ends first or the time runs out."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            get(port, path)
            return
        except (OSError, http.client.HTTPException, Refused) as error:
            if process.poll() is not None:
                raise RuntimeError(f"the server for {path} ended with {process.returncode}") from error
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer at {path} within {seconds:.0f} s: {error}") from error
            time.sleep(0.05)


def wait_for_port(port: int, *, process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """Return when somebody listens. Raises RuntimeError when the process ends first or the time runs out."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nobody listens at port {port}: {error}") from error
            time.sleep(0.05)


def request(port: int, method: str, path: str, *, timeout: float = 60.0) -> Answer:
    """A request without a body. Raises Refused for a status of 400 and above."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        started = time.monotonic()
        connection.request(method, path, headers={"connection": "close"})
        return _answer(connection, started)
    finally:
        connection.close()


def get(port: int, path: str) -> str:
    """The text at a path. Raises Refused for a status of 400 and above."""
    return request(port, "GET", path).body.decode()


def _answer(connection: http.client.HTTPConnection, started: float) -> Answer:
    response = connection.getresponse()
    at = time.time()
    seconds = time.monotonic() - started
    body = response.read()
    if response.status >= 400:
        raise Refused(f"{response.status}: {body[:600].decode(errors='replace')}")
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body, at, seconds)


PACED = 1 << 20


def send_file(
    port: int,
    method: str,
    path: str,
    file: Path,
    size: int,
    *,
    before: bytes = b"",
    after: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float = 300.0,
    rate: float | None = None,
) -> Answer:
    """Send the first `size` bytes of a file as a body, between two pieces of framing. Raises Refused.

    rate: of the client's line, in bytes per second.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        started = time.monotonic()
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("content-length", str(len(before) + size + len(after)))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders(before or None)
        with file.open("rb") as source:
            for offset in range(0, size, PACED) if rate else [0]:
                connection.sock.sendfile(source, offset, min(PACED, size - offset) if rate else size)
                if rate:
                    time.sleep(max(0.0, started + (offset + PACED) / rate - time.monotonic()))
        if after:
            connection.sock.sendall(after)
        return _answer(connection, started)
    finally:
        connection.close()


BOUNDARY = "bucketline-bench"


def form(name: str, size: int, **fields: str) -> tuple[dict[str, str], bytes, bytes]:
    """Headers, and what stands before and after the bytes of a file in a form."""
    parts = "".join(
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    )
    parts += (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
        "content-type: application/octet-stream\r\n\r\n"
    )
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return headers, parts.encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def events(port: int, path: str, *, timeout: float = 300.0) -> tuple[float, dict[str, Any]]:
    """Follow a server-sent stream to its `end` event: when it came (epoch seconds) and its data."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"accept": "text/event-stream"})
        response = connection.getresponse()
        if response.status != 200:
            raise Refused(f"{response.status}: {response.read(600).decode(errors='replace')}")
        name = ""
        while line := response.readline():
            if line.startswith(b"event:"):
                name = line[6:].decode().strip()
            elif line.startswith(b"data:") and name == "end":
                return time.time(), json.loads(line[5:])
        raise Refused("the stream ended without an end event")
    finally:
        connection.close()
