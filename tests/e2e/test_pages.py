"""The pages of docs/ beside the how-tos, followed to the letter on one Bucketline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook

from engine.config import Settings
from tests import documents
from tests.e2e.reading import FILM, KEY, NOTES, Reader, begun_long_ago, reading
from tests.e2e.test_webhooks import Receiver
from tests.servers import eventually, tied
from tests.web import Page, WebServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts `bucketline up`")

ARCHIVE = '[destinations.archive]\nbackend = "local"\nroot = "var/archive"\n'


def plugins() -> str:
    """The files of the pages, put together."""
    actors = documents.block("docs/actors.md", "plugins: actors")
    webhooks = documents.block("docs/webhooks.md", "plugins: webhooks")
    return actors + ARCHIVE + "[webhooks]" + webhooks.partition("[webhooks]")[2]


def secret() -> str:
    """As the page makes it, before Bucketline is started."""
    line = documents.block("docs/webhooks.md", "run: submit").splitlines()[0]
    made = subprocess.run(["bash", "-c", f'{line}\necho "$WEBHOOK_SECRET"'], stdout=subprocess.PIPE, check=True)
    return made.stdout.decode().strip()


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with WebServer() as web:
        yield web


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def reader(web: WebServer, receiver: Receiver) -> Iterator[Reader]:
    with reading(
        plugins(),
        WEBHOOK_SECRET=secret(),
        SHOP_BROKER_URL="unix://{folder}/var/valkey/valkey.sock?db=1",
        BUCKETLINE_ACCESS_LOG="json",
        BUCKETLINE_IMPORT_ALLOW="127.0.0.1",
        BUCKETLINE_IMPORT_PORTS=str(web.port),
        BUCKETLINE_WEBHOOK_ALLOW="127.0.0.1",
        BUCKETLINE_WEBHOOK_PORTS=str(receiver.server.server_port),
    ) as reader:
        yield reader


def ended(reader: Reader, answer: str) -> str:
    """The id of the job that was answered, once it has succeeded."""
    with reader.client() as client:
        job = client.wait(json.loads(answer)["id"], timeout=60)
    assert job.succeeded, job
    return job.id


# -- what a job is made of --------------------------------------------------------------------------------------------


def test_an_object_is_a_source(reader: Reader) -> None:
    with reader.client() as client:
        put = client.submit(reader.folder / "film.mp4", destinations=["archive"], key="2026/film.mp4")
        assert client.wait(put.id).succeeded

    job = ended(reader, reader.runs("docs/sources.md", "object"))

    assert reader.stored(f"var/objects/{job}/film.mp4") == FILM


def test_an_address_is_a_source(reader: Reader, web: WebServer) -> None:
    web.pages["/2026/film.mp4"] = Page(FILM)
    reader.instead["https://files.example"] = web.url

    job = ended(reader, reader.runs("docs/sources.md", "url"))

    assert reader.stored(f"var/objects/{job}/film.mp4") == FILM


# -- the client -------------------------------------------------------------------------------------------------------


def test_the_clients_are_where_the_page_says(reader: Reader) -> None:
    assert reader.runs_python("docs/client.md", "import", after="print(Client, AsyncClient)").count("class") == 2


@pytest.mark.parametrize("kept", [False, True])
def test_the_client_goes_on_with_what_is_kept(reader: Reader, kept: bool) -> None:
    if kept:
        with reader.client() as client, pytest.raises(ZeroDivisionError):
            client.upload(
                reader.folder / "holiday.mp4", destinations=["media"], chunk_size=1 << 20,
                on_url=(reader.folder / "holiday.url").write_text, on_sent=lambda sent: 1 // (sent < 2 << 20),
            )  # fmt: skip
        assert (reader.folder / "holiday.url").exists()

    said = reader.runs_python("docs/client.md", "upload", after="print(client.wait(job.id).state)\n")

    assert said == "succeeded\n"
    assert not (reader.folder / "holiday.url").exists()


def test_the_readme_uploads_and_submits_a_source(reader: Reader) -> None:
    reader.runs_python("README.md", "upload", after="\nwith Client() as client: print(client.wait(job.id).state)\n")
    assert (reader.folder / "holiday.url").read_text().startswith(reader.url)
    (reader.folder / "holiday.url").unlink()
    with reader.client() as client:
        put = client.submit(reader.folder / "notes.txt", destinations=["archive"], key="2026/holiday.mp4")
        assert client.wait(put.id).succeeded
        known = "from bucketline import Client\nclient = Client()\n"
        reader.runs_python("README.md", "submit source", known)
        [job] = client.jobs(limit=1).items
        assert client.wait(job.id).succeeded
    assert reader.stored(f"var/objects/{job.id}/holiday.mp4") == NOTES


# -- who is told ------------------------------------------------------------------------------------------------------


def test_a_webhook_is_told_and_signed_with_the_secret(reader: Reader, receiver: Receiver) -> None:
    reader.instead["https://shop.example/hooks/bucketline"] = receiver.url

    job = ended(reader, reader.runs("docs/webhooks.md", "submit"))

    eventually(lambda: bool(receiver.got), "the webhook is told", 60)
    headers, body = receiver.got[0]
    told = Webhook(reader.environ["WEBHOOK_SECRET"]).verify(body, headers)
    assert (told["type"], told["data"]["id"]) == ("job.succeeded", job)


def test_a_receiver_on_ones_own_machine_is_let_in(reader: Reader) -> None:
    told = reader.runs("docs/webhooks.md", "own machine", after="env | grep ^BUCKETLINE_WEBHOOK")
    settings = Settings.from_env(dict(line.split("=", 1) for line in told.splitlines()))
    assert (settings.webhook_allow, settings.webhook_ports) == (("127.0.0.1",), (8080,))


BEFORE_THE_ACTOR = """import os, dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["SHOP_BROKER_URL"]))
known = set()

