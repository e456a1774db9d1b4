"""The main job: a real file of hundreds of megabytes, sent with curl, arrives in S3 and in a directory, watched."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import PATIENCE, Json, MakeStack
from tests.servers import S3Server, eventually, program

SIZE = 200 << 20


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "Ferienfilm 夏 №1.mp4"
    with path.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    return path


class Watcher:
    """Reads a stream of events in a thread of its own, until it ends."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[str, str, Json]] = []
        self._stopped = False
        self._url = url
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            self._read()
        except httpx.TransportError:
            assert self._stopped, "the stream broke"

    def _read(self) -> None:
        with httpx.stream("GET", self._url, timeout=PATIENCE, trust_env=False) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            for fields in frames(answer.iter_lines()):
                if "data" in fields:
                    self.seen.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
                if self._stopped:
                    return

    def of(self, job: str) -> list[tuple[str, str, Json]]:
        return [row for row in list(self.seen) if row[2]["id"] == job]

    def stop(self) -> None:
        self._stopped = True

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the stream does not end"


def frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The fields of each frame, comments left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif not line:
            yield fields
            fields = {}


def check_figures(events: list[tuple[str, str, Json]]) -> None:
    """What was received and sent only grows, as a whole and per destination."""
    seen: dict[str, int] = {}
    for _, _, job in events:
        figures = {"received": job["received"], "sent": job["sent"]}
        figures |= {one["destination"]: one["sent"] for one in job.get("transfers") or []}
        for name, figure in figures.items():
            assert figure >= seen.get(name, 0), f"{name} went back from {seen[name]} to {figure}"
            seen[name] = figure


def test_curl_to_s3_and_a_directory_with_progress(make_stack: MakeStack, rclone_s3: S3Server, film: Path) -> None:
    bucket = rclone_s3.make_bucket("films")
    stack = make_stack(
        rclone_s3.toml("archive", bucket)
        + '[destinations.media]\nbackend = "local"\nroot = "objects"\n'
        + '[routes.everywhere]\nmirror = ["archive", "media"]\n',
        BUCKETLINE_THREADS="8",
    )
    stack.config.write_text('default = "everywhere"\n' + stack.config.read_text())
    stack.start()
    everything = Watcher(f"{stack.talk.url}/v1/events")
    url = f"{stack.talk.url}/v1/objects/everywhere/2026/%E5%A4%8F.mp4"
    words = [program("curl"), "--silent", "--show-error", "--fail-with-body", "-T", str(film), url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(done.stdout)["id"]
    mine = Watcher(f"{stack.talk.url}/v1/jobs/{job}/events")
    found = stack.check_end(job)
    mine.join()

    for copy in (rclone_s3.stored(bucket, "2026/夏.mp4"), stack.directory / "objects" / "2026" / "夏.mp4"):
        assert digest(copy) == digest(film), copy
    assert (found["size"], found["received"], found["sent"]) == (SIZE, SIZE, SIZE)
    assert {one["destination"]: one["state"] for one in found["transfers"]} == {
        "archive": "succeeded",
        "media": "succeeded",
    }
    assert all(one["parts"]["sent"] == one["parts"]["total"] > 1 for one in found["transfers"])
    check_watched(mine)
    eventually(lambda: any(kind == "end" for _, kind, _ in everything.of(job)), "the end is in the feed of all jobs")
    everything.stop()
    check_figures(everything.of(job))
    assert [kind for _, kind, _ in everything.of(job)].count("end") == 1


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_watched(mine: Watcher) -> None:
    kinds = [kind for _, kind, _ in mine.seen]
    assert kinds[0] in ("snapshot", "end")
    assert kinds[-1] == "end"
    assert kinds.count("end") == 1
    check_figures(mine.seen)
    end_id, _, end = mine.seen[-1]
    assert (end["state"], end["sent"]) == ("succeeded", SIZE)
    # Who has seen the end is told that there is no more; who has seen less, gets the rest.
    again = httpx.get(mine._url, headers={"Last-Event-ID": end_id}, timeout=PATIENCE, trust_env=False)
    assert again.status_code == 204
    from_the_start = Watcher(f"{mine._url}?last_event_id=0-0")
    from_the_start.join()
    assert from_the_start.seen[-1][2] == end
