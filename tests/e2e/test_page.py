"""The page at `/` in a real browser, on real processes: what a person does there, and what comes of it."""

from __future__ import annotations

import filecmp
import json
import random
import sys
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engine.config import host_name
from tests.backends.proxy import Proxy
from tests.e2e.browser import Browser
from tests.e2e.provider import PART, Provider
from tests.e2e.stack import PATIENCE, Stack, processes_of
from tests.e2e.test_webhooks import NEW, Receiver
from tests.servers import eventually, needs, program

FILM = random.Random(7).randbytes(2 * PART + 12_345)  # three parts
MIB = 1 << 20
SLOW = 4 * MIB
ROW = ".upload:last-child"
AXE = Path(sys.prefix) / "node" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ["jobs", "failed", "destinations", "system"]


class Here:
    """A Bucketline with two destinations, and a browser that has its page open behind a line that can break."""

    def __init__(self, stack: Stack, browser: Browser, provider: Provider | None, proxy: Proxy) -> None:
        self.browser, self.proxy = browser, proxy
        self._provider = provider
        self.talk = stack.talk

    @property
    def provider(self) -> Provider:
        assert self._provider is not None, "this stack has a store without faults"
        return self._provider

    def open(self, view: str = "") -> None:
        self.browser.leave()
        self.browser.open(f"http://127.0.0.1:{self.proxy.port}/{view}")
        self.browser.until("document.getElementById('live').dataset.live === 'on'")

    def send(self, file: Path) -> None:
        self.browser.until("document.querySelector('.places input:checked') !== null")
        self.browser.choose("#files", file)
        self.browser.until(f"document.querySelector({ROW!r}) !== null")

    def becomes(self, state: str, row: str = ROW) -> None:
        self.browser.until(f"document.querySelector({row!r})?.dataset.state === {state!r}")

    def job(self, row: str = ROW) -> str:
        """The id of the job that an upload has become."""
        self.browser.until(f"document.querySelector({row!r}).querySelector('a[href]') !== null")
        return str(self.browser.evaluate(f"document.querySelector({row!r}).querySelector('a').hash.split('/').at(-1)"))

    def share(self, label: str, row: str = ROW) -> int:
        """How far a bar is, in percent; -1 without one."""
        found = f"document.querySelector({row!r})?.querySelector('[role=progressbar][aria-label={json.dumps(label)}]')"
        return int(self.browser.evaluate(f"Number({found}?.getAttribute('aria-valuenow') ?? -1)"))

    def until_share(self, label: str, fits: Callable[[int], bool]) -> None:
        eventually(lambda: fits(self.share(label)), f"the bar '{label}' moves", PATIENCE)

    def says(self, words: str, where: str = "main") -> None:
        self.browser.until(f"document.querySelector({where!r})?.textContent.includes({words!r})")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program("chromium")
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Provider, Receiver]]:
    program("chromium")
    receiver = Receiver()
    with Provider(tmp_path_factory.mktemp("page") / "s3") as provider:
        tables = provider.table("s3") + provider.table("archive") + '[routes.both]\nmirror = ["s3", "archive"]\n'
        secret = f'[webhooks]\nsecret = "{NEW}"\n'
        hooks = {"BUCKETLINE_WEBHOOK_PORTS": str(receiver.server.server_port), "BUCKETLINE_WEBHOOK_ALLOW": "127.0.0.1"}
        with Stack(f'default = "s3"\n{secret}{tables}', **hooks) as stack:
            yield stack.start(), provider, receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    chromium.size(1200, 1000)
    chromium.prefers("light")
    yield chromium
    chromium.upload_speed(-1)
    chromium.leave()
    errors, chromium.errors = chromium.errors, []
    assert errors == []


@pytest.fixture
def here(running: tuple[Stack, Provider, Receiver], browser: Browser) -> Iterator[Here]:
    stack, provider, _ = running
    with Proxy(urlsplit(stack.talk.url).port or 0) as proxy:
        found = Here(stack, browser, provider, proxy)
        found.open()
        yield found
        browser.leave()
    provider.mend()


