"""A contributor in a clone of their own: the targets that the documents name, typed word for word. What would take long
is made small by the variables that the Makefile takes from the environment, as from a command line.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests import documents, shell
from tests.documents import ROOT
from tests.servers import eventually, free_port, needs

MADE = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "node_modules", "var", "site", "dist", "build")
MINUTES = 60.0
LONGEST = 15 * MINUTES
SMALL = {
    "make test": "-k planner",
    "make containers": "--collect-only",  # this is that target already
    "make bench": "--quick --only pickup",
    "make bench-stores": "--quick",
}
"""The ARGS for a line that stands there without any; CI runs the first two at their full length."""
LINES = [
    line
    for page, mark in (("CONTRIBUTING.md", "run: targets"), ("docs/performance.md", "run: benchmarks"))
    for line in (" ".join(words) for words in shell.commands(documents.block(page, mark)))
]
ONCE = [line for line in dict.fromkeys(LINES) if line != "make up"]

MADE_BY = {
    "make setup": ".venv/bin/bucketline",
    "make docs": "site/index.html",
    "make wheel": "dist/bucketline-*.whl",
    "make bench ARGS=--quick": "benchmarks/results/latest.md",
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This checkout as it would be cloned: nothing in it that was made."""
    directory = tmp_path_factory.mktemp("contributor") / "bucketline"
    shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(*MADE), symlinks=True)
    yield directory
    shutil.rmtree(directory)


def environ(**more: str) -> dict[str, str]:
    """Of a shell that is not below a `make`, nor in our environment."""
    ours = ("BUCKETLINE_", "AWS_", "MAKE", "MFLAGS", "PYTHON", "PYTEST_", "VIRTUAL_ENV", "ARGS")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **more}


@pytest.mark.parametrize("line", ONCE)
def test_a_target_does_what_it_is_said_to_do(clone: Path, line: str) -> None:
    before = sources(clone)

    with started(line, clone, JOBS="2", **({"ARGS": SMALL[line]} if line in SMALL else {})) as (process, log):
        process.wait(LONGEST)

    assert process.returncode == 0, log.read_text()[-8000:]
    assert sources(clone) == before, "only what is ignored was written"
    if line in MADE_BY:
        assert list(clone.glob(MADE_BY[line]))


def test_make_up(clone: Path) -> None:
    assert "make up" in LINES
    port = free_port()
    with running("make up", clone, PORT=str(port)):
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/readyz"), "it is ready", 2 * MINUTES)
        put = httpx.put(f"{url}/v1/objects/media/hello", content=b"hello", trust_env=False, timeout=60)
        assert put.status_code == 202, put.text
        path = f"{url}/v1/jobs/{put.json()['id']}"
        eventually(lambda: httpx.get(path, trust_env=False).json()["state"] == "succeeded", "it arrived", 60)


def test_make_example_django(clone: Path) -> None:
    """Node older than 20 does not build its page."""
    needs(_node() >= 20, "Node 20 or newer, with npm")
    line = documents.block("examples/django/README.md", "run: site").partition("#")[0].strip()
    port, site = free_port(), free_port()

    with running(line, clone, PORT=str(port), SITE_PORT=str(site)):
        url = f"http://127.0.0.1:{site}"
        eventually(lambda: answers(url), "the site answers", LONGEST)
        eventually(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "Bucketline is ready", 2 * MINUTES)
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as browser:
            page = browser.get("/").text
            (script,) = re.findall(r'src="(/static/media/[\w.]+\.js)"', page)
            assert "Uppy" in browser.get(script).text
            (token,) = re.findall(r'"csrf": "(\w+)"', page)
            headers = {"X-CSRFToken": token}
            handed = browser.post("/upload/path/", headers=headers, files={"file": ("a.txt", b"hello", "text/plain")})
            assert handed.status_code == 202, handed.text
            row = f"/files/{handed.json()['id']}/"
            eventually(lambda: browser.get(row).json()["state"] == "succeeded", "the webhook has told", 60)


def _node() -> int:
    if shutil.which("npm") is None:
        return 0
    return int(subprocess.check_output(["node", "--version"], text=True).removeprefix("v").partition(".")[0])


@contextmanager
def started(line: str, directory: Path, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A command line in a terminal of its own, and what it prints there. At the end nothing of it runs."""
    log = directory.parent / "terminal.log"
    with log.open("wb") as terminal:
        process = subprocess.Popen(
            line, shell=True, cwd=directory, env=environ(**more), stdin=subprocess.DEVNULL, stdout=terminal,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process, log
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def running(line: str, directory: Path, **more: str) -> Iterator[None]:
    """One that goes on until Ctrl-C, which ends all of it."""
    with started(line, directory, **more) as (process, log):
        try:
            yield
            assert process.poll() is None, "it has ended by itself"
            os.killpg(process.pid, signal.SIGINT)  # to each process of the group, as the terminal does
            process.wait(60)
            eventually(lambda: not _group_is_there(process.pid), f"nothing of `{line}` is left", 60)
        except BaseException:
            print(log.read_text()[-4000:])
            raise


def _group_is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def sources(clone: Path) -> dict[str, str]:
    """Everything that is not ignored, by its content."""
    left_out = shutil.ignore_patterns(*MADE, "results", "var", "*.egg-info")
    found: dict[str, str] = {}
    for directory, folders, files in os.walk(clone):
        skipped = left_out(directory, [*folders, *files])
        folders[:] = [name for name in folders if name not in skipped]
        for name in set(files) - skipped:
            path = Path(directory, name)
            found[str(path.relative_to(clone))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
