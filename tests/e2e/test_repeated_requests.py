"""Idempotency-Key on real processes: twins, lost answers, dead processes and a Redis that forgot make one job."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from bucketline.client import Client
from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually

KEY = {"idempotency-key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


def put(stack: Stack, content: bytes | Iterator[bytes] = b"hello", key: str = "film", **headers: str) -> httpx.Response:
    return stack.talk.http.put(f"/v1/objects/s3/{key}", content=content, headers=KEY | headers)


def replayed(answer: httpx.Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


def jobs(stack: Stack) -> list[str]:
    return [job["id"] for job in stack.talk.http.get("/v1/jobs").json()["items"]]


def until_answered(stack: Stack, content: bytes = b"hello") -> httpx.Response:
    """As a client does: again and again while the first one is said to be running, or Redis to be away."""
    deadline = time.monotonic() + 60
    while (answer := put(stack, content)).status_code in (409, 503) and time.monotonic() < deadline:
        assert int(answer.headers["retry-after"]) > 0
        time.sleep(0.1)
    return answer


@pytest.fixture
def no_worker(make_stack: MakeStack, provider: Provider) -> Stack:
    stack = make_stack('default = "s3"\n' + provider.table("s3"), BUCKETLINE_IDEMPOTENCY_LEASE_SECONDS="2")
    stack.valkey.start()
    stack.environ["BUCKETLINE_REDIS_URL"] = stack.valkey.url
    return stack


def test_twins(stack: Stack, provider: Provider) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: put(stack, bytes(3 << 20)), range(8)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    made = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.json()["id"] for answer in made}) == 1
    assert [replayed(answer) for answer in made].count(False) == 1
    assert len(jobs(stack)) == 1
    again = until_answered(stack, bytes(3 << 20))
    assert replayed(again) and again.content == made[0].content
    stack.check_end(again.json()["id"])
    assert provider.count("put") == 1


def test_other_payloads_addresses_and_no_key_at_all(stack: Stack) -> None:
    one = put(stack)
    assert put(stack, b"hello!").json()["code"] == "idempotency_mismatch"
    assert put(stack, key="other").json()["id"] != one.json()["id"]
    assert put(stack, **{"idempotency-key": '"'}).status_code == 400
    assert not replayed(stack.talk.try_to_submit(b"hello", key="third"))
    assert len(jobs(stack)) == 3


def test_a_line_that_breaks_before_the_answer(stack: Stack) -> None:
    """The whole body is sent, and nobody reads what comes back."""
    address = urlsplit(stack.talk.url)
    with socket.create_connection((address.hostname, address.port or 80)) as line:
        line.sendall(
            b"PUT /v1/objects/s3/film HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
            b"Idempotency-Key: " + KEY["idempotency-key"].encode() + b"\r\nContent-Length: 5\r\n\r\nhello"
        )
        eventually(lambda: len(jobs(stack)) == 1, "it is accepted")
    again = put(stack, **{"content-type": "application/octet-stream"})
    assert (again.status_code, replayed(again)) == (202, True)
    assert jobs(stack) == [again.json()["id"]]


def test_nothing_of_the_body_is_asked_for(stack: Stack) -> None:
    put(stack, **{"content-type": "a/b"})
    address = urlsplit(stack.talk.url)
    with socket.create_connection((address.hostname, address.port or 80)) as line:
        line.settimeout(30)
        line.sendall(
            b"PUT /v1/objects/s3/film HTTP/1.1\r\nHost: localhost\r\nContent-Type: a/b\r\nExpect: 100-continue\r\n"
            b"Idempotency-Key: " + KEY["idempotency-key"].encode() + b"\r\nContent-Length: 5\r\n\r\n"
        )
        found = b""
        while piece := line.recv(65536):
            found += piece
    assert found.startswith(b"HTTP/1.1 202") and b"100 Continue" not in found


def test_killed_amid_a_body(no_worker: Stack) -> None:
    stack = no_worker
    api = stack.api()
    going = threading.Event()

    def body() -> Iterator[bytes]:
        yield bytes(4 << 20)
        going.wait(60)
        yield b"never read"

    length = {"content-length": str((4 << 20) + 10)}
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(put, stack, body(), **length)
        eventually(lambda: any((stack.spool / "incoming").glob("*")), "bytes are in the spool", 60)
        api.kill()
        going.set()
        with pytest.raises(httpx.TransportError):
            answer.result()
    stack.api()
    again = until_answered(stack, bytes((4 << 20) + 10))  # busy at first, unless the machine is slower than the lease
    assert (again.status_code, replayed(again)) == (202, False), "its lease ran out: this one is the first"
    stack.worker()
    stack.check_end(again.json()["id"])


@pytest.mark.parametrize("heard", [False, True], ids=["before the ledger hears of it", "before the client hears of it"])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_killed_between_disk_and_answer(
    large: bool, heard: bool, no_worker: Stack, provider: Provider, five_parts: bytes
) -> None:
    stack, content = no_worker, five_parts if large else b"hello"
    wire = stack.wire()
    api = stack.api(**wire.environ)
    gate = wire.stop_at("answer" if heard else "call", "accept")
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(put, stack, content)
        gate.wait("the file is durable")
        api.kill()
        with pytest.raises(httpx.TransportError):
            answer.result()
    gate.drop()
    stack.api()

    again = until_answered(stack, content)

    assert (again.status_code, replayed(again)) == (202, True)
    stack.worker()
    stack.check_end(again.json()["id"])
    assert jobs(stack) == [again.json()["id"]]
    assert provider.read("film") == content
    assert provider.count("put") + provider.count("complete") == 1


def test_the_client_sends_again(stack: Stack) -> None:
    with Client(stack.talk.url) as client:
        made = {client.submit(io.BytesIO(b"hello"), name="x", idempotency_key='my "own"').id for _ in range(3)}
    assert jobs(stack) == list(made)


def test_a_redis_that_lost_everything(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    finished = put(stack).json()["id"]
    stack.check_end(finished)
    gates = [provider.stop_at("amid", "part", number) for number in (2, 3)]
    running = put(stack, five_parts, key="running").json()["id"]
    for gate in gates:
        gate.wait("both threads are busy")
    with stack.valkey.client() as client:
        client.flushall()

    again = until_answered(stack)

    assert (again.json()["id"], replayed(again)) == (finished, True)
    assert put(stack, five_parts, key="running").json()["id"] == running
    for gate in gates:
        gate.open()
    for job in (finished, running):
        stack.check_end(job)
    assert sorted(jobs(stack)) == sorted([finished, running])
    assert provider.count("put") == 1
