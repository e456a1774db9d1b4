"""The README, followed to the letter: its commands and snippets run against a stack that `bucketline up` started."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bucketline import Client
from tests import documents
from tests.documents import ROOT
from tests.servers import needs

WRITTEN = "http://127.0.0.1:8000"
INCOMING = "/srv/incoming"
FILM = bytes(range(256)) * 80_000  # some 20 MB: two parts
NOTES = b"Remember the milk.\n"


@dataclass
class Reader:
    """Somebody who reads the README and types what it says, in a folder with the files it talks about."""

    folder: Path
    url: str
    environ: dict[str, str]

    def runs(self, mark: str) -> str:
        """What the block with this mark prints; it must end without an error."""
        return self._run(["bash", "-euo", "pipefail", "-c", self._said(mark)])

    def runs_python(self, mark: str) -> str:
        return self._run([sys.executable, "-P", "-c", self._said(mark)])

    def _said(self, mark: str) -> str:
        written = documents.block("README.md", f"run: {mark}")
        return written.replace(WRITTEN, self.url).replace(INCOMING, str(self.folder))

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def stored(self, key: str) -> bytes:
        return (self.folder / "var" / "objects" / key).read_bytes()


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="bl-readme-") as name:
        folder = Path(name)
        (folder / "plugins.toml").write_bytes((ROOT / "plugins.toml").read_bytes())
        (folder / "holiday.mp4").write_bytes(FILM)
        (folder / "notes.txt").write_bytes(NOTES)
        _command(folder / "bin" / "bucketline")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("BUCKETLINE_", "AWS_"))}
        environ |= {"PATH": f"{folder / 'bin'}:{environ['PATH']}", "PYTHONPATH": str(ROOT)}
        environ |= {"BUCKETLINE_SOURCE_ROOTS": str(folder)}
        command = [sys.executable, "-P", "-m", "bucketline", "up", "--port", "0"]
        with (folder / "up.log").open("wb") as log:
            up = subprocess.Popen(
                command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert up.stdout is not None
        try:
            line = up.stdout.readline().decode()
            assert " at http" in line, (folder / "up.log").read_text()
            url = line.split(" at ")[1].strip()
            yield Reader(folder, url, environ | {"BUCKETLINE_URL": url})
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)
            up.stdout.close()


def _command(path: Path) -> None:
    """The command `bucketline`, as an installation would put it on the path."""
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m bucketline "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def client(reader: Reader) -> Iterator[Client]:
    with Client(reader.url) as client:
        yield client


def test_the_first_curl_is_answered_as_shown_and_the_file_arrives(reader: Reader, client: Client) -> None:
    answer = json.loads(reader.runs("first"))

    shown = json.loads(documents.block("README.md", "answer: first"))
    assert_shape(shown, answer)
    assert (answer["name"], answer["key"]) == (shown["name"], shown["key"])
    assert client.wait(answer["id"], timeout=100).succeeded
    assert reader.stored("films/holiday.mp4") == FILM


def assert_shape(shown: Any, real: Any, where: str = "") -> None:
    """Everything that is shown is there, with a value of the same kind."""
    if isinstance(shown, dict):
        assert shown.keys() <= real.keys(), f"{where}: {shown.keys() - real.keys()} is not in the answer"
        for name, value in shown.items():
            assert_shape(value, real[name], f"{where}/{name}")
    elif isinstance(shown, list):
        assert_shape(shown[0], real[0], f"{where}/0")
    elif shown is not None and real is not None:
        assert type(shown) is type(real), where


def test_looking_at_the_job(reader: Reader) -> None:
    reader.runs("first")

    said = reader.runs("look")

    assert '"state":"' in said
    assert '"number":1' in said
    assert "event: end" in said


def test_the_other_ways_in(reader: Reader, client: Client) -> None:
    form, waited, once, checked = [json.loads(line) for line in _documents_in(reader.runs("ways"))]

    assert "jobs" in form, form
    assert [job["name"] for job in form["jobs"]] == ["holiday.mp4", "notes.txt"]
    assert form["jobs"][0]["labels"] == {"album": "summer"}
    assert waited["state"] == "succeeded"
    assert waited["key"].endswith(f"/{waited['id']}/notes.txt")
    assert client.wait(once["id"], timeout=100).key == "once.txt"
    assert client.wait(checked["id"], timeout=100).succeeded
    assert reader.stored("notes.txt") == NOTES


def _documents_in(text: str) -> list[str]:
    """curl puts no line end behind an answer: split where one JSON object ends and the next begins."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        _, end = decoder.raw_decode(text)
        found.append(text[:end])
        text = text[end:]
    return found


def test_a_file_that_need_not_be_sent(reader: Reader, client: Client) -> None:
    answer = json.loads(reader.runs("path"))

    ended = client.wait(answer["id"], timeout=100)
    assert ended.succeeded
    assert reader.stored(answer["key"]) == FILM


def test_the_command(reader: Reader) -> None:
    said = reader.runs("command")

    assert "holiday.mp4" in said
    assert "succeeded" in said


def test_a_copy_and_a_resumable_upload_by_the_command(reader: Reader) -> None:
    reader.runs("copy")
    reader.runs("resumable")

    assert reader.stored("films/copy.mp4") == FILM
    assert reader.stored("films/resumable.mp4") == FILM


def test_a_resumable_upload(reader: Reader, client: Client) -> None:
    needs(importlib.util.find_spec("tusclient") is not None, "tuspy")
    before = {job.id for job in client.jobs(limit=50).items}

    reader.runs_python("tus")

    [new] = [job.id for job in client.jobs(limit=50).items if job.id not in before]
    assert client.wait(new, timeout=100).succeeded


def test_the_client(reader: Reader) -> None:
    said = reader.runs_python("client")

    assert said.split()[0] == "succeeded"
    assert said.split()[1].startswith("file://")
    assert said.split()[2] == "checksum"


def test_the_client_for_asyncio(reader: Reader) -> None:
    *events, states = reader.runs_python("async client").splitlines()

    assert events[-1] == "end succeeded"
    assert states == "['succeeded', 'succeeded']"
