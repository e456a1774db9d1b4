"""Imports from the web on real processes: byte-identical whoever dies midway, and never another content."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.e2e.provider import PART, Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually
from tests.web import Page, WebServer


@pytest.fixture
def web(five_parts: bytes) -> Iterator[WebServer]:
    with WebServer() as server:
        server.pages["/film"] = Page(five_parts)
        yield server


@pytest.fixture
def stack(make_stack: MakeStack, provider: Provider, web: WebServer) -> Stack:
    """An S3 server, a web server that imports may reach, and no worker yet."""
    tables = 'default = "s3"\n' + provider.table("s3")
    tables += f'[credentials.partner]\nheaders = {{ X-Key = "hush" }}\nhosts = ["{web.url}"]\n'
    allowed = {"BUCKETLINE_IMPORT_ALLOW": "127.0.0.1", "BUCKETLINE_IMPORT_PORTS": str(web.port)}
    return make_stack(tables, **allowed, BUCKETLINE_MAX_SIZE="100MiB").start(workers=0)


def submit(stack: Stack, url: str, **options: object) -> str:
    source = {"url": url} | ({"credentials": options.pop("credentials")} if "credentials" in options else {})
    answer = stack.talk.http.post("/v1/jobs", json={"source": source, **options})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


class Gate:
    """Stops the first request for a range that begins so."""

    def __init__(self, page: Page, prefix: str) -> None:
        self.prefix = prefix
        self.reached, self.opened = threading.Event(), threading.Event()
        page.before = self._stop

    def _stop(self, headers: dict[str, str]) -> None:
        if headers.get("range", "none").startswith(self.prefix) and not self.reached.is_set():
            self.reached.set()
            self.opened.wait(60)


@pytest.mark.parametrize("ranges", [True, False], ids=["in ranges", "through the spool"])
def test_a_worker_is_killed_midway(
    ranges: bool, stack: Stack, provider: Provider, web: WebServer, five_parts: bytes
) -> None:
    web.pages["/film"].ranges = ranges
    # Without ranges the first request is the download itself.
    gate = Gate(web.pages["/film"], f"bytes={2 * PART}-" if ranges else "bytes=0-0")
    worker = stack.worker()
    job = submit(stack, f"{web.url}/film", key="copy", credentials="partner")
    eventually(gate.reached.is_set, "the file is being read", 60)
    worker.kill()
    gate.opened.set()
    stack.worker()
    found = stack.check_end(job)
    assert provider.read("copy") == five_parts
    assert (found["size"], found["source"]["kind"], found["source"]["url"]) == (
        len(five_parts), "url", f"{web.url}/film",
    )  # fmt: skip
    assert found["transfers"][0]["verified_by"] in ("checksum", "part_checksums")
    assert len(web.seen) <= (1 + 5 + 2 if ranges else 2)
    assert all(one.headers["x-key"] == "hush" for one in web.seen)
    assert provider.sessions() == []


def test_a_worker_is_killed_behind_the_download(
    stack: Stack, provider: Provider, web: WebServer, five_parts: bytes
) -> None:
    web.pages["/film"].ranges = False
    gate = provider.stop_at("amid", "part", 2)
    worker = stack.worker()
    job = submit(stack, f"{web.url}/film", key="copy")
    gate.wait("a part is being sent")
    worker.kill()
    gate.drop()
    stack.worker()
    stack.check_end(job)
    assert provider.read("copy") == five_parts
    assert len(web.seen) == 1, "the server is asked once"


def test_redis_loses_everything_midway(stack: Stack, provider: Provider, web: WebServer, five_parts: bytes) -> None:
    gate = provider.stop_at("before", "part", 2)
    stack.worker()
    job = submit(stack, f"{web.url}/film")
    gate.wait("a part is being sent")
    with stack.valkey.client() as client:
        client.flushall()
    gate.open()
    eventually(lambda: stack.talk.state(job) == "succeeded", "the job is made again", 60)
    assert provider.read(f"{job}/film") == five_parts


@pytest.mark.parametrize("vanishes", [False, True], ids=["changes", "vanishes"])
def test_the_file_changes_or_vanishes_midway(
    vanishes: bool, stack: Stack, provider: Provider, web: WebServer, five_parts: bytes
) -> None:
    gates = [provider.stop_at("before", "part", number) for number in (1, 2)]
    stack.worker()
    job = submit(stack, f"{web.url}/film", key="copy")
    for gate in gates:
        gate.wait("both threads are busy")
    if vanishes:
        del web.pages["/film"]
    else:
        web.pages["/film"] = Page(five_parts[::-1], etag='"two"')
    for gate in gates:
        gate.open()
    found = stack.check_end(job, "failed")
    assert found["error"]["code"] == ("source_missing" if vanishes else "source_changed")
    assert not provider.path("copy").exists()
    assert provider.sessions() == []
    if vanishes:
        web.pages["/film"] = Page(five_parts)
        stack.talk.tell(job, "retry")
        eventually(lambda: stack.talk.state(job) == "succeeded", "the retry succeeds", 60)
        assert provider.read("copy") == five_parts


def test_cancel_while_it_is_read_into_the_spool(stack: Stack, provider: Provider, web: WebServer) -> None:
    web.pages["/film"].ranges = False
    gate = Gate(web.pages["/film"], "bytes=0-0")
    stack.worker()
    job = submit(stack, f"{web.url}/film", key="copy")
    eventually(gate.reached.is_set, "the file is being read", 60)
    stack.talk.tell(job, "cancel")
    gate.opened.set()
    stack.check_end(job, "cancelled")
    eventually(lambda: stack.spooled() == [], "nothing is left in the spool", 60)
    assert not provider.path("copy").exists()


def test_what_cannot_be_imported_says_why(stack: Stack, provider: Provider, web: WebServer) -> None:
    stack.worker()
    web.pages |= {
        "/private": Page(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
        "/gzip": Page(b"x" * 1000, headers={"Content-Encoding": "gzip"}),
        "/endless": Page(endless=True),
        "/large": Page(b"x", announced=200 << 20, ranges=False),
        "/forbidden": Page(status=403),
    }
    wanted = {
        "private": "address_refused", "gzip": "source_refused", "endless": "too_large", "large": "too_large",
        "forbidden": "source_refused", "nothing": "source_missing",
    }  # fmt: skip
    jobs = {path: submit(stack, f"{web.url}/{path}", key=path) for path in wanted}
    found = {path: stack.check_end(job, "failed")["error"] for path, job in jobs.items()}
    assert {path: error["code"] for path, error in found.items()} == wanted
    assert not any("169.254" in error["detail"] for error in found.values())
    assert stack.spooled() == sorted(f"{job}.path.json" for job in jobs.values())


@pytest.mark.parametrize("url", ["http://127.0.0.2/", "http://[::1]/", "http://x:6379/", "ftp://x/", "http://a@b/"])
def test_what_is_known_to_be_impossible_is_refused_at_once(stack: Stack, url: str) -> None:
    answer = stack.talk.http.post("/v1/jobs", json={"source": {"url": url}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/source/url")
