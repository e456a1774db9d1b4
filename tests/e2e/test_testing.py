"""The stack that an application's own tests get: docs/testing.md, followed by a pytest run of somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from bucketline.testing import RunningStack, running_stack
from tests import documents
from tests.documents import ROOT
from tests.e2e.test_webhooks import Receiver
from tests.servers import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts `bucketline up`")

PLUGIN = "bucketline.testing.plugin"
WITHOUT_PYTEST = """
import importlib.abc, sys
class No(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "pytest":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, No())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "pytest" else find(name, package)
try:
    import bucketline.testing
except ImportError as error:
    print(error)
"""


# -- as the documentation has it --------------------------------------------------------------------------------------


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """An application's directory with the tests of the documentation, and packages that have our names."""
    for name in ("api", "engine", "backends"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "conftest.py").write_text(documents.block("docs/testing.md", "test: conftest"))
    (tmp_path / "test_photos.py").write_text(documents.block("docs/testing.md", "test: photos"))
    (tmp_path / "test_names.py").write_text(
        "import os\n\ndef test_ours():\n    import backends\n    assert backends.MINE and os.environ['UPLOADS_URL']\n"
    )
    (tmp_path / "temporary").mkdir()
    return tmp_path


def test_the_documented_tests_pass_and_nothing_is_left(application: Path) -> None:
    installed = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BUCKETLINE_", "PYTEST_"))}
    environ |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(application / "temporary")}

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *([] if installed else ["-p", PLUGIN])],
        cwd=application, env=environ, capture_output=True, text=True, timeout=100,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout
    assert not list((application / "temporary").glob("bucketline-*"))
    assert not processes_of(application)


def processes_of(directory: Path) -> list[str]:
    """Command lines that name the directory: whatever a stack in there has left running."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(directory / "temporary") in words:
            found.append(process.name)
    return found


def test_without_pytest_it_says_what_to_install() -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_PYTEST],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert "pip install pytest" in ran.stdout


def test_the_plugin_loads_nothing_but_pytest() -> None:
    """Every pytest run of everybody who has Bucketline installed pays for it."""
    asked = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport bucketline.testing.plugin\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('bucketline')))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", asked],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert ran.stdout.strip() == "[]"


# -- the stack --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def shared(receiver: Receiver) -> Iterator[RunningStack]:
    opened = {"BUCKETLINE_WEBHOOK_ALLOW": "127.0.0.1", "BUCKETLINE_WEBHOOK_PORTS": str(receiver.server.server_port)}
    with running_stack(["media", "archive"], opened) as stack:
        yield stack


@pytest.fixture
def stack(shared: RunningStack) -> Iterator[RunningStack]:
    yield shared
    shared.clear()


@pytest.fixture
def file() -> Iterator[Path]:
    """Three parts."""
    with tempfile.NamedTemporaryFile() as made:
        made.truncate(40 << 20)
        yield Path(made.name)


def test_parts_fail_as_often_as_they_were_told_to(stack: RunningStack, file: Path) -> None:
    stack.fail_next("media", parts=[1, 3], times=2, error="timed_out")
    with stack.client() as client:
        client.submit(file, destinations=["media", "archive"], key="a/b.bin")
    [ended] = stack.wait()

    assert ended.succeeded
    attempts = {transfer.destination: transfer.attempts for transfer in ended.transfers}
    assert attempts["media"] == attempts["archive"] + 4
    assert stack.objects("media") == stack.objects("archive") == {"a/b.bin": file.read_bytes()}


@pytest.mark.parametrize(("call", "error"), [("begin", "destination_missing"), ("complete", "store_full")])
def test_what_is_before_and_after_the_parts_fails_too(stack: RunningStack, file: Path, call: str, error: str) -> None:
    stack.fail_next("archive", call=call, error=error)  # type: ignore[arg-type]
    with stack.client() as client:
        client.submit(file, destinations=["media", "archive"])
    [ended] = stack.wait()

    assert ended.state == "partially_succeeded"
    assert [transfer.error.code for transfer in ended.transfers if transfer.error] == [error]


def test_an_error_that_does_not_exist_is_told_by_the_job(stack: RunningStack, file: Path) -> None:
    stack.fail_next("media", error="trottled")
    with stack.client() as client:
        client.submit(file, destinations=["media"])
    [ended] = stack.wait()

    assert ended.transfers[0].error is not None
    assert "there are access_denied, " in str(ended.transfers[0].error.detail)


def test_clearing_ends_jobs_and_forgets_failures(stack: RunningStack, file: Path) -> None:
    stack.fail_next("media", times=50)
    with stack.client() as client:
        client.submit(file, destinations=["media"])
        client.pause(client.submit(file, destinations=["archive"]).id)

    stack.clear()

    assert stack.wait() == []
    assert stack.objects("media") == stack.objects("archive") == {}
    with stack.client() as client:
        job = client.wait(client.submit(file, destinations=["media"]).id, timeout=60)
    assert job.succeeded and job.transfers[0].attempts == 5, "to begin, three parts, to complete"


def test_waiting_gives_up_and_says_for_what(stack: RunningStack, file: Path) -> None:
    stack.fail_next("media", times=1000)
    with stack.client() as client:
        job = client.submit(file, destinations=["media"], name="slow.bin")

    with pytest.raises(TimeoutError, match=rf"slow\.bin \({job.id}\) is "):
        stack.wait(timeout=0)


@pytest.mark.parametrize("names", [[], "media", ["Media"], ["a b"]])
def test_names_that_cannot_be_destinations_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="destinations are a list"), running_stack(names):
        pass


def test_an_unknown_destination_is_told(stack: RunningStack) -> None:
    with pytest.raises(ValueError, match="no destination 'medias'; there are media, archive"):
        stack.objects("medias")


def test_its_webhooks_are_signed_with_the_secret_that_it_tells(
    stack: RunningStack, receiver: Receiver, file: Path
) -> None:
    with stack.client() as client:
        job = client.submit(file, webhook=receiver.url)
        eventually(lambda: bool(receiver.got), "the end is told", 60)

    headers, body = receiver.got[0]
    event = Webhook(stack.webhook_secret).verify(body, headers)
    assert (event["type"], event["data"]["id"]) == ("job.succeeded", job.id)


def test_a_setting_that_is_wrong_is_told() -> None:
    with (
        pytest.raises(RuntimeError, match="BUCKETLINE_THREADS"),
        running_stack(settings={"BUCKETLINE_THREADS": "many"}),
    ):
        pass