@pytest.fixture
def film(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A film with a name of its own."""
    file = tmp_path / f"{request.node.name[:60]}.mp4"
    file.write_bytes(FILM)
    return file


def stored(here: Here, job: str) -> bytes:
    return here.provider.read(here.talk.until(job, "succeeded")["key"])


# -- sending ----------------------------------------------------------------------------------------------------------


def test_both_halves_are_seen_and_a_hostile_name_is_text(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>&amp;.mp4"
    file.write_bytes(FILM)
    last = here.provider.stop_at("before", "part", 3)
    here.browser.upload_speed(SLOW)
    here.send(file)
    here.until_share("to Bucketline", lambda share: 0 < share < 100)
    here.browser.upload_speed(-1)

    here.becomes("running")
    here.until_share("to s3", lambda share: 0 < share < 100)
    assert here.share("to Bucketline") == 100
    last.open()
    here.becomes("succeeded")
    assert here.share("to s3") == 100
    job = here.job()
    assert stored(here, job) == FILM
    assert here.browser.text(f"{ROW} .name") == file.name
    here.browser.click(f".row-item[data-id='{job}'] .name")
    here.says(file.name, "h1")
    here.says("Proved by")
    assert here.browser.evaluate("document.querySelectorAll('img').length") == 0


def test_an_upload_goes_on_after_a_cut(here: Here, film: Path) -> None:
    here.browser.upload_speed(SLOW)
    here.send(film)
    here.until_share("to Bucketline", lambda share: 10 < share < 90)
    job = here.job()
    here.proxy.refuse()
    here.says("The connection is gone", ROW)
    here.says("connection lost", "#live")
    here.proxy.refuse(0)
    here.browser.upload_speed(-1)

    here.becomes("succeeded")
    assert (here.job(), stored(here, job)) == (job, FILM)
    assert len(here.talk.http.get("/v1/jobs", params={"q": film.name}).json()["items"]) == 1


def refusal(status: str, body: str = "", **headers: str) -> bytes:
    """An answer in the server's place."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", body]).encode()


def test_an_upload_goes_on_after_every_answer_that_passes(here: Here, film: Path) -> None:
    """In between it is not begun anew, though that is what tus-js-client does when its HEAD is refused."""
    full = json.dumps({"title": "A quota is used up", "detail": "The <b>day</b> is over."})
    here.proxy.answer(b"POST /v1/tus ", refusal("425 Too Early"), refusal("429 No", full, **{"Retry-After": "7200"}))
    here.browser.upload_speed(SLOW)
    here.send(film)
    here.becomes("waiting")
    here.says("A quota is used up. The <b>day</b> is over. It goes on by itself at ", ROW)
    here.browser.click(f"{ROW} [data-act=resume]")  # not in two hours

    here.until_share("to Bucketline", lambda share: 10 < share < 90)
    job = here.job()
    passing = ("408 Slow", "429 No", "503 Busy")
    here.proxy.answer(b"HEAD /v1/tus/", *(refusal(status, **{"Retry-After": "0"}) for status in passing))
    here.proxy.cut()
    eventually(lambda: not here.proxy.owes_answers, "it asks again", PATIENCE)
    here.browser.upload_speed(-1)

    here.becomes("succeeded")
    assert (here.job(), stored(here, job)) == (job, FILM)
    assert len(here.talk.http.get("/v1/jobs", params={"q": film.name}).json()["items"]) == 1


def test_an_upload_goes_on_after_the_page_was_closed(here: Here, film: Path) -> None:
    here.browser.upload_speed(SLOW)
    here.send(film)
    here.until_share("to Bucketline", lambda share: share > 20)
    job = here.job()
    here.open()
    here.browser.upload_speed(-1)
    here.send(film)

    here.becomes("succeeded")
    assert (here.job(), stored(here, job)) == (job, FILM)


LARGE = 200 * MIB + 12_345
WATCH = """(() => {
  window.moved = {};
  const look = () => document.querySelectorAll(".upload:last-child [role=progressbar]").forEach((bar) => {
    const label = bar.getAttribute("aria-label"), share = Number(bar.getAttribute("aria-valuenow"));
    const known = (window.moved[label] ??= []);
    const over = bar.closest(".upload").dataset.state === "succeeded";
    if (share > 0 && share < 100 && !over && known.at(-1) !== share) known.push(share);
  });
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
})()"""


def test_a_large_file_is_seen_to_go_to_slow_stores_over_a_line_that_breaks(browser: Browser, tmp_path: Path) -> None:
    """Nobody on the way, nor this test, holds it in memory."""
    file, stored_at = tmp_path / "large.bin", tmp_path / "stored"
    with file.open("wb") as out:
        noise = random.Random(11).randbytes(MIB - 8)
        for number in range(LARGE // MIB):
            out.write(number.to_bytes(8) + noise)
        out.write(noise[: LARGE % MIB])
    slow = f'limits = {{ part_size = "8MiB", concurrency = 2 }}\nfaults = {{ throttle = {16 * MIB} }}\n'
    names = ("near", "far")
    tables = "".join(f'[destinations.{name}]\nbackend = "local"\nroot = "{stored_at / name}"\n{slow}' for name in names)
    default = '[routes.both]\nmirror = ["near", "far"]\n'
    with Stack(f'default = "both"\n{tables}{default}', BUCKETLINE_THREADS="4") as stack:
        talk = stack.start().talk
        with Proxy(urlsplit(talk.url).port or 0) as proxy:
            page = Here(stack, browser, None, proxy)
            page.open()
            browser.evaluate(WATCH)
            browser.upload_speed(40 * MIB)
            page.send(file)
            page.until_share("to Bucketline", lambda share: 30 < share < 90)
            job = page.job()
            proxy.refuse()
            page.says("The connection is gone", ROW)
            page.says("connection lost", "#live")
            broken_at = page.share("to Bucketline")
            proxy.refuse(0)

            page.becomes("succeeded")
            assert page.job() == job
            moved = browser.evaluate("window.moved")
            key = talk.job(job)["key"]
        assert sorted(moved) == ["to Bucketline", "to far", "to near"]
        assert all(len(shares) > 2 for shares in moved.values()), moved
        assert min(moved["to Bucketline"][moved["to Bucketline"].index(broken_at) :]) > 20, "it was not sent again"
        assert all(shares == sorted(shares) for label, shares in moved.items() if label != "to Bucketline"), moved
        assert all(filecmp.cmp(file, stored_at / name / key, shallow=False) for name in names)
        assert len(talk.http.get("/v1/jobs").json()["items"]) == 1
        most = {title: peak(pid) for pid, title in processes_of(stack.directory).items()}
        assert max(most.values()) < LARGE, most


def peak(process: int) -> int:
    """The most memory that a process has had, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_an_upload_is_paused_resumed_and_cancelled(here: Here, film: Path) -> None:
    here.browser.upload_speed(SLOW // 4)
    here.send(film)
    here.until_share("to Bucketline", lambda share: share > 2)
    here.browser.click(f"{ROW} [data-act=pause]")
    here.becomes("paused")
    job = here.job()
    before = here.talk.job(job)["received"]
    here.browser.click(f"{ROW} [data-act=resume]")
    eventually(lambda: here.talk.job(job)["received"] > before, "it goes on", PATIENCE)
    here.browser.click(f"{ROW} [data-act=cancel]")

    here.becomes("cancelled")
    here.talk.until(job, "cancelled")
    here.browser.until(f"document.querySelector('.row-item[data-id=\"{job}\"]')?.dataset.state === 'cancelled'")


def test_a_folder_keeps_its_names_below_another(here: Here, tmp_path: Path) -> None:
    """As `webkitGetAsEntry` tells it; a drop by hand cannot be made without a desktop."""
    here.browser.until("document.querySelector('.places input:checked') !== null")
    here.browser.evaluate("""(async () => {
      const folder = document.getElementById("folder");
      folder.value = "/albums/"; folder.dispatchEvent(new Event("input"));
      const { gathered } = await import("/page/drop.js");
      const { add } = await import("/page/uploads.js");
      const leaf = (name, text) => ({ isFile: true, fullPath: `/summer/${name}`,
        file: (done) => done(new File([text], name.split("/").at(-1))) });
      const tree = (some) => { let told = false; return { isDirectory: true, createReader: () => ({
        readEntries: (done) => { done(told ? [] : some); told = true; } }) }; };
      const root = tree([leaf("a.txt", "a"), tree([leaf("deep/b.txt", "bb")])]);
      add(await gathered({ items: [{ kind: "file", webkitGetAsEntry: () => root }] }));
    })()""")
    here.says("2 files: 2 at Bucketline, 2 stored", "#uploads-said")
    assert (here.provider.read("albums/summer/a.txt"), here.provider.read("albums/summer/deep/b.txt")) == (b"a", b"bb")


def test_what_is_refused_says_why(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "a::b.txt"
    file.write_bytes(b"x")
    here.send(file)
    here.becomes("failed")
    here.says("::", f"{ROW} p")


def test_two_destinations_have_a_bar_each(here: Here, film: Path) -> None:
    here.browser.until("document.querySelector('.places input[value=archive]') !== null")
    here.browser.click(".places input[value=archive]")
    here.send(film)
    here.becomes("succeeded")
    assert (here.share("to s3"), here.share("to archive")) == (100, 100)
    assert {one["destination"] for one in here.talk.job(here.job())["transfers"]} == {"s3", "archive"}


# -- a job ------------------------------------------------------------------------------------------------------------


def test_a_job_is_paused_gets_a_destination_and_goes_on(here: Here) -> None:
    gate = here.provider.stop_at("before", "part", 2)
    job = here.talk.submit(FILM, name="paused.mp4")["id"]
    gate.wait("a part is on its way")
    here.open(f"#/jobs/{job}")
    here.browser.until("document.querySelector('[data-verb=pause]:not([hidden])') !== null")
    here.browser.evaluate("document.querySelector('[data-verb=pause]').focus()")
    here.browser.key("Enter")
    here.says("paused", ".job-page .badge")
    here.browser.until("document.activeElement.dataset.verb === 'resume'")  # where the button was
    end = here.provider.stop_at("before", "complete")  # an ended job takes no destination any more
    gate.open()
    here.browser.click("[data-verb=resume]:not([hidden])")
    here.browser.until("document.querySelector('#add-to')?.value === 'archive'")
    here.browser.click(".job-page form button[type=submit]")
    here.browser.until("document.querySelectorAll('.transfer').length === 2")
    end.open()

    here.browser.until("document.querySelectorAll('.transfer .proof:not([hidden])').length === 2")
    assert len(here.talk.until(job, "succeeded")["transfers"]) == 2
    here.browser.click("[data-verb=forget]:not([hidden])")
    here.browser.until("location.hash === '#/'")
    assert here.talk.http.get(f"/v1/jobs/{job}").status_code == 404


def test_a_part_that_fails_is_shown_with_its_error_and_the_job_can_be_cancelled(here: Here) -> None:
    here.provider.fail("part", "error", number=2, status=503, code="SlowDown", headers={"Retry-After": "300"})
    job = here.talk.submit(FILM, name="failing.mp4")["id"]
    here.open(f"#/jobs/{job}")

    here.says("SlowDown", ".failing")
    here.says("Tried again at", ".failing")
    here.browser.until("document.querySelector('canvas').getAttribute('aria-label').includes('1 failing')")
    here.says("s3, part 2, attempt 1: The provider asked us to slow down", ".timeline")
    here.browser.click("[data-verb=cancel]:not([hidden])")
    here.talk.until(job, "cancelled")
    here.says("Ended as cancelled", ".timeline")


def test_a_page_that_is_opened_late_tells_the_same_and_what_failed_is_text(here: Here) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    here.provider.fail("part", "error", number=2, times=2, status=503, code=escape(hostile))
    gate = here.provider.stop_at("before", "create")
    job = here.talk.submit(FILM, name="made good.mp4")["id"]
    gate.wait("the upload begins")
    here.open(f"#/jobs/{job}")
    here.says("Accepted as made good.mp4", ".timeline")
    gate.open()
    here.says("Ended as succeeded", ".timeline")
    rows = "[...document.querySelectorAll('.timeline li')].map((row) => row.textContent)"
    seen = here.browser.evaluate(rows)
    assert [f"attempt {attempt}: " in row and hostile in row for attempt, row in enumerate(seen)] == [
        False, True, True, False,
    ], seen  # fmt: skip

    here.open(f"#/jobs/{job}")
    here.says("Ended as succeeded", ".timeline")
    here.browser.until(f"document.querySelectorAll('.timeline li').length === {len(seen)}")
    assert here.browser.evaluate(rows) == seen
    assert here.browser.evaluate("document.querySelectorAll('img').length") == 0


def test_a_failed_job_says_why_and_is_retried(here: Here) -> None:
    here.provider.fail("part", "error", number=2, times=-1, status=400, code="InvalidArgument")
    job = here.talk.submit(FILM, name="denied.mp4")["id"]
    here.talk.until(job, "failed")
    here.open(f"#/jobs/{job}")
    here.says("InvalidArgument", ".transfer .fault")
    here.provider.mend()
    here.browser.click("[data-verb=retry]:not([hidden])")
    here.says("succeeded", ".job-page .badge")
    assert stored(here, job) == FILM


def test_many_failed_jobs_are_retried_at_once(here: Here) -> None:
    here.provider.fail("put", "error", times=-1, status=400, code="InvalidArgument")
    jobs = [here.talk.submit(b"small", name=f"small-{number}")["id"] for number in range(12)]
    for job in jobs:
        here.talk.until(job, "failed")
    here.open("#/failed")
    here.browser.until("document.querySelectorAll('.row-item.failed').length === 12")
    here.says("InvalidArgument", ".row-item.failed .why")
    here.browser.click("#every")
    here.says("Retry 12 jobs", "#retry-chosen")
    here.provider.mend()
    here.browser.click("#retry-chosen")

    here.says("No job has failed", ".empty")
    here.browser.until("!document.querySelector('.empty').hidden")
    assert {here.talk.until(job, "succeeded")["state"] for job in jobs} == {"succeeded"}


def test_a_delivery_is_shown_and_made_again(here: Here, running: tuple[Stack, Provider, Receiver]) -> None:
    receiver = running[2]
    job = here.talk.submit(b"x", name="told.txt", webhook=receiver.url)["id"]
    eventually(lambda: len(receiver.got) == 1, "the end is told", PATIENCE)
    here.open(f"#/jobs/{job}")
    here.says("job.succeeded to the webhook", "#deliveries")
    here.browser.until("document.querySelectorAll('#deliveries .timeline li').length === 1")
    here.browser.click("[data-replay]")
    eventually(lambda: len(receiver.got) == 2, "the end is told again", PATIENCE)
    assert len(receiver.ids()) == 1
    here.browser.until("document.querySelectorAll('#deliveries .timeline li').length === 2")


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_a_destination_is_checked(here: Here) -> None:
    here.open("#/destinations")
    here.browser.click("[data-check=archive]")
    here.says("works", "[data-name=archive] .badge")
    here.says("byte-identical", "[data-name=archive] .steps")


def test_the_system_is_seen(here: Here) -> None:
    here.open("#/system")
    here.says(f"{host_name()}:", "table")
    here.says("redis", ".checks")


def test_search_filters_and_the_keyboard(here: Here) -> None:
    jobs = [here.talk.submit(b"x", name=f"needle-{number}")["id"] for number in range(3)]
    for job in jobs:
        here.talk.until(job, "succeeded")
    here.open()
    here.browser.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))")
    assert here.browser.evaluate("document.activeElement.id") == "q"
    here.browser.call("Input.insertText", text="needle-")
    here.says("3 jobs found", "#list-said")
    here.browser.until('document.querySelector(\'.row-item[aria-posinset="1"][aria-setsize="3"] a\') !== null')
    here.browser.evaluate("document.querySelector('.row-item[aria-posinset=\"1\"] a').focus()")
    here.browser.key("ArrowDown")
    here.browser.key("End")
    assert here.browser.evaluate("document.activeElement.closest('.row-item').dataset.id") == jobs[0]
    here.browser.key("Enter")
    here.says("needle-0", "h1")


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_nothing_serious_is_in_the_way_of_anybody(here: Here, look: str) -> None:
    """axe-core's rules on every view."""
    needs(AXE.exists(), "axe-core")
    here.browser.prefers("dark" if look == "dark" else "light")
    if look == "phone":
        here.browser.size(390, 844, phone=True)
    here.provider.fail("part", "error", number=2, times=-1, status=400, code="InvalidArgument")
    job = here.talk.until(here.talk.submit(FILM, name="axe.mp4")["id"], "failed")["id"]
    for view in [f"jobs/{job}", *VIEWS]:
        here.open("#/" if view == "jobs" else f"#/{view}")
        here.browser.until("document.querySelectorAll('main .badge, main .empty').length > 0")
        here.browser.evaluate(AXE.read_text())
        asked = "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations"
        told = ".map((v) => [v.id, v.impact, v.nodes.map((n) => n.html + ' ' + n.failureSummary).slice(0, 4)]))"
        serious = [one for one in here.browser.evaluate(asked + told) if one[1] in ("serious", "critical")]
        assert serious == [], view
        assert here.browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{view} is too wide"
    here.provider.mend()
    here.talk.tell(job, "retry")


# -- keys, and very many jobs -----------------------------------------------------------------------------------------


def test_a_key_is_asked_for_and_a_thousand_jobs_are_a_list(browser: Browser) -> None:
    """Without a worker, so that making them costs little. Only what is seen is in the document."""
    local = 'default = "here"\n[destinations.here]\nbackend = "local"\nroot = "objects"\n'
    with Stack(local, BUCKETLINE_API_KEY="a-key-of-the-test") as stack:
        talk = stack.start(workers=0).talk
        talk.http.headers["authorization"] = "Bearer a-key-of-the-test"
        for form in range(20):
            files = [("file", (f"many-{form}-{number}.txt", b"x")) for number in range(50)]
            assert talk.http.post("/v1/jobs", files=files).status_code == 202
        browser.open(talk.url)
        browser.until("document.getElementById('key-dialog').open")
        for key in ("a-wrong-key", "a-key-of-the-test"):
            browser.evaluate(f"document.getElementById('key-input').value = {key!r}")
            browser.click("#key-form button[type=submit]")
            if key == "a-wrong-key":
                browser.until("document.getElementById('key-said').textContent.includes('not accepted')")
                browser.until("document.getElementById('key-dialog').open")
        browser.until("document.getElementById('live').dataset.live === 'on'")
        browser.until(
            "scrollTo(0, document.body.scrollHeight), document.getElementById('list-said').textContent === '1,000 jobs'"
        )
        last = "document.querySelector('.row-item[aria-posinset=\"1000\"]') !== null"
        browser.until(f"scrollTo(0, document.body.scrollHeight), {last}")
        assert browser.evaluate("document.querySelectorAll('.row-item').length") < 60
        assert browser.evaluate("sessionStorage.getItem('bucketline-key')") == "a-key-of-the-test"
        assert browser.evaluate("Object.values({...localStorage}).join().includes('a-key')") is False
        browser.evaluate("sessionStorage.clear()")


def test_a_quota_is_waited_for_and_says_so(browser: Browser, tmp_path: Path) -> None:
    """The real API's 429, which says when to come again, or does not know."""
    local = 'default = "here"\n[destinations.here]\nbackend = "local"\nroot = "objects"\n'
    file = tmp_path / "second.txt"
    file.write_bytes(b"second")
    with Stack(local, BUCKETLINE_API_KEY="a-key-of-the-test") as stack:
        talk = stack.start(workers=0).talk
        made = stack.run(
            "keys", "keys", "add", "page", "--jobs", 1, "--bytes-per-day", 10, "--scope", "submit,read,control"
        )
        key = made.match(r"(bl_[0-9a-f]{12}_[0-9A-Za-z]{43})")
        talk.http.headers["authorization"] = f"Bearer {key}"
        first = talk.submit(b"1234")["id"]
        with Proxy(urlsplit(talk.url).port or 0) as proxy:
            page = Here(stack, browser, None, proxy)
            browser.open(f"http://127.0.0.1:{proxy.port}/")
            browser.evaluate(f"sessionStorage.setItem('bucketline-key', {key!r})")
            page.open()
            page.send(file)
            page.becomes("waiting")
            page.says("A quota is used up. 1 unfinished jobs at a time are allowed", ROW)
            page.says("It goes on by itself", ROW)
            talk.tell(first, "cancel")
            talk.until(first, "cancelled")
            page.browser.click(f"{ROW} [data-act=resume]")
            page.becomes("queued")

            talk.tell(page.job(), "cancel")
            page.send(file)
            second = ".upload:first-child"  # what is over is below
            page.says("A quota is used up. 10 bytes a day (of UTC) are allowed. It goes on by itself at", second)
            page.becomes("waiting", second)
            page.browser.click(f"{second} [data-act=cancel]")
            page.becomes("cancelled")
            browser.evaluate("sessionStorage.clear()")
