"""Somebody who follows the pages of docs/, in a folder with the files that they talk about and a Bucketline."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.base import Properties
from backends.body import BytesBody
from backends.config import load
from bucketline import Client
from tests import documents
from tests.documents import ROOT
from tests.servers import write_private

WRITTEN = "http://127.0.0.1:8000"
"""The address in the documents."""
KEY = "a-key-of-the-tests-that-is-long-enough-0123456789"
NOTES = b"Remember the milk.\n"
FILM = bytes(range(256)) * 40_000


@dataclass
class Reader:
    """Types what a page says. What the page calls otherwise here is in `instead`, by what stands there."""

    folder: Path
    environ: dict[str, str]
    instead: dict[str, str]

    @property
    def url(self) -> str:
        return self.environ["BUCKETLINE_URL"]

    def said(self, page: str, mark: str) -> str:
        """The block with this mark, with the names of this place."""
        text = documents.block(page, mark)
        for there, here in {WRITTEN: self.url, **self.instead}.items():
            text = text.replace(there, here)
        return text

    def runs(self, page: str, mark: str, before: str = "", after: str = "", **environ: str) -> str:
        """What the block prints in a shell; it must end without an error. `before` is what came before it."""
        text = before + self.said(page, f"run: {mark}") + after
        return self._run(["bash", "-euo", "pipefail", "-c", text], environ)

    def runs_python(self, page: str, mark: str, before: str = "", after: str = "") -> str:
        return self._run([sys.executable, "-P", "-c", before + self.said(page, f"run: {mark}") + after], {})

    def _run(self, command: list[str], environ: dict[str, str]) -> str:
        told = self.environ | environ
        done = subprocess.run(command, cwd=self.folder, env=told, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def client(self) -> Client:
        return Client(self.url, KEY)

    def stored(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()


@contextmanager
def reading(plugins: str, **environ: str) -> Iterator[Reader]:
    """`bucketline up` with this plugins.toml. curl brings the key: the pages leave it out where it is not the point."""
    with tempfile.TemporaryDirectory(prefix="bl-read-") as name:
        folder = Path(name)
        _lay_out(folder, plugins)
        own = {k: v for k, v in os.environ.items() if not k.startswith(("BUCKETLINE_", "AWS_"))}
        own |= {"PATH": f"{folder / 'bin'}:{own['PATH']}", "PYTHONPATH": str(ROOT), "CURL_HOME": str(folder / "curl")}
        own |= {"BUCKETLINE_API_KEY": KEY, **{name: text.format(folder=folder) for name, text in environ.items()}}
        with (folder / "up.log").open("wb") as log:
            up = subprocess.Popen(
                [sys.executable, "-P", "-m", "bucketline", "up", "--port", "0"],
                cwd=folder, env=own, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert up.stdout is not None
        try:
            line = up.stdout.readline().decode()
            assert " at http" in line, (folder / "up.log").read_text()
            (folder / "up.out").write_text(line)
            yield Reader(folder, own | {"BUCKETLINE_URL": line.split(" at ")[1].strip()}, {})
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)
            up.stdout.close()


def _lay_out(folder: Path, plugins: str) -> None:
    write_private(folder / "plugins.toml", plugins)
    (folder / "notes.txt").write_bytes(NOTES)
    for film in ("film.mp4", "holiday.mp4"):
        (folder / film).write_bytes(FILM)
    for directory in ("bin", "curl"):
        (folder / directory).mkdir()
    (folder / "bin" / "bucketline").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m bucketline "$@"\n')
    (folder / "bin" / "bucketline").chmod(0o755)
    (folder / "curl" / ".curlrc").write_text(f'header = "Authorization: Bearer {KEY}"\nsilent\nfail-with-body\n')


def begun_long_ago(folder: Path, key: str, days: int = 30) -> Path:
    """An upload that a local destination in `folder` began so many days ago and did not end."""
    (folder.parent / "begun.toml").write_text(f'[destinations.there]\nbackend = "local"\nroot = "{folder}"\n')
    backend = load(folder.parent / "begun.toml", {}).destinations["there"].build()
    backend.put_part(backend.begin(key, size=1, part_size=1, properties=Properties()), 1, BytesBody(b"x"))
    backend.close()
    (made,) = folder.rglob(f".{Path(key).name}.*")
    begun = int((time.time() - days * 86400) * 1000)
    # The name holds an id, which begins with the time.
    return made.rename(made.with_name(re.sub(r"[0-9a-f]{12}(?=[0-9a-f]{8}\.bucketline)", f"{begun:012x}", made.name)))
