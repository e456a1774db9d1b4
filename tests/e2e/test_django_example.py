"""The Django example on real processes: each way in ends in the bucket, and the webhook tells the model of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks import Webhook
from tusclient.client import TusClient

from tests import documents
from tests.e2e.django_site import EXAMPLE, NOT_OURS, SECRET, Site
from tests.e2e.provider import Provider
from tests.e2e.stack import PATIENCE, PROJECT, processes_of
from tests.servers import eventually, free_port

FILM = bytes(range(256)) * 80_000  # some 20 MB: two parts
NOBODY = "0e3bba80-1e6a-4b1d-8e32-4aedcd721a67"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site.start()


@pytest.mark.parametrize("way", ["path", "http"])
def test_a_view_hands_a_file_over(site: Site, way: str) -> None:
    answer = site.post(f"/upload/{way}/", files={"file": ("film ü.mp4", FILM, "video/mp4")})
    assert answer.status_code == 202, answer.text
    told = answer.json()

    media = site.until(told["id"], "succeeded")
    assert (site.bucket / "files" / told["id"] / "film ü.mp4").read_bytes() == FILM
    assert (media["name"], media["size"], media["error"]) == ("film ü.mp4", len(FILM), "")
    assert media["url"].startswith("file://")
    job = site.stack.talk.job(media["job_id"])
    assert (job["source"]["kind"], job["content_type"]) == ("path" if way == "path" else "body", "video/mp4")
    eventually(lambda: list(site.handover.iterdir()) == [], "what was handed over is gone")
    with httpx.stream("GET", told["events"], trust_env=False, timeout=30) as events:
        assert "event: end" in events.read().decode()


def test_what_a_page_uploads_with_its_token(site: Site) -> None:
    begun = site.post("/upload/page/", content=json.dumps({"name": "../notes.txt", "size": 18})).json()
    headers, again = ({"Authorization": f"Bearer {one['token']}"} for one in (begun, another_token(site, begun["id"])))
    tus = f"{site.stack.talk.url}/v1/tus"
    (site.directory / "notes.txt").write_bytes(b"Remember the milk.")
    with (site.directory / "notes.txt").open("rb") as stream:
        told = {"filename": "notes.txt", "key": begun["key"]}
        upload = TusClient(tus, headers=headers).uploader(file_stream=stream, metadata=told, chunk_size=5)
        upload.upload_chunk()
        TusClient(tus, headers=again).uploader(file_stream=stream, url=upload.url).upload()  # the first token has ended

    media = site.until(begun["id"], "succeeded")
    assert (media["name"], media["size"]) == ("notes.txt", 18)
    assert (site.bucket / "files" / begun["id"] / "notes.txt").read_bytes() == b"Remember the milk."
    bucketline = f"{site.stack.talk.url}/v1/jobs"
    second = httpx.post(bucketline, content=b"x", headers={**headers, "content-type": "text/plain"}, trust_env=False)
    assert (second.status_code, second.json()["code"]) == (403, "token_used_up")
    elsewhere = site.post("/upload/page/", content=json.dumps({"name": "a", "size": 1})).json()
    headers = {"Authorization": f"Bearer {elsewhere['token']}", "content-type": "text/plain"}
    refused = httpx.post(bucketline, content=b"x", params={"key": begun["key"]}, headers=headers, trust_env=False)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert site.post(f"/upload/page/{begun['id']}/").status_code == 404, "it is over"
    assert another_token(site, elsewhere["id"])["key"] == elsewhere["key"]


def another_token(site: Site, id: str) -> dict[str, Any]:
    answer = site.post(f"/upload/page/{id}/")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("wish", "status"), [("", 400), ("{}", 400), ('{"name": "/", "size": 1}', 400), ('{"name": "a", "size": -1}', 413)]
)
def test_a_wish_that_makes_no_sense(site: Site, wish: str, status: int) -> None:
    assert site.post("/upload/page/", content=wish).status_code == status


def test_nothing_to_hand_over(site: Site) -> None:
    assert site.post("/upload/path/").status_code == 400
    assert site.http.post("/upload/path/", files={"file": b"x"}).status_code == 403, "not from a page of ours"


# -- the webhook ------------------------------------------------------------------------------------------------------


def told(
    site: Site, job: dict[str, Any], *, at: datetime | None = None, secret: str = SECRET, ended: datetime | None = None
) -> httpx.Response:
    """Posts what Bucketline posts at a job's end."""
    now = at or datetime.now(UTC)
    event = {"type": f"job.{job['state']}", "timestamp": (ended or now).isoformat(), "data": job}
    body, id = json.dumps(event), f"{job['id']}.{job['run']}.{job['state']}"
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body),
    }
    return site.http.post("/hooks/bucketline/", content=body, headers=headers)


@pytest.fixture
def row(site: Site) -> dict[str, Any]:
    """A row that waits, and a job as Bucketline would tell of it."""
    begun = site.post("/upload/page/", content=json.dumps({"name": "a.txt", "size": 5})).json()
    transfer = {"destination": "media", "url": "file:///a.txt", "state": "succeeded", "error": None}
    return {
        "row": begun["id"], "id": str(uuid4()), "run": 1, "state": "succeeded", "key": begun["key"], "size": 5,
        "error": None, "transfers": [transfer],
    }  # fmt: skip


