"""The pages of docs/how-to, followed to the letter: their marked blocks run one after the other, on a stack each."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bucketline import Client
from tests import documents
from tests.e2e.reading import NOTES, Reader
from tests.e2e.reading import reading as somebody_reading
from tests.servers import eventually, needs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts `bucketline up`")


@dataclass
class HowTo:
    """One page, and who follows it."""

    page: str
    reader: Reader

    @property
    def folder(self) -> Path:
        return self.reader.folder

    def runs(self, mark: str, before: str = "", after: str = "") -> str:
        # The pages bring the key to curl themselves, where it needs one.
        return self.reader.runs(f"docs/how-to/{self.page}.md", mark, before, after, CURL_HOME=str(self.folder))

    def said(self, mark: str) -> str:
        return self.reader.said(f"docs/how-to/{self.page}.md", mark)

    def client(self) -> Client:
        return self.reader.client()

    def stored(self, name: str) -> dict[str, bytes]:
        root = self.folder / name
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def documents_of(page: str, mark: str) -> str:
    return documents.block(f"docs/how-to/{page}.md", mark)


@contextmanager
def reading(page: str, plugins: str) -> Iterator[HowTo]:
    with somebody_reading(plugins) as reader:
        yield HowTo(page, reader)


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


def retried(reader: HowTo, job: str) -> bool:
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
        made = reader.said("run: keys") + reader.said("run: token")

        key = reader.runs("bootstrap", "echo() { printenv BUCKETLINE_API_KEY; }; trap echo EXIT\n").strip()
        said = reader.runs("revoke", made)

        assert re.fullmatch("[0-9a-f]{64}", key)
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
        done = reader.reader.runs_python("docs/how-to/slow-endpoint.md", "view", after=asked)
        status, _, body = done.partition(" ")
        assert status == "202"
        [job] = client.jobs().items
        assert job.id in body
        assert client.wait(job.id, timeout=60).succeeded
        assert reader.stored("media") == {"users/7/notes.txt": NOTES}
