"""What the documents say of uploads from a browser: key, token and page, in Chromium, beside a real Bucketline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Browser
from tests.e2e.reading import FILM, KEY, NOTES, Reader, reading
from tests.e2e.stack import PATIENCE
from tests.servers import needs, program
from tests.web import Page, WebServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts `bucketline up`")

MODULES = Path(sys.prefix) / "node" / "node_modules"
UPPY = ".uppy-Dashboard-AddFiles input[type=file]:not([webkitdirectory])"
HTML = '<!doctype html><title>A page</title><link rel="icon" href="data:,"><div id="files"></div>'
UPPY_HTML = HTML.replace('id="files"', 'id="files" data-token="{token}"') + '<script src="page.js"></script>'
MEDIA = '[destinations.media]\nbackend = "local"\nroot = "media"\n'


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """The site of the page; what it loads comes from there too."""
    with WebServer() as web:
        headers = {"Content-Type": "text/html"}
        web.pages["/"] = Page(HTML.encode(), headers=headers)
        yield web


@pytest.fixture(scope="module")
def reader(web: WebServer) -> Iterator[Reader]:
    with reading(MEDIA, BUCKETLINE_CORS_ORIGINS=web.url) as reader:
        yield reader


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    assert chromium.errors == []
    chromium.leave()


def made_token(reader: Reader, page: str, mark: str, key: str) -> str:
    """As the view makes it, for user 7."""
    known = f"from types import SimpleNamespace\nfrom bucketline import Client\nurl, key = {reader.url!r}, {key!r}\n"
    made = reader.runs_python(
        page, mark.removeprefix("run: "), f"{known}user = SimpleNamespace(id=7)\n", "\nprint(token)"
    )
    assert made.startswith("blt_"), "what goes to the page is the token's text"
    return made.strip()


def test_a_form_of_the_page(reader: Reader, browser: Browser, web: WebServer) -> None:
    told = made_token(reader, "docs/security.md", "run: view", KEY)
    browser.open(web.url + "/")
    code = reader.said("docs/security.md", "run: page")
    assert browser.evaluate(f"window.send = async (url, token, file, done) => {{\n{code}\n}}; true")

    browser.evaluate(
        f"send({reader.url!r}, {told!r}, new File([{NOTES.decode()!r}], 'notes.txt'),"
        " (event) => { window.ended = JSON.parse(event.data); })"
    )
    browser.until("window.ended !== undefined")

    assert browser.evaluate("ended.state") == "succeeded"
    assert reader.stored(f"media/{browser.evaluate('ended.key')}") == NOTES
    assert browser.evaluate("ended.key").startswith("users/7/")


def test_uppy_with_a_token(reader: Reader, browser: Browser, web: WebServer) -> None:
    program("node")
    needs((MODULES / "@uppy" / "dashboard").is_dir(), "@uppy/dashboard")
    page = "docs/how-to/browser-uploads.md"
    told = reader.runs(page, "settings", after="\necho $BUCKETLINE_CORS_ORIGINS ${#BUCKETLINE_API_KEY}")
    assert told.split() == ["https://photos.example", "64"]
    key = reader.runs(page, "key", after="\necho $KEY").strip()
    token = made_token(reader, page, "run: token", key)
    web.pages["/uppy"] = Page(UPPY_HTML.replace("{token}", token).encode(), headers={"Content-Type": "text/html"})
    said = "window.said = []; console.log = (...words) => window.said.push(words.join(' '));\n"
    (reader.folder / "page.js").write_text(reader.said(page, "run: page") + said + reader.said(page, "run: follow"))
    build = [MODULES / ".bin" / "esbuild", "page.js", "--bundle", "--outdir=built", "--format=iife"]
    environ = {**os.environ, "NODE_PATH": str(MODULES)}
    subprocess.run(build, cwd=reader.folder, env=environ, check=True, capture_output=True, timeout=PATIENCE)
    web.pages["/page.js"] = Page(
        (reader.folder / "built" / "page.js").read_bytes(), headers={"Content-Type": "text/javascript; charset=utf-8"}
    )

    browser.open(web.url + "/uppy")
    browser.until(f"document.querySelector({UPPY!r}) !== null")
    browser.choose(UPPY, reader.folder / "film.mp4")
    browser.click(".uppy-StatusBar-actionBtn--upload")
    browser.until("document.querySelector('.uppy-StatusBar.is-complete') !== null")

    browser.until("window.said.some((one) => one.startsWith('film.mp4 succeeded'))")
    with reader.client() as client:
        [job] = [job for job in client.jobs(limit=50).items if job.name == "film.mp4"]
        job = client.wait(job.id, timeout=60)
    assert job.succeeded and job.key == f"users/7/{job.id}/film.mp4"
    assert reader.stored(f"media/{job.key}") == FILM
