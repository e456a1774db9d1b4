"""What only the client for asyncio can get wrong: the loop goes on, tasks share it, and what is left is closed."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bucketline import AsyncClient
from tests.command.fake import FakeServer, job_json


class Waiting(io.BytesIO):
    """A file on a disk that answers only when the loop has done something else meanwhile."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.asked, self.ready = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.asked.set()
        assert self.ready.wait(30), "the loop waits for the disk"
        return super().read(size)


@pytest.fixture
def running(server: FakeServer) -> Iterator[FakeServer]:
    """With a job that goes on for as long as anybody looks."""
    server.jobs = {"1": job_json("1", 10, state="running")}
    data = {"id": "1", "state": "running", "sent": 1, "transfers": []}
    server.scripts = [[(f"{n}-0", "progress", data) for n in range(1, 400)] for _ in range(4)]
    yield server


async def test_the_loop_goes_on_while_a_file_is_read(server: FakeServer) -> None:
    file = Waiting(b"content")
    async with AsyncClient() as client:
        sending = asyncio.create_task(client.submit(file, name="x"))
        assert await asyncio.to_thread(file.asked.wait, 30)
        file.ready.set()
        assert (await sending).size == 7


async def test_a_loop_sends_many_files_at_once(server: FakeServer, tmp_path: Path) -> None:
    names = [f"{number}.bin" for number in range(20)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    async with AsyncClient() as client:
        jobs = await asyncio.gather(*(client.submit(tmp_path / name) for name in names))
        ended = await asyncio.gather(*(client.wait(job.id) for job in jobs))
    assert [job.name for job in ended] == names
    assert sorted(upload.body.decode() for upload in server.uploads) == sorted(names)


async def test_who_leaves_the_events_early_leaves_nothing_open(running: FakeServer) -> None:
    async with AsyncClient() as client:
        async for event in client.events("1"):
            assert event.type == "progress"
            break
        assert (await client.job("1")).state == "running"


async def test_a_wait_that_is_cancelled_ends_at_once_and_the_client_goes_on(running: FakeServer) -> None:
    async with AsyncClient() as client:
        seen = asyncio.Event()
        waiting = asyncio.create_task(client.wait("1", on_event=lambda _: seen.set()))
        await seen.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await client.job("1")).state == "running"


async def test_a_file_that_was_opened_here_is_closed_here_and_no_other(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    theirs = io.BytesIO(b"b")
    async with AsyncClient() as client:
        await client.submit(tmp_path / "a")  # a file left open is a warning, and so a failure
        await client.submit(theirs, name="b")
    assert not theirs.closed


async def test_a_timeout_of_the_caller_bounds_an_upload(server: FakeServer) -> None:
    file = Waiting(b"content")
    async with AsyncClient() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.submit(file, name="x")
        file.ready.set()
    assert server.uploads == []
