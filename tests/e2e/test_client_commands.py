"""`bucketline put --resumable` and `bucketline copy` on real processes, and what the clients submit beside files."""

from __future__ import annotations

import json
import random
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bucketline import cli
from bucketline import report as reports
from bucketline.client import Refused
from bucketline.resumable import CHUNK_SIZE
from tests.backends.proxy import Proxy
from tests.clients import Connect
from tests.clients import connect as connect
from tests.e2e.stack import PROJECT, Stack
from tests.web import Page, WebServer

FILM = random.Random(9).randbytes(1 << 20) * 9  # two chunks

INTERRUPTED = """
import os, signal, sys
from bucketline import cli, put
from bucketline.report import Lines

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have ignored it

class Impatient(Lines):
    def sent(self, file, sent):
        os.kill(os.getpid(), SIGNAL)

put.reporter = Impatient
cli.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    (made / "a film.bin").write_bytes(FILM)
    return made


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        server.pages["/in/film.bin"] = Page(b"from the web")
        yield server


@pytest.fixture(scope="module")
def stack(folder: Path, web: WebServer) -> Iterator[Stack]:
    plugins = f"""
        default = "disk"
        [destinations.disk]
        backend = "local"
        root = "{folder}/disk"
        [destinations.shelf]
        backend = "local"
        root = "{folder}/shelf"
        [webhooks]
        secret = "whsec_{"c2VjcmV0" * 4}"
        [credentials.partner]
        headers = {{ X-Key = "hush" }}
        hosts = ["{web.url}"]
    """
    allowed = {"BUCKETLINE_IMPORT_ALLOW": "127.0.0.1", "BUCKETLINE_IMPORT_PORTS": str(web.port)}
    allowed |= {"BUCKETLINE_WEBHOOK_ALLOW": "127.0.0.1", "BUCKETLINE_WEBHOOK_PORTS": str(web.port)}
    with Stack(plugins, **allowed, BUCKETLINE_SOURCE_ROOTS=str(folder)) as made:
        yield made.start()


@pytest.fixture
def url(stack: Stack) -> str:
    return str(stack.talk.url)


@pytest.fixture
def run(stack: Stack, folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: object, code: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", *(["-c", code] if code else ["-m", "bucketline"]), *map(str, words)]
        environ = stack.environ | {"BUCKETLINE_URL": stack.talk.url, "PYTHONPATH": str(PROJECT)}
        return subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100, check=False
        )

    return run


Run = Callable[..., subprocess.CompletedProcess[str]]


# -- put --resumable --------------------------------------------------------------------------------------------------


class Cutting(reports.Lines):
    """Cuts the line when the first chunk has come."""

    def __init__(self, cut: Callable[[], None]) -> None:
        super().__init__(0)
        self.told: list[int] = []
        self._cut = cut

    def sent(self, file: str, sent: int) -> None:
        self.told.append(sent)
        if len(self.told) == 1:
            self._cut()


def _put(monkeypatch: pytest.MonkeyPatch, proxy: Proxy, report: Cutting, *words: object) -> int:
    monkeypatch.setattr("bucketline.put.reporter", lambda: report)
    return cli.main(["put", *map(str, words), "--url", f"http://127.0.0.1:{proxy.port}"])


def test_a_broken_line_costs_a_put_nothing(
    stack: Stack, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Proxy(urlsplit(url).port or 0) as proxy:
        report = Cutting(lambda: proxy.refuse(2))
        code = _put(monkeypatch, proxy, report, "--resumable", folder / "a film.bin", "--key", "cut", "--json")

    assert code == 0
    assert report.told == [CHUNK_SIZE, CHUNK_SIZE, len(FILM)]  # the second is the answer to "how much have you got?"
    assert (folder / "disk" / "cut").read_bytes() == FILM
    said = capsys.readouterr()
    assert json.loads(said.out)["state"] == "succeeded"
    assert "a film.bin: sending 9.0 MiB" in said.err


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_a_put_that_is_interrupted_says_how_to_go_on_and_that_works(
    run: Run, folder: Path, url: str, number: signal.Signals, ends: int
) -> None:
    code = INTERRUPTED.replace("SIGNAL", str(int(number)))
    left = run("put", "--resumable", "a film.bin", "--key", "left", code=code)

    assert left.returncode == ends
    assert "a film.bin: what was sent is kept; this goes on with it:" in left.stderr
    *command, file = shlex.split(left.stderr.splitlines()[-1])
    assert command[:3] == ["bucketline", "put", "--resume"]
    assert command[3].startswith(f"{url}/v1/tus/")
    assert file == "a film.bin"

    done = run(*command[1:], file, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "succeeded"
    assert (folder / "disk" / "left").read_bytes() == FILM
    assert run(*command[1:], file, "--detach").returncode == 0, "what is whole already is no error"


def test_a_put_in_one_request_that_is_interrupted_says_that_nothing_is_kept(run: Run) -> None:
    code = INTERRUPTED.replace("SIGNAL", str(int(signal.SIGTERM)))
    left = run("put", "a film.bin", "--key", "left", code=code)
    assert left.returncode == -15
    assert "a film.bin: what was sent is not kept; `put --resumable` sends in chunks that are" in left.stderr


def test_a_put_whose_server_stays_away_says_how_to_go_on(
    stack: Stack, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Proxy(urlsplit(url).port or 0) as proxy:
        words = ["--resumable", folder / "a film.bin", "--key", "away", "--patience", 0]
        code = _put(monkeypatch, proxy, Cutting(proxy.refuse), *words)
        address = f"http://127.0.0.1:{proxy.port}"

    assert code == 69
    *_, why, kept, command = capsys.readouterr().err.splitlines()
    assert why.startswith(f"bucketline: a film.bin: {address} does not answer")
    assert kept == "  a film.bin: what was sent is kept; this goes on with it:"
    assert command.startswith(f"  bucketline put --resume {address}/v1/tus/")


def test_what_cannot_go_on_is_told_without_a_command(run: Run) -> None:
    gone = run("put", "--resume", "/v1/tus/0190a1b2-0000-7000-8000-000000000000", "a film.bin")

    assert gone.returncode == 1
    assert "begin anew" in gone.stderr
    assert "--resume" not in gone.stderr


# -- sources ----------------------------------------------------------------------------------------------------------


def test_sources_from_the_client(stack: Stack, folder: Path, url: str, web: WebServer, connect: Connect) -> None:
    with connect(url) as client:
        here = client.submit_source({"path": str(folder / "a film.bin")}, key="in/film.bin", labels={"a": "b, c"})
        assert client.wait(here.id, timeout=60).succeeded
        there = client.submit_source({"destination": "disk", "key": "in/film.bin"}, destinations=["shelf"])
        far = client.submit_source({"url": f"{web.url}/in/film.bin", "credentials": "partner"}, key="far")
        jobs = [client.wait(job.id, timeout=60) for job in (there, far)]
        with pytest.raises(Refused, match="may not be read"):
            client.submit_source({"path": "/etc/passwd"})

    assert here.raw["labels"] == {"a": "b, c"}
    assert [job.state for job in jobs] == ["succeeded"] * 2
    assert (folder / "disk" / "far").read_bytes() == b"from the web"
    assert (folder / "shelf" / (jobs[0].key or "")).read_bytes() == FILM
    assert web.seen[-1].headers["x-key"] == "hush"


def test_a_source_that_is_submitted_again_with_its_key_is_one_job(url: str, folder: Path, connect: Connect) -> None:
    source: Any = {"path": str(folder / "a film.bin")}
    with connect(url) as client:
        key = f"again-{connect}"
        ids = {client.submit_source(source, key="again", idempotency_key=key).id for _ in range(3)}
        assert len(ids) == 1
        assert client.wait(ids.pop(), timeout=60).succeeded


def test_copy_carries_sources_of_each_kind(run: Run, stack: Stack, folder: Path, web: WebServer) -> None:
    first = run("copy", folder / "a film.bin", "--key", "copied/film.bin", "--label", "by=copy")
    assert first.returncode == 0, first.stderr
    done = run("copy", "disk:copied/film.bin", f"{web.url}/in/film.bin", "--to", "shelf", "--json")

    assert done.returncode == 0, done.stderr
    jobs = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(job["name"], job["source"]["kind"]) for job in jobs} == {("film.bin", "destination"), ("film.bin", "url")}
    assert {(folder / "shelf" / job["key"]).read_bytes() for job in jobs} == {FILM, b"from the web"}
    assert "a film.bin: job " in first.stderr
    assert f"a film.bin → file://{folder}/disk/copied/film.bin (9.0 MiB" in first.stderr


def test_a_source_that_is_refused_is_told_and_the_next_is_carried(run: Run, folder: Path) -> None:
    done = run("copy", "/etc/passwd", "nowhere:x", folder / "a film.bin", "--detach")

    assert done.returncode == 2
    assert "passwd: " in done.stderr
    assert "nowhere" in done.stderr
    assert len(done.stdout.split()) == 1


# -- options ----------------------------------------------------------------------------------------------------------


def test_every_option_reaches_the_server_by_each_way(url: str, folder: Path, web: WebServer, connect: Connect) -> None:
    small = folder / "small.txt"
    small.write_bytes(b"small")
    options: Any = {"priority": "high", "retain_seconds": 3600, "webhook": f"{web.url}/done?k=1"}
    with connect(url) as client:
        jobs = [
            client.submit(small, **options),
            client.upload(small, **options),
            client.submit_source({"path": str(small)}, **options),
        ]
        for job in jobs:
            assert (job.raw["priority"], job.raw["webhook"]) == ("high", f"{web.url}/done?…")
        for way in (client.submit, client.upload):
            with pytest.raises(Refused, match="retain_seconds"):
                way(small, retain_seconds=-1)


def test_put_has_them_too(run: Run, folder: Path, web: WebServer) -> None:
    small = folder / "small.txt"
    small.write_bytes(b"small")
    words = ["--priority", "low", "--webhook", f"{web.url}/done", "--retain-seconds", "60"]

    done = run("put", small, "--json", "--detach", "--key-template", "k/{name}", *words)

    job = json.loads(done.stdout)
    assert (job["priority"], job["webhook"], job["key"]) == ("low", f"{web.url}/done", "k/small.txt")
    assert "retain_seconds" in run("put", small, "--retain-seconds", "-1").stderr


def test_a_large_file_that_is_refused_before_it_is_read_shows_the_reason(
    url: str, folder: Path, connect: Connect
) -> None:
    big = folder / "big.bin"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    with connect(url) as client, pytest.raises(Refused, match="nowhere"):
        client.submit(big, destinations=["nowhere"])
