"""Imports from the web: jobs whose source is a URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from backends.addresses import Rules
from backends.checksums import crc32c, crc32c_text
from backends.config import load
from backends.credentials import Credential
from backends.web import Web
from engine import operations
from engine.errors import Invalid
from engine.looking import look
from engine.models import Sidecar, SubmitOptions
from engine.plugins_file import PluginsFile
from engine.service import AsyncService
from engine.submission import Desk
from tests.engine.rig import PART, Rig
from tests.engine.serving import Drawer, sha256
from tests.engine.test_stored_sources import error_of, work
from tests.web import Page, WebServer

BIG = os.urandom(PART * 3 + 5)


@pytest.fixture
def server(rig: Rig, service: AsyncService) -> Iterator[WebServer]:
    """A web server that the rig's worker and the service may reach."""
    with WebServer() as found:
        found.pages["/films/film.mp4"] = Page(BIG)
        allowed = msgspec.structs.replace(rig.settings, import_allow=("127.0.0.1",), import_ports=(found.port,))
        rig.runtime.settings = service.settings = service.desk.settings = allowed
        yield found


async def submit(service: AsyncService, url: str, *, credentials: str | None = None, **options: Any) -> str:
    """A job, by its id; its tokens are in the drawer."""
    source = {"url": url} | ({"credentials": credentials} if credentials else {})
    spec = service.prepare(SubmitOptions(source=source, **options), size=None, owner="bootstrap")
    return str((await service.submit_source(spec))["id"])


def film(server: WebServer) -> str:
    return f"{server.url}/films/film.mp4"


# -- in ranges --------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_in_ranges_and_never_spooled(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    job = await submit(service, film(server) + "?token=secret")
    before, _ = await service.job(job)
    assert before["source"] == {
        "kind": "url", "url": film(server) + "?…", "credentials": None, "available_until": None,
    }  # fmt: skip
    assert (before["name"], before["key"], before["size"]) == ("film.mp4", None, None)
    work(rig, drawer)
    view, _ = await service.job(job)
    assert (view["state"], view["size"], view["key"], view["content_type"]) == (
        "succeeded", len(BIG), f"{job}/film.mp4", "video/mp4",
    )  # fmt: skip
    assert rig.space.read(view["key"]) == BIG
    assert view["checksums"]["crc32c"] == crc32c_text(crc32c(BIG)).removeprefix("crc32c:")
    assert sorted(server.ranges("/films/film.mp4")) == sorted(
        ["bytes=0-0", f"bytes=0-{PART - 1}", f"bytes={PART}-{2 * PART - 1}", f"bytes={2 * PART}-{3 * PART - 1}",
         f"bytes={3 * PART}-{3 * PART + 4}"]
    )  # fmt: skip
    assert "secret" not in str(view)
    rig.bury()
    assert rig.files() == []


async def test_name_and_type_as_the_server_tells_them(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    server.pages["/get"] = Page(
        BIG, headers={"Content-Disposition": 'attachment; filename="../a/summer.mov"', "Content-Type": "video/x-own"}
    )
    named = await submit(service, f"{server.url}/get")
    mine = await submit(service, f"{server.url}/get", name="mine.bin", content_type="text/own")
    work(rig, drawer)
    view, _ = await service.job(named)
    assert (view["state"], view["name"], view["key"], view["content_type"]) == (
        "succeeded", "summer.mov", f"{named}/summer.mov", "video/x-own",
    )  # fmt: skip
    view, _ = await service.job(mine)
    assert (view["state"], view["name"], view["content_type"]) == ("succeeded", "mine.bin", "text/own")


async def test_a_server_that_changes_its_file_midway(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    page = server.pages["/films/film.mp4"]

    def change(headers: dict[str, str]) -> None:
        if headers.get("range", "").startswith(f"bytes={2 * PART}-"):
            page.data, page.etag = BIG[::-1], '"two"'

    page.before = change
    job = await submit(service, film(server), key="film")
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "source_changed")
    assert rig.space.objects == {}
    assert rig.space.uploads == {}


@pytest.mark.parametrize("change", [{"etag": '"two"'}, {"data": BIG + b"x"}, {"etag": 'W/"one"'}, {"ranges": False}])
async def test_a_server_that_ignores_if_range_is_found_out(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer, change: dict[str, Any]
) -> None:
    page = server.pages["/films/film.mp4"]
    page.honours_if_range = False
    job = await submit(service, film(server), key="film")
    rig.work(f"{job}/0")
    for name, value in change.items():
        setattr(page, name, value)
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "source_changed")