def test_who_has_not_the_secret_is_refused(site: Site, row: dict[str, Any]) -> None:
    assert told(site, row, secret="whsec_" + "b3RoZXIh" * 5).status_code == 401
    earlier = datetime.now(UTC) - timedelta(hours=1)
    assert told(site, row, at=earlier).status_code == 401, "too old: somebody plays it again"
    assert site.http.post("/hooks/bucketline/", content=b"{}").status_code == 401
    assert site.http.get("/hooks/bucketline/").status_code == 405
    assert site.media(row["row"])["state"] == "new"


def test_ends_count_once_and_in_the_order_of_runs(site: Site, row: dict[str, Any]) -> None:
    fault = {"title": "Not allowed", "detail": "Mend the rights."}
    failed = {**row, "state": "failed", "transfers": [{**row["transfers"][0], "state": "failed", "error": fault}]}
    second = {**row, "run": 2}

    assert told(site, failed).status_code == 204
    assert site.media(row["row"])["error"] == "Not allowed: Mend the rights."
    assert told(site, second).status_code == 204
    assert [told(site, one).status_code for one in (failed, second, failed)] == [204] * 3
    media = site.media(row["row"])
    assert (media["state"], media["url"], media["error"]) == ("succeeded", "file:///a.txt", "")

    before = {**failed, "id": str(uuid4())}
    assert told(site, before, ended=datetime.now(UTC) - timedelta(hours=1)).status_code == 204
    assert site.media(row["row"])["state"] == "succeeded", "another job of the file, which ended before"


@pytest.mark.parametrize("key", [None, "films/a.mp4", "files/not-an-id/a", f"files/{NOBODY}/a"])
def test_a_job_that_is_none_of_ours_is_taken_and_forgotten(site: Site, row: dict[str, Any], key: str | None) -> None:
    assert told(site, {**row, "key": key}).status_code == 204
    assert site.media(row["row"])["state"] == "new"


# -- when Bucketline is away ------------------------------------------------------------------------------------------


def test_a_bucketline_that_is_away_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Site(tmp_path_factory.mktemp("away")) as site:
        site.start(workers=0)
        site.stack.processes[-1].kill()
        for way in ("path", "http"):
            answer = site.post(f"/upload/{way}/", files={"file": ("a.txt", b"x")})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert "does not answer" in answer.json()["error"]
        assert site.post("/upload/page/", content=json.dumps({"name": "a", "size": 1})).status_code == 503


@pytest.mark.parametrize("package", json.loads((EXAMPLE / "package.json").read_text())["dependencies"].items())
def test_the_page_is_tried_with_the_packages_that_it_names(package: tuple[str, str]) -> None:
    """`make test` installs them; see test_django_page.py."""
    assert f"{package[0]}@{package[1]} " in (PROJECT / "Makefile").read_text()


# -- before -----------------------------------------------------------------------------------------------------------


def test_the_view_of_before_does_the_same_while_the_browser_waits(tmp_path: Path, provider: Provider) -> None:
    bucket = {
        "AWS_STORAGE_BUCKET_NAME": "bucket", "AWS_S3_ENDPOINT_URL": provider.url, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret",
    }  # fmt: skip
    with Site(tmp_path, **bucket) as site:
        site.start(workers=0)
        answer = site.post("/upload/before/", files={"file": ("notes.txt", b"Remember the milk.")})
        assert answer.status_code == 201, answer.text
        media = site.media(answer.json()["id"])
    assert (media["state"], media["url"]) == ("succeeded", f"s3://bucket/files/{media['id']}/notes.txt")


# -- starting it, and its README --------------------------------------------------------------------------------------


def test_one_command_runs_both_and_ends_both(tmp_path: Path) -> None:
    code = shutil.copytree(EXAMPLE, tmp_path / "site", ignore=shutil.ignore_patterns(*NOT_OURS))
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("BUCKETLINE_", "AWS_"))}
    own |= {"PATH": f"{Path(sys.executable).parent}:{own['PATH']}", "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    own |= {"PORT": str(port), "API_PORT": str(free_port())}
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([code / "run"], env=own, stdout=log, stderr=log, start_new_session=True)
    try:
        said = lambda: (tmp_path / "log").read_text()  # noqa: E731
        eventually(lambda: "Bucketline is ready" in said() and "Quit the server" in said(), "both are there", PATIENCE)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as http:
            headers = {"X-CSRFToken": re.findall(r'"csrf": "(\w+)"', http.get("/").text)[0]}
            answer = http.post("/upload/path/", files={"file": ("notes.txt", b"milk")}, headers=headers)
            assert answer.status_code == 202, answer.text
            found = answer.json()["id"]
            eventually(lambda: http.get(f"/files/{found}/").json()["state"] == "succeeded", "it is told", PATIENCE)
        assert (code / "var" / "objects" / "files" / found / "notes.txt").read_bytes() == b"milk"
        running.terminate()
        assert running.wait(PATIENCE) == 0
        eventually(lambda: processes_of(code) == {}, "nothing of it is left", PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        print((tmp_path / "log").read_text()[-4000:])


def test_what_the_readme_shows_is_what_runs() -> None:
    sources = "\n".join(path.read_text() for folder in ("media", "project") for path in (EXAMPLE / folder).glob("*.py"))
    shown = [one.text for one in documents.blocks("examples/django/README.md") if one.language == "python"]
    assert len(shown) >= 7
    assert [text for text in shown if text not in sources] == []
