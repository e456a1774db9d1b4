"""A file is sent to its bucket while its client is still sending it, and taken back when the client does not go on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.provider import PART, Provider
from tests.e2e.stack import Stack
from tests.servers import eventually

CONTENT = os.urandom(3 * PART + 1234)
BATCH = 1 << 20  # what a body is written to the spool in: up to so much of it cannot be read yet
TUS = {"Tus-Resumable": "1.0.0"}


class Slow:
    """A client that sends as much as the test says."""

    def __init__(self, stack: Stack, target: str) -> None:
        at = urlsplit(str(stack.talk.http.base_url))
        self._socket = socket.create_connection((at.hostname or "", at.port or 0), timeout=60)
        head = f"PUT {target} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Length: {len(CONTENT)}\r\nPrefer: wait=30\r\n"
        self._socket.sendall(f"{head}Connection: close\r\n\r\n".encode())
        self._sent = 0

    def send(self, until: int) -> None:
        self._socket.sendall(CONTENT[self._sent : until])
        self._sent = until

    def leave(self) -> None:
        self._socket.close()

    def answer(self) -> str:
        """The status line and what follows."""
        received = b""
        while data := self._socket.recv(65536):
            received += data
        return received.decode()


@contextmanager
def sending(stack: Stack, target: str = "/v1/objects/s3/film") -> Iterator[Slow]:
    client = Slow(stack, target)
    try:
        yield client
    finally:
        client.leave()


def job_of(stack: Stack) -> str:
    """The only one there is."""
    eventually(lambda: len(_jobs(stack)) == 1, "the job shows", 60)
    return str(_jobs(stack)[0]["id"])


def _jobs(stack: Stack) -> list[dict[str, str]]:
    return list(stack.talk.http.get("/v1/jobs").json()["items"])


def arrived(stack: Stack, job: str, parts: int) -> None:
    """So many parts are recorded, and the job is still being received."""

    def look() -> bool:
        found = stack.talk.job(job)
        assert found["state"] == "receiving"
        return bool(found["transfers"]) and found["transfers"][0]["parts"]["sent"] == parts

    eventually(look, f"{parts} parts are at the provider", 60)


def test_parts_go_while_the_client_is_sending(stack: Stack, provider: Provider) -> None:
    with sending(stack) as client:
        client.send(2 * PART + BATCH)
        job = job_of(stack)
        arrived(stack, job, 2)
        assert provider.sent() == {1: 1, 2: 1}
        client.send(len(CONTENT))
        assert client.answer().startswith("HTTP/1.1 200 ")
    stack.check_end(job)
    assert provider.read("film") == CONTENT
    assert set(provider.sent().values()) == {1}
    assert provider.sessions() == []


def test_a_client_that_leaves_leaves_nothing(stack: Stack, provider: Provider) -> None:
    with sending(stack) as client:
        client.send(PART + BATCH)
        job = job_of(stack)
        arrived(stack, job, 1)
        client.leave()
        eventually(lambda: stack.talk.state(job) == "", "the job never was", 60)
    assert provider.sessions() == []
    assert stack.spooled() == []


def test_a_job_that_is_cancelled_meanwhile_leaves_nothing(stack: Stack, provider: Provider) -> None:
    with sending(stack) as client:
        client.send(PART + BATCH)
        job = job_of(stack)
        arrived(stack, job, 1)
        stack.talk.tell(job, "cancel")
        with pytest.raises(OSError):
            for until in range(PART + BATCH + 1, len(CONTENT)):
                client.send(until)
            assert client.answer().startswith("HTTP/1.1 409 ")
            raise ConnectionResetError
        stack.talk.until(job, "cancelled")
    assert provider.sessions() == []


def test_a_checksum_that_does_not_fit_makes_no_object(stack: Stack, provider: Provider) -> None:
    with sending(stack, "/v1/objects/s3/film?checksum=crc32c:AAAAAA%3D%3D") as client:
        client.send(2 * PART + BATCH)
        job = job_of(stack)
        arrived(stack, job, 2)
        client.send(len(CONTENT))
        assert client.answer().startswith("HTTP/1.1 422 ")
    eventually(lambda: stack.talk.state(job) == "", "the job never was", 60)
    assert provider.sessions() == []
    assert not provider.path("film").exists()


def test_redis_forgets_everything_meanwhile(stack: Stack, provider: Provider) -> None:
    """What the ledger no longer knows is found at the provider, and closed."""
    with sending(stack) as client:
        client.send(PART + BATCH)
        job = job_of(stack)
        arrived(stack, job, 1)
        with stack.valkey.client() as redis:
            redis.flushall()
        client.send(2 * PART + BATCH)
        eventually(lambda: stack.talk.state(job) == "receiving", "the job is known again", 60)
        arrived(stack, job, 2)
        client.send(len(CONTENT))
        assert client.answer().startswith("HTTP/1.1 200 ")
    stack.check_end(job)
    assert provider.read("film") == CONTENT
    assert provider.sessions() == []


def test_a_worker_dies_meanwhile(stack: Stack, provider: Provider) -> None:
    gate = provider.stop_at("amid", "part", 2)
    with sending(stack) as client:
        client.send(2 * PART + BATCH)
        gate.wait("the second part is on its way")
        job = job_of(stack)
        arrived(stack, job, 1)
        next(one for one in stack.processes if one.name.startswith("worker")).kill()
        gate.drop()
        stack.worker()
        arrived(stack, job, 2)
        client.send(len(CONTENT))
        assert client.answer().startswith("HTTP/1.1 200 ")
    assert provider.read("film") == CONTENT
    assert provider.sent() == {1: 1, 2: 2, 3: 1, 4: 1}


def test_an_upload_in_chunks_is_sent_between_them_and_through_a_killed_api(stack: Stack, provider: Provider) -> None:
    options = {"destinations": "s3", "key": "film"}
    http = stack.talk.http
    made = http.post("/v1/tus", params=options, headers=TUS | {"Upload-Length": str(len(CONTENT))})
    path, job = made.headers["Location"], made.headers["Bucketline-Job"]

    def patch(client: httpx.Client, begin: int, end: int) -> None:
        headers = TUS | {"Upload-Offset": str(begin), "Content-Type": "application/offset+octet-stream"}
        assert client.patch(path, content=CONTENT[begin:end], headers=headers).status_code == 204

    patch(http, 0, PART + 99)
    arrived(stack, job, 1)
    next(one for one in stack.processes if one.name.startswith("api")).kill()
    stack.api()
    patch(stack.talk.http, PART + 99, 2 * PART + 1)
    arrived(stack, job, 2)
    patch(stack.talk.http, 2 * PART + 1, len(CONTENT))
    stack.check_end(job)
    assert provider.read("film") == CONTENT
    assert set(provider.sent().values()) == {1}
    assert stack.talk.job(job)["content_type"] == "application/octet-stream"


def test_an_upload_in_chunks_that_is_deleted_leaves_nothing(stack: Stack, provider: Provider) -> None:
    http = stack.talk.http
    headers = TUS | {"Upload-Length": str(len(CONTENT)), "Content-Type": "application/offset+octet-stream"}
    made = http.post("/v1/tus", params={"key": "film"}, headers=headers, content=CONTENT[: PART + 99])
    path, job = made.headers["Location"], made.headers["Bucketline-Job"]
    arrived(stack, job, 1)
    assert http.delete(path, headers=TUS).status_code == 204
    stack.talk.until(job, "cancelled")
    assert provider.sessions() == []


def test_it_can_be_turned_off(stack: Stack, provider: Provider) -> None:
    stack.api(BUCKETLINE_PIPELINING="off")
    with sending(stack) as client:
        client.send(2 * PART + BATCH)
        job = job_of(stack)
        eventually(lambda: stack.talk.job(job)["received"] > PART, "it shows how much has come", 60)
        stack.sweeps()
        assert stack.talk.job(job)["transfers"] == []
        client.send(len(CONTENT))
        assert client.answer().startswith("HTTP/1.1 200 ")
    assert provider.read("film") == CONTENT