async def test_a_date_pins_where_there_is_no_tag(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    page = server.pages["/films/film.mp4"]
    page.etag, page.modified = "", "Wed, 25 Nov 2026 22:00:00 GMT"
    job = await submit(service, film(server), key="film")
    rig.work(f"{job}/0")
    page.modified = "Wed, 25 Nov 2026 22:00:01 GMT"
    work(rig, drawer)
    assert error_of(rig, job) == "source_changed"
    page.modified = "Wed, 25 Nov 2026 22:00:00 GMT"
    await service.command(job, "retry")
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == BIG


async def test_a_range_that_is_cut_is_asked_for_again(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    page = server.pages["/films/film.mp4"]
    cuts = iter([100])

    def cut(headers: dict[str, str]) -> None:
        page.cut_at = next(cuts, None) if headers.get("range") == f"bytes=0-{PART - 1}" else None

    page.before = cut
    job = await submit(service, film(server), key="film")
    work(rig, drawer)
    rig.books.later(5)
    rig.work(f"{job}/0", lane="parts")
    rig.work_all()
    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == BIG
    assert server.ranges("/films/film.mp4").count(f"bytes=0-{PART - 1}") == 2


# -- through the spool ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, len(BIG)])
@pytest.mark.parametrize(
    "how", [{"ranges": False}, {"etag": ""}, {"etag": 'W/"x"'}, {"ranges": False, "chunked": True}]
)
async def test_a_server_without_ranges_or_pins_is_read_once(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer, how: dict[str, Any], size: int
) -> None:
    server.pages["/films/film.mp4"] = Page(BIG[:size], **how)
    job = await submit(service, film(server), destinations=["media", "archive"])
    rig.work(f"{job}/0")
    assert "path.json" not in str(rig.files())
    assert rig.job(job)["size"] == str(size)
    server.pages.clear()
    work(rig, drawer)
    rig.work(f"{job}/1")
    rig.work_all()
    view, _ = await service.job(job)
    assert view["state"] == "succeeded"
    assert rig.space.read(view["key"]) == rig.archive.read(view["key"]) == BIG[:size]
    assert view["checksums"]["crc32c"] == crc32c_text(crc32c(BIG[:size])).removeprefix("crc32c:")
    rig.bury()
    assert rig.files() == []


async def test_a_checksum_and_a_key_of_the_content(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    job = await submit(service, film(server), key_template="{sha256}.{ext}", checksum=f"sha256:{sha256(BIG)}")
    work(rig, drawer)
    assert rig.state(job) == "succeeded"
    assert rig.space.read(f"{sha256(BIG)}.mp4") == BIG


async def test_a_wrong_checksum_keeps_nothing(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    job = await submit(service, film(server), key="film", checksum="sha256:" + "0" * 64)
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "checksum_mismatch")
    assert rig.space.objects == {}
    assert rig.files() == [f"{job}.path.json"]
    assert list((rig.settings.spool / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (Page(BIG, ranges=False), "too_large"),
        (Page(BIG), "too_large"),
        (Page(BIG, ranges=False, chunked=True), "too_large"),
        (Page(endless=True), "too_large"),
        (Page(BIG, headers={"Content-Encoding": "gzip"}), "source_refused"),
        (Page(BIG, ranges=False, unbounded=True), "source_refused"),
        (Page(status=404), "source_missing"),
        (Page(status=403), "source_refused"),
        (Page(status=302, headers={"Location": "http://169.254.169.254/latest/"}), "address_refused"),
        (Page(status=302, headers={"Location": "http://10.0.0.1/"}), "address_refused"),
        (Page(status=302, headers={"Location": "file:///etc/passwd"}), "address_refused"),
    ],
)
async def test_what_cannot_be_imported(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer, page: Page, code: str
) -> None:
    limited = msgspec.structs.replace(rig.runtime.settings, max_size=len(BIG) - 1)
    rig.runtime.settings = limited
    rig.spool._max_size = limited.max_size
    server.pages["/films/film.mp4"] = page
    job = await submit(service, film(server), key="film")
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", code)
    assert rig.space.objects == {}
    assert list((rig.settings.spool / "incoming").iterdir()) == []


async def test_a_download_that_is_cut_begins_again(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    server.pages["/films/film.mp4"] = Page(BIG, ranges=False, cut_at=1000)
    job = await submit(service, film(server), key="film")
    work(rig, drawer)
    view, _ = await service.job(job)
    assert (view["size"], view["received"]) == (None, 1000), "how far it was can be seen"
    assert rig.state(job) == "running"
    assert list((rig.settings.spool / "incoming").iterdir()) == []
    server.pages["/films/film.mp4"].cut_at = None
    rig.books.later(5)
    rig.work(f"{job}/0")
    rig.work_all()
    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == BIG


async def test_a_worker_that_died_midway_leaves_nothing_in_the_way(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    server.pages["/films/film.mp4"].ranges = False
    job = await submit(service, film(server), key="film")
    rig.books.lease(f"{job}/0")
    (rig.settings.spool / "incoming" / job).write_bytes(b"half of it")
    rig.books.later(60)
    work(rig, drawer)
    rig.work(f"{job}/0")
    rig.work_all()
    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == BIG


async def test_a_worker_that_died_behind_the_download_need_not_repeat_it(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    server.pages["/films/film.mp4"].ranges = False
    job = await submit(service, film(server), key="film")
    held = rig.books.lease(f"{job}/0")
    look(rig.runtime, held)
    server.pages.clear()
    assert len(rig.files()) == 2
    rig.books.later(60)
    work(rig, drawer)
    rig.work(f"{job}/0")
    rig.work_all()
    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == BIG


async def test_a_download_stops_when_its_job_is_cancelled(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    page = server.pages["/films/film.mp4"]
    page.ranges = False
    job = await submit(service, film(server), key="film")
    page.before = lambda headers: rig.books.run(operations.command(job, "cancel")) and None
    work(rig, drawer)
    assert (rig.state(job), rig.job(job)["received"]) == ("cancelled", "0")
    assert rig.files() == [f"{job}.path.json"], "the sweeper has not looked yet"


async def test_a_job_that_was_cancelled_behind_the_download_leaves_nothing(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.importing._tell", lambda *args: None)  # it does not notice in time
    page = server.pages["/films/film.mp4"]
    page.ranges = False
    job = await submit(service, film(server), key="film")
    page.before = lambda headers: rig.books.run(operations.command(job, "cancel")) and None
    work(rig, drawer)
    assert rig.state(job) == "cancelled"
    rig.bury()
    assert rig.files() == []
    assert rig.space.objects == {}


async def test_redis_forgets_everything_behind_the_download(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    server.pages["/films/film.mp4"].ranges = False
    job = await submit(service, film(server), key="film")
    rig.work(f"{job}/0")
    server.pages.clear()
    rig.books.server.wipe()
    report = rig.reconcile()
    assert report.made_again == [job]
    for token in report.tokens:
        rig.work(*token)
    rig.work_all()
    assert rig.state(job) == "succeeded"
    assert rig.space.read("film") == BIG


async def test_bytes_in_the_spool_are_kept_as_long_as_those_of_a_body(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    server.pages["/films/film.mp4"].ranges = False
    job = await submit(service, film(server), key="film")
    rig.work(f"{job}/0")
    sidecar = msgspec.json.decode(rig.spool.read_sidecar(job) or b"", type=Sidecar)
    assert (sidecar.spec.source.held, sidecar.digest.sha256) == (True, None)
    rig.books.lose(f"{job}/0")
    view, _ = await service.job(job)
    assert view["source"]["available_until"] is not None
    rig.books.later(rig.settings.keep_failed_seconds + 1)
    assert rig.books.run(operations.command(job, "retry"))[0] == "source_gone"


# -- who may, and where to --------------------------------------------------------------------------------------------


async def test_credentials(service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer) -> None:
    key = Credential({"Authorization": "Bearer x"}, frozenset({server.url}))
    rig.runtime.configuration.credentials["partner"] = service.configuration.credentials["partner"] = key
    server.pages["/films/film.mp4"].wants = {"Authorization": "Bearer x"}
    bare = await submit(service, film(server), key="bare")
    job = await submit(service, film(server), key="film", credentials="partner")
    work(rig, drawer)
    assert (rig.state(bare), error_of(rig, bare)) == ("failed", "source_refused")
    assert rig.state(job) == "succeeded"
    assert "Bearer" not in str(rig.job(job)) + str(rig.spool.read_sidecar(job))
    assert (await service.job(job))[0]["source"]["credentials"] == "partner"


async def test_credentials_that_the_api_knows_already_are_looked_up_in_the_file(
    service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer
) -> None:
    rig.runtime.plugins = PluginsFile(rig.settings)
    rig.plugins.chmod(0o600)
    table = f'[credentials.partner]\nheaders = {{ X-Key = "hush" }}\nhosts = ["{server.url}"]\n'
    rig.plugins.write_text(rig.plugins.read_text() + table)
    service.desk = Desk(load(rig.plugins, {}), rig.runtime.settings)
    server.pages["/films/film.mp4"].wants = {"X-Key": "hush"}
    job = await submit(service, film(server), key="film", credentials="partner")
    work(rig, drawer)
    assert rig.state(job) == "succeeded"


async def test_credentials_that_are_gone(service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer) -> None:
    service.configuration.credentials["partner"] = Credential({"A": "b"}, frozenset({server.url}))
    job = await submit(service, film(server), key="film", credentials="partner")
    rig.runtime.configuration.credentials.clear()
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "source_refused")
    assert server.seen == []


async def test_a_name_that_resolves_to_us(service: AsyncService, rig: Rig, drawer: Drawer, server: WebServer) -> None:
    rig.runtime._web = Web(Rules.of((server.port,), ()), lambda host, port: ["127.0.0.1"])
    job = await submit(service, f"http://public.example:{server.port}/films/film.mp4", key="film")
    work(rig, drawer)
    assert (rig.state(job), error_of(rig, job)) == ("failed", "address_refused")
    assert server.seen == []


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"url": "file:///etc/passwd"}, "/source/url"),
        ({"url": "http://169.254.169.254/latest/meta-data/"}, "/source/url"),
        ({"url": "http://2130706433/"}, "/source/url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "/source/url"),
        ({"url": "http://user:password@a.example/"}, "/source/url"),
        ({"url": "http://a.example:6379/"}, "/source/url"),
        ({"url": "http://a.example/", "credentials": "nobody"}, "/source/credentials"),
    ],
)
async def test_what_is_refused_at_submit(service: AsyncService, source: dict[str, str], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        service.prepare(SubmitOptions(source=source), size=None, owner="")
    assert [one["pointer"] for one in refused.value.errors] == [pointer]


async def test_credentials_for_another_host_are_refused_at_submit(service: AsyncService) -> None:
    service.configuration.credentials["partner"] = Credential({"A": "b"}, frozenset({"https://b.example"}))
    with pytest.raises(Invalid) as refused:
        service.prepare(
            SubmitOptions(source={"url": "https://a.example/", "credentials": "partner"}), size=None, owner=""
        )
    assert refused.value.errors[0]["pointer"] == "/source/credentials"