def first_time(id):
    return not (id in known or known.add(id))

def thumbnail(url):
    with open("told", "a") as file:
        file.write(url + "\\n")

"""


def test_an_actor_gets_the_end(reader: Reader) -> None:
    (reader.folder / "gallery.py").write_text(BEFORE_THE_ACTOR + documents.block("docs/actors.md", "run: actor"))
    words = [sys.executable, "-m", "dramatiq", "gallery", "--processes", "1", "--threads", "1", "--path", "."]
    with (reader.folder / "gallery.log").open("wb") as log:
        worker = subprocess.Popen(tied(words), cwd=reader.folder, env=reader.environ, stdout=log, stderr=log)
    try:
        ended(reader, reader.runs("docs/actors.md", "submit"))
        told = reader.folder / "told"
        eventually(told.exists, "the actor is told", 60)
    finally:
        worker.terminate()
        worker.wait(60)
    assert told.read_text().strip() == (reader.folder / "var/objects/film.mp4").as_uri()


# -- keys and tokens --------------------------------------------------------------------------------------------------


def test_a_key_for_prometheus_reads_metrics_and_nothing_else(reader: Reader) -> None:
    key = reader.runs("docs/metrics.md", "key").strip()

    assert status(reader, key, "/metrics") == "200"
    assert status(reader, key, "/v1/jobs") == "403"


def status(reader: Reader, key: str, path: str) -> str:
    words = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-H", f"Authorization: Bearer {key}"]
    done = subprocess.run([*words, reader.url + path], stdout=subprocess.PIPE, check=True, timeout=60)
    return done.stdout.decode()


@pytest.mark.parametrize("page", ["docs/operations.md", "README.md"])
def test_keys_are_made_listed_and_revoked(reader: Reader, page: str) -> None:
    """The page writes of a key that is there already."""
    added = subprocess.run(
        ["bucketline", "keys", "add", "old", "--json"], cwd=reader.folder, env=reader.environ,
        stdout=subprocess.PIPE, check=True, timeout=60,
    )  # fmt: skip
    old = json.loads(added.stdout)
    reader.instead["0123456789ab"] = old["id"]

    said = reader.runs(page, "keys")

    assert f"{old['id']}: revoked" in said
    assert status(reader, re.findall(r"^bl_.*$", said, re.MULTILINE)[0], "/v1/jobs") == "200"
    eventually(lambda: status(reader, old["key"], "/v1/jobs") == "401", "the key is revoked", 60)


def test_tokens_are_made_by_request(reader: Reader) -> None:
    with reader.client() as client:
        reader.instead["01940c9e-…"] = client.submit(reader.folder / "notes.txt", destinations=["media"]).id

    said = reader.runs("docs/security.md", "token", f"KEY={KEY}\n", CURL_HOME=str(reader.folder))

    assert len(re.findall(r'"token":"blt_', said)) == 2


# -- operations -------------------------------------------------------------------------------------------------------


def test_gc_looks_and_clears(reader: Reader) -> None:
    in_media = begun_long_ago(reader.folder / "var/objects", "left.mp4")
    in_archive = begun_long_ago(reader.folder / "var/archive", "left.mp4")

    said = reader.runs("docs/operations.md", "gc")

    assert said.count("would be removed") == 2
    assert (in_media.exists(), in_archive.exists()) == (True, False)


def test_the_access_log_has_the_members_that_are_shown(reader: Reader) -> None:
    shown = json.loads(documents.block("docs/operations.md", "log: request"))
    done = subprocess.run(
        ["curl", "-T", "notes.txt", "-X", "POST", f"{reader.url}/v1/jobs?key=logged.txt"], cwd=reader.folder,
        env=reader.environ, stdout=subprocess.PIPE, check=True, timeout=60,
    )  # fmt: skip
    job = json.loads(done.stdout)["id"]

    def lines() -> list[str]:
        return [line for line in (reader.folder / "var/log/api.log").read_text().splitlines() if job in line]

    eventually(lambda: any('"event":"request"' in line for line in lines()), "it is logged", 60)
    [line] = [json.loads(line) for line in lines() if '"event":"request"' in line and '"method":"POST"' in line]
    assert list(line) == list(shown)
    assert {name: type(value) for name, value in line.items()} == {n: type(value) for n, value in shown.items()}
    same = ("event", "method", "path", "query", "status", "remote")
    assert [line[name] for name in same] == [shown[name] for name in same]
