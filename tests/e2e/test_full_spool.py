"""A spool that is full: refused before the body when that can be known, a failed reception when not; nothing kept."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually

ROOM = 40  # MiB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("this test mounts a small disk and needs root")
        pytest.skip("only root can mount a small disk")
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}m", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def stack(small_disk: Path, make_stack: MakeStack, provider: Provider) -> Stack:
    return make_stack('default = "s3"\n' + provider.table("s3"), BUCKETLINE_SPOOL=str(small_disk / "spool")).start()


def files_of(disk: Path) -> list[str]:
    return sorted(path.name for folder in ("incoming", "jobs") for path in (disk / "spool" / folder).glob("*"))


def test_full(stack: Stack, provider: Provider, small_disk: Path, five_parts: bytes) -> None:
    gate = provider.stop_at("amid", "part", 2)
    running = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("a job is on its way")
    mine = files_of(small_disk)
    assert mine == [f"{running}.data", f"{running}.json"]

    refused_before_the_body(stack)
    assert files_of(small_disk) == mine

    # Nobody said how long it is: it fails where the room ends.
    def endless() -> Iterator[bytes]:
        for _ in range(ROOM):
            yield bytes(1 << 20)

    answer = stack.talk.try_to_submit(endless(), name="endless")
    assert (answer.status_code, answer.json()["code"]) == (507, "spool_full")
    eventually(lambda: files_of(small_disk) == mine, "nothing of it is kept", 30)
    assert stack.talk.http.get("/v1/jobs", params={"q": "endless"}).json()["items"] == []
    assert httpx.get(f"{stack.talk.url}/livez", trust_env=False).status_code == 200

    # What fits is still taken, and what was under way goes on.
    small = stack.talk.submit(b"small", key="small")["id"]
    gate.open()
    for job in (running, small):
        stack.talk.until(job, "succeeded")
    assert provider.read("film") == five_parts
    eventually(lambda: files_of(small_disk) == [], "the room is free again", 30)
    # The API counts what workers free only when it is asked: at once or at the next attempt.
    eventually(lambda: stack.talk.try_to_submit(five_parts, key="again").status_code == 202, "there is room again", 30)


def refused_before_the_body(stack: Stack) -> None:
    """The answer comes although not one byte of the body was sent."""
    url = httpx.URL(stack.talk.url)
    with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
        head = "PUT /v1/objects/s3/large HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        connection.sendall((head % (ROOM << 20)).encode())
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    status, _, rest = answer.partition(b"\r\n")
    assert status.split()[1] == b"507", answer
    assert b"retry-after:" in rest.lower()
    assert b'"spool_full"' in rest
