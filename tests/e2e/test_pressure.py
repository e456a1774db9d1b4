"""The API under clients that are many, or mean no good: it keeps answering, and its memory stays bounded."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import PATIENCE, Process, Stack
from tests.servers import eventually

LOCAL = 'default = "disk"\n[destinations.disk]\nbackend = "local"\nroot = "objects"\n'
WATCHERS = 1000
MIB = 1 << 20


class Served:
    """A stack whose API process is known."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.valkey.start()
        stack.environ["BUCKETLINE_REDIS_URL"] = stack.valkey.url
        self.api: Process = stack.api()
        stack.worker()
        self.stack.check_end(stack.talk.submit(b"warm up")["id"])
        eventually(lambda: bool(stack.talk.http.get("/readyz").json()["ready"]), "the worker is seen", PATIENCE)

    @property
    def resident(self) -> int:
        """Bytes that the API's processes have in memory."""
        total = 0
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                if os.getsid(int(entry)) == self.api.pid:
                    status = Path(f"/proc/{entry}/status").read_text()
                    total += int(status.partition("VmRSS:")[2].split()[0]) * 1024
        return total

    def connect(self) -> socket.socket:
        url = httpx.URL(self.stack.talk.url)
        return socket.create_connection((url.host, url.port or 80), timeout=PATIENCE)

    def open(self, many: contextlib.ExitStack, count: int, first: bytes) -> list[socket.socket]:
        """So many connections that have said this, and nothing more."""
        found = []
        for _ in range(count):
            found.append(many.enter_context(self.connect()))
            found[-1].sendall(first)
        return found

    def check(self) -> None:
        """It still does its work."""
        assert self.stack.talk.http.get("/livez").status_code == 200
        ready = self.stack.talk.http.get("/readyz").json()
        assert ready["ready"], ready
        self.stack.check_end(self.stack.talk.submit(b"still here")["id"])
        assert self.api.running


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Stack(LOCAL) as stack:
        yield Served(stack)


def until_said(connections: list[socket.socket], text: bytes) -> None:
    """Reads from all of them until each has said this."""
    heard = dict.fromkeys(connections, b"")
    with selectors.DefaultSelector() as selector:
        for one in connections:
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            assert ready, f"{len(selector.get_map())} of {len(connections)} never heard {text!r}"
            for key, _ in ready:
                one = key.fileobj
                assert isinstance(one, socket.socket)
                piece = one.recv(65_536)
                assert piece, "the API hung up"
                heard[one] = heard[one][-len(text) :] + piece
                if text in heard[one]:
                    selector.unregister(one)


WATCH = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_thousand_watchers_cost_little_and_hear_everything(served: Served) -> None:
    before = served.resident
    with contextlib.ExitStack() as many:
        watchers = served.open(many, WATCHERS, WATCH)
        until_said(watchers, b"retry: 3000")
        served.check()
        job = served.stack.talk.submit(b"seen by all")["id"]
        until_said(watchers, job.encode())
        assert (served.resident - before) / WATCHERS < 100_000  # 30,000 bytes each when this was written
    served.check()


def test_watchers_that_never_read_hold_nothing_up(served: Served) -> None:
    with contextlib.ExitStack() as many:
        served.open(many, 50, WATCH)
        before = served.resident
        for number in range(300):
            last = served.stack.talk.submit(b"unseen", name=f"{number:04}" + "n" * 200, labels="long=" + "x" * 200)
        served.stack.check_end(last["id"])
        assert served.resident - before < 50 * MIB
        served.check()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"PUT /v1/objects/disk/slow HTTP/1.1\r\nHost: local",
        b"PUT /v1/objects/disk/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nso far",
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\nso far",
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk", "half a document"],
)
def test_three_hundred_that_stop_midway(words: bytes, served: Served) -> None:
    before = served.resident
    with contextlib.ExitStack() as many:
        served.open(many, 300, words)
        served.check()
        assert served.resident - before < 60 * MIB
    served.check()
    eventually(lambda: not served.stack.keys("jobs:receiving"), "what they began is gone", PATIENCE)


def test_three_hundred_chunks_that_stop_midway(served: Served) -> None:
    tus = {"tus-resumable": "1.0.0"}
    http, heads = served.stack.talk.http, []
    for _ in range(300):
        place = http.post("/v1/tus", headers={**tus, "upload-length": "1000"}).headers["location"]
        heads.append(
            f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\nContent-Length: 1000\r\n\r\nso far"
        )
    before = served.resident
    with contextlib.ExitStack() as many:
        for head in heads:
            many.enter_context(connection := served.connect())
            connection.sendall(head.encode())
        served.check()
        assert served.resident - before < 60 * MIB
    for head in heads:
        place = head.split(" ")[1]
        eventually(lambda: http.head(place, headers=tus).headers["upload-offset"] == "6", "what came is kept", PATIENCE)  # noqa: B023
        assert http.delete(place, headers=tus).status_code == 204
    served.check()


def answer(served: Served, words: Iterator[bytes]) -> bytes:
    """What is said to somebody who says all this, or as much of it as is taken."""
    said = b""
    with served.connect() as connection:
        with contextlib.suppress(ConnectionError):
            for piece in words:
                connection.sendall(piece)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65_536):
                said += piece
    return said


def _head(fields: Iterator[bytes]) -> Iterator[bytes]:
    yield b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    yield from fields
    yield b"\r\n"


FLOODS = {
    "many fields": lambda: _head(b"X-%d: y\r\n" % number for number in range(100_000)),
    "a long field": lambda: _head(iter([b"X: ", *[b"y" * MIB] * 32, b"\r\n"])),
    "a long line": lambda: iter([b"GET /", *[b"y" * MIB] * 32, b" HTTP/1.1\r\n\r\n"]),
    "a long chunk size": lambda: iter(
        [b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"0" * MIB] * 32]
    ),
    "many trailers": lambda: iter(
        [
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            *[b"X: y\r\n" * 10_000] * 100,
        ]
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_floods_of_headers(flood: str, served: Served) -> None:
    before = served.resident
    for _ in range(5):
        said = answer(served, FLOODS[flood]())
        assert b" 200 " not in said[:15]
        assert b" 202 " not in said[:15]
    assert served.resident - before < 40 * MIB
    served.check()


def _form(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    yield b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    yield b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size
    yield from parts


FIELD = b'--b\r\nContent-Disposition: form-data; name="f%05d"\r\n\r\nv\r\n'
BOMBS = {
    "many fields": [FIELD % number for number in range(50_000)],
    "many files": [b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nv\r\n'] * 20_000,
    "a large field": [b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n', *[b"v" * MIB] * 64],
    "a large header": [b"--b\r\nContent-Disposition: form-data; name=", *[b"v" * MIB] * 64],
    "many headers": [b"--b\r\n", *[b"X: y\r\n" * 1000] * 1000],
    "no boundary": [b"\r\n-" * (MIB // 3)] * 64,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_of_forms(bomb: str, served: Served) -> None:
    pieces = [*BOMBS[bomb], b"--b--\r\n"]
    before = served.resident
    said = answer(served, _form(iter(pieces), sum(map(len, pieces))))
    assert said[9:12] in (b"400", b"413", b"422", b"431"), said[:200]
    assert b"application/problem+json" in said
    assert served.resident - before < 40 * MIB
    served.check()
    assert not served.stack.keys("jobs:receiving")
    assert served.stack.spooled() == []
