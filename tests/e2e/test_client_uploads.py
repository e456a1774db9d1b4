"""The clients' resumable uploads on real API processes: broken lines, a killed API, and a process that died."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bucketline.client import BrokenOff, ClientError, Event, Job, Refused
from tests.backends.proxy import Proxy
from tests.clients import Connect
from tests.clients import connect as connect
from tests.e2e.stack import Stack

CHUNK = 256 << 10
CONTENT = bytes(range(256)) * (8 * CHUNK // 256) + b"tail"

DIES = """
import os, sys
from pathlib import Path
from bucketline.client import Client

def sent(count):
    if count >= 3 * 262144:
        os._exit(9)

url, file, kept = sys.argv[1:]
Client(url).upload(file, key="died.bin", chunk_size=262144, on_url=Path(kept).write_text, on_sent=sent)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def stack(bucket: Path) -> Iterator[Stack]:
    with Stack(f'default = "disk"\n[destinations.disk]\nbackend = "local"\nroot = "{bucket}"\n') as made:
        yield made.start()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


def _url(stack: Stack) -> str:
    return str(stack.talk.http.base_url)


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    with Proxy(_port(stack)) as made:
        yield made


def _port(stack: Stack) -> int:
    return urlsplit(_url(stack)).port or 0


def test_a_line_that_breaks_amid_a_chunk_costs_no_byte_that_came(
    stack: Stack, file: Path, bucket: Path, proxy: Proxy, connect: Connect
) -> None:
    told: list[int] = []

    def sent(count: int) -> None:
        told.append(count)
        if len(told) in (2, 6):
            proxy.cut_after(CHUNK // 2)

    with connect(f"http://127.0.0.1:{proxy.port}") as client:
        job = client.upload(file, key="cut.bin", chunk_size=CHUNK, on_sent=sent)
        assert client.wait(job.id, timeout=60).state == "succeeded"

    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert [count for count in told if count % CHUNK and count != len(CONTENT)], "no chunk was broken"
    assert (bucket / "cut.bin").read_bytes() == CONTENT


def test_an_api_that_is_killed_meanwhile_is_waited_for(
    stack: Stack, file: Path, bucket: Path, proxy: Proxy, connect: Connect
) -> None:
    told: list[int] = []

    def sent(count: int) -> None:
        told.append(count)
        if len(told) == 3:
            stack.processes[-1].kill()
            stack.api()
            proxy.lead_to(_port(stack))
            proxy.refuse(1)

    with connect(f"http://127.0.0.1:{proxy.port}") as client:
        job = client.upload(file, key="killed.bin", chunk_size=CHUNK, on_sent=sent)
        assert client.wait(job.id, timeout=60).state == "succeeded"

    assert told[2] == told[3] == 3 * CHUNK
    assert (bucket / "killed.bin").read_bytes() == CONTENT


def test_another_process_goes_on_where_one_died(
    stack: Stack, file: Path, bucket: Path, tmp_path: Path, connect: Connect
) -> None:
    kept = tmp_path / "url"
    assert subprocess.run([sys.executable, "-c", DIES, _url(stack), file, kept], check=False).returncode == 9
    told: list[int] = []
    with connect(_url(stack)) as client:
        job = client.resume_upload(kept.read_text(), file, on_sent=told.append)
        assert client.wait(job.id, timeout=60).state == "succeeded"
        assert client.resume_upload(kept.read_text(), file).id == job.id
    assert told[0] == 3 * CHUNK
    assert (bucket / "died.bin").read_bytes() == CONTENT


def test_events_are_taken_up_where_the_line_broke(stack: Stack, file: Path, connect: Connect) -> None:
    seen: list[Event] = []

    def follow(events: Iterator[Event], job: Job) -> None:
        while not seen or (seen[-1].data["id"], seen[-1].data["state"]) != (job.id, "succeeded"):
            seen.append(next(events))

    with connect(_url(stack)) as client, Proxy(urlsplit(_url(stack)).port or 0) as proxy:
        with connect(f"http://127.0.0.1:{proxy.port}") as through:
            first = client.submit(file, key="first")
            events = through.events(last_event_id="0-1")
            follow(events, first)
            proxy.refuse(2)
            second = client.submit(file, key="second")
            follow(events, second)
            assert through.wait(second.id, timeout=60).succeeded
            events.close()  # type: ignore[attr-defined]

    places = [tuple(map(int, event.id.split("-"))) for event in seen]
    assert places == sorted(set(places)), "none is lost, none comes twice"
    states = [event.data["state"] for event in seen if event.data["id"] == second.id]
    assert states[0] in ("receiving", "queued")  # a reception that is over soon is not told of


def test_what_cannot_go_on_says_what_to_do(stack: Stack, file: Path, tmp_path: Path, connect: Connect) -> None:
    kept: list[str] = []
    with connect(_url(stack)) as client:
        with pytest.raises(Refused, match="nowhere"):
            client.upload(file, destinations=["nowhere"])
        with pytest.raises(ClientError, match="begin anew"):
            client.resume_upload("/v1/tus/0190a1b2-0000-7000-8000-000000000000", file)
        with pytest.raises(ClientError, match="is no upload of"):
            client.resume_upload("http://elsewhere.example/v1/tus/x", file)
        with Proxy(urlsplit(_url(stack)).port or 0) as proxy:
            through = connect(f"http://127.0.0.1:{proxy.port}")
            leave = pytest.raises(KeyboardInterrupt)

            def interrupted(_: int) -> None:
                raise KeyboardInterrupt

            with leave:
                through.upload(file, chunk_size=CHUNK, on_url=kept.append, on_sent=interrupted)
        with through, pytest.raises(BrokenOff, match="go on later with resume_upload") as broken:
            through.resume_upload(kept[0], file, patience=0.1)
        assert urlsplit(broken.value.url).path == urlsplit(kept[0]).path
        other = tmp_path / "other.bin"
        other.write_bytes(b"short")
        with pytest.raises(ClientError, match="give the same file"):
            client.resume_upload(urlsplit(kept[0]).path, other)
