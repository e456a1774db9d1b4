"""The page of the Django example in a real browser: Uppy uploads past Django, through cuts, and the rows fill up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.backends.proxy import Proxy
from tests.e2e.browser import Browser
from tests.e2e.django_site import Site
from tests.e2e.stack import PATIENCE
from tests.servers import eventually, needs, program

MODULES = Path(sys.prefix) / "node" / "node_modules"
UPPY = ".uppy-Dashboard-AddFiles input[type=file]:not([webkitdirectory])"
FILM = bytes(range(256)) * 40_000  # some 10 MB


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Proxy]]:
    """A browser that reaches Bucketline through a line that can break, and a page built as `npm run build` does."""
    program("chromium"), program("node")
    needs((MODULES / "@uppy" / "dashboard").is_dir(), "@uppy/dashboard")
    with Site(tmp_path_factory.mktemp("page")) as site:
        build = [MODULES / ".bin" / "esbuild", "frontend/page.js", "--bundle", "--outdir=media/static/media"]
        told = {**os.environ, "NODE_PATH": str(MODULES)}
        subprocess.run(build, cwd=site.code, env=told, check=True, capture_output=True, timeout=PATIENCE)
        site.stack.start()
        with Proxy(urlsplit(site.stack.talk.url).port or 0) as proxy:
            site.environ["PAGE_BUCKETLINE_URL"] = f"http://127.0.0.1:{proxy.port}"
            yield site.start_django(), proxy


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, site: tuple[Site, Proxy]) -> Iterator[Browser]:
    chromium.open(site[0].url)
    yield chromium
    assert chromium.errors == []


def the_row(site: Site, browser: Browser) -> tuple[str, bytes]:
    """The id of the file that the page watched, and its bytes in the bucket, once page and model say it is there."""
    browser.until("document.querySelector('#files tr:has(progress)')?.dataset.state === 'succeeded'")
    found = str(browser.evaluate("document.querySelector('#files tr:has(progress)').dataset.id"))
    name = site.until(found, "succeeded")["name"]
    return found, (site.bucket / "files" / found / name).read_bytes()


def what_is_coming(site: Site) -> str:
    """The id of the file whose upload has begun to arrive."""

    def coming() -> list[str]:
        jobs = site.stack.talk.http.get("/v1/jobs?state=receiving").json()["items"]
        return [job["key"].split("/")[1] for job in jobs if job["received"] > 1 << 18]

    eventually(lambda: bool(coming()), "bytes are coming", PATIENCE)
    return coming()[0]


def test_uppy_goes_on_after_a_cut(site: tuple[Site, Proxy], browser: Browser, tmp_path: Path) -> None:
    django, proxy = site
    film = tmp_path / "film.mp4"
    film.write_bytes(FILM)
    browser.until(f"document.querySelector({UPPY!r}) !== null")
    browser.upload_speed(1 << 20)
    browser.choose(UPPY, film)
    browser.click(".uppy-StatusBar-actionBtn--upload")

    coming = what_is_coming(django)
    proxy.cut()
    browser.upload_speed(-1)
    found, stored = the_row(django, browser)

    assert (found, stored) == (coming, FILM)
    jobs = django.stack.talk.http.get("/v1/jobs").json()["items"]
    assert [job["state"] for job in jobs if job["key"].startswith(f"files/{found}/")] == ["succeeded"]
    browser.open(django.url)
    assert browser.text(f"[data-id='{found}'] .state") == "succeeded"


def test_who_changes_his_mind_twice(site: tuple[Site, Proxy], browser: Browser, tmp_path: Path) -> None:
    """An upload that is taken back ends as cancelled; the same file may come again."""
    django, _ = site
    film = tmp_path / "again.mp4"
    film.write_bytes(FILM)
    browser.until(f"document.querySelector({UPPY!r}) !== null")
    browser.upload_speed(1 << 20)
    browser.choose(UPPY, film)
    browser.click(".uppy-StatusBar-actionBtn--upload")
    first = what_is_coming(django)
    browser.click(".uppy-Dashboard-Item-action--remove")
    browser.upload_speed(-1)
    django.until(first, "cancelled")

    browser.until(f"document.querySelector({UPPY!r}) !== null")
    browser.choose(UPPY, film)
    browser.click(".uppy-StatusBar-actionBtn--upload")
    found, stored = the_row(django, browser)
    assert (found != first, stored) == (True, FILM)


@pytest.mark.parametrize("way", ["path", "http"])
def test_a_form_hands_over_and_the_row_fills_up(
    site: tuple[Site, Proxy], browser: Browser, tmp_path: Path, way: str
) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"Remember the milk.")
    browser.choose(f"form[action='/upload/{way}/'] input[type=file]", file)
    browser.click(f"form[action='/upload/{way}/'] button")

    assert the_row(site[0], browser)[1] == b"Remember the milk."


def test_a_refusal_is_shown(site: tuple[Site, Proxy], browser: Browser, tmp_path: Path) -> None:
    """A name that no destination takes."""
    file = tmp_path / "a::b.txt"
    file.write_bytes(b"x")
    browser.choose("form[action='/upload/http/'] input[type=file]", file)
    browser.click("form[action='/upload/http/'] button")

    browser.until("document.querySelector(\"form[action='/upload/http/'] output\").textContent.length > 1")
    assert "::" in browser.text("form[action='/upload/http/'] output")
