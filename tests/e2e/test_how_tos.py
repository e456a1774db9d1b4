"""The pages of docs/how-to, followed to the letter: their marked blocks run one after the other, on a stack each."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bucketline import Client
from tests import documents
from tests.documents import ROOT
from tests.servers import eventually, needs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts `bucketline up`")

WRITTEN = "http://127.0.0.1:8000"
NOTES = b"Remember the milk.\n"
KEY = "a-key-of-the-tests-that-is-long-enough-0123456789"


@dataclass
class Reader:
    """Somebody who follows one page, in a folder with a stack of its own."""

    page: str
    folder: Path
    environ: dict[str, str]

    def runs(self, mark: str, before: str = "") -> str:
        """What the block with this mark prints; it must end without an error. `before` is what came before it."""
        text = (before + documents_of(self.page, f"run: {mark}")).replace(WRITTEN, self.environ["BUCKETLINE_URL"])
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def client(self) -> Client:
        return Client(self.environ["BUCKETLINE_URL"], KEY)

    def stored(self, name: str) -> dict[str, bytes]:
        root = self.folder / name
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def documents_of(page: str, mark: str) -> str:
    """The block with this mark; in a list it is indented, and the indent is no part of it."""
    text = documents.read(f"docs/how-to/{page}.md")
    found = re.search(rf"^( *)<!-- {mark} -->\n *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no block {mark!r}"
    return re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)


@contextmanager
def reading(page: str, plugins: str) -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="bl-how-") as name:
        folder = Path(name)
        (folder / "plugins.toml").write_text(plugins)
        (folder / "notes.txt").write_bytes(NOTES)
        (folder / "bin").mkdir()
        (folder / "bin" / "bucketline").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m bucketline "$@"\n')
        (folder / "bin" / "bucketline").chmod(0o755)
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("BUCKETLINE_", "AWS_"))}
        environ |= {"PATH": f"{folder / 'bin'}:{environ['PATH']}", "PYTHONPATH": str(ROOT), "BUCKETLINE_API_KEY": KEY}
        with (folder / "up.log").open("wb") as log:
            up = subprocess.Popen(
                [sys.executable, "-P", "-m", "bucketline", "up", "--port", "0"],
                cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert up.stdout is not None
        try:
            line = up.stdout.readline().decode()
            assert " at http" in line, (folder / "up.log").read_text()
            yield Reader(page, folder, environ | {"BUCKETLINE_URL": line.split(" at ")[1].strip()})
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)
            up.stdout.close()


MEDIA = '[destinations.media]\nbackend = "local"\nroot = "media"\n'
FAILING = MEDIA + 'faults = { error_rate = 1.0, error = "access_denied" }\n'


def test_moving_clouds() -> None:
    with reading("move-clouds", documents_of("move-clouds", "plugins: both")) as reader, reader.client() as client:
        assert "new" in reader.runs("prove")
        keys = [f"albums/{number}.txt" for number in range(3)]
        for key in keys:
            assert client.wait(client.submit(reader.folder / "notes.txt", destinations=["old"], key=key).id).succeeded
        (reader.folder / "keys.txt").write_text("".join(f"{key}\n" for key in keys))

        reader.runs("carry")
        reader.runs("carry")  # broken off, and begun again

        eventually(lambda: all(job.ended for job in client.jobs(limit=50).items), "all jobs have ended", 60)
        assert all(job.succeeded for job in client.jobs(limit=50).items)
        assert reader.stored("new") == dict.fromkeys(keys, NOTES) == reader.stored("old")
        assert reader.runs("left").count("albums/") == 0

        (reader.folder / "plugins.toml").write_text(documents_of("move-clouds", "plugins: new"))
        eventually(lambda: "old" not in {one["name"] for one in client.destinations()}, "the file is read again", 60)
        assert client.wait(client.submit(reader.folder / "notes.txt", key="last.txt").id).succeeded
        assert "last.txt" in reader.stored("new") and "last.txt" not in reader.stored("old")


def test_a_mirror() -> None:
    plugins = documents_of("mirror", "plugins: mirror")
    broken = plugins.replace(
        'root         = "archive"', 'root = "archive"\nfaults = { error_rate = 1.0, error = "store_full" }'
    )
    assert broken != plugins
    with reading("mirror", broken) as reader, reader.client() as client:
        job = client.wait(client.submit(reader.folder / "notes.txt", destinations=["everywhere"], key="first.txt").id)
        assert job.state == "partially_succeeded"

        (reader.folder / "plugins.toml").write_text(plugins)
        eventually(lambda: retried(reader, job.id), "the mended file is in force", 60)

        reader.runs("mirror")
        assert reader.stored("media") == reader.stored("archive") == {"first.txt": NOTES, "notes.txt": NOTES}


def retried(reader: Reader, job: str) -> bool:
    reader.runs("retry")
    with reader.client() as client:
        return client.wait(job, timeout=60).succeeded


def test_tuning() -> None:
    with reading("tune", documents_of("tune", "plugins: tuned")) as reader:
        assert '"jobs":' in reader.runs("stats")


def test_recovering() -> None:
    with reading("recover", FAILING) as reader, reader.client() as client:
        job = client.wait(client.submit(reader.folder / "notes.txt", destinations=["media"], key="a.txt").id)
        assert job.state == "failed"
        with pytest.raises(AssertionError, match="Access to the destination was denied"):
            reader.runs("look")  # the last command says so, by its exit code, too

        (reader.folder / "plugins.toml").write_text(MEDIA)
        eventually(lambda: retried(reader, job.id), "the mended file is in force", 60)

        assert '"ready":true' in reader.runs("look").replace(" ", "")
        assert reader.stored("media")["a.txt"] == NOTES


def test_securing() -> None:
    with reading("secure", MEDIA) as reader:
        made = documents_of("secure", "run: keys") + documents_of("secure", "run: token")

        said = reader.runs("revoke", made)

        assert "photo site" in said
        assert '"token":"blt_' in said
        assert "mint_token" in said.partition("ACTION")[2], "the audit log has what the key did"


def test_the_view_of_a_django_site_answers_with_its_job() -> None:
    needs(importlib.util.find_spec("django") is not None, "django")
    asked = """
from django.conf import settings
settings.configure()
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory
answer = upload(RequestFactory().post("/", {"file": SimpleUploadedFile("notes.txt", b"Remember the milk.\\n")}))
print(answer.status_code, answer.content.decode())
"""
    with reading("slow-endpoint", MEDIA) as reader, reader.client() as client:
        text = documents_of("slow-endpoint", "run: view").replace(WRITTEN, reader.environ["BUCKETLINE_URL"])
        done = subprocess.run(
            [sys.executable, "-P", "-c", text + asked],
            cwd=reader.folder, env=reader.environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        status, _, body = done.stdout.partition(" ")
        assert status == "202"
        [job] = client.jobs().items
        assert job.id in body
        assert client.wait(job.id, timeout=60).succeeded
        assert reader.stored("media") == {"users/7/notes.txt": NOTES}
