"""The package as `pip install bucketline` brings it: built from the sdist, installed as a wheel, used from elsewhere.

The environment is a new one with nothing of this checkout on its path. What Bucketline depends on is read from the
environment of the tests (one `.pth` file), which holds the pinned versions: installing them again takes 20 s and says
nothing more about the wheel.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import documents
from tests.documents import ROOT
from tests.servers import needs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts `bucketline up`")

PACKAGES = ("bucketline", "api", "engine", "backends")
PROGRAM = """\
from bucketline import Client
job = Client("http://127.0.0.1:1").submit("holiday.mp4", destinations=["media"])
reveal_type(job.transfers[0].state)
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment that has the wheel, and a user's directory that has nothing to do with this checkout."""

    environment: Path
    sdist: Path
    here: Path

    def program(self, name: str) -> str:
        return str(self.environment / "bin" / name)

    def run(self, *command: str, code: int = 0) -> str:
        """What the command prints in the user's directory."""
        done = subprocess.run(
            command, cwd=self.here, env=environ(), capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, text: str) -> str:
        return self.run(self.program("python"), "-c", text)


def environ() -> dict[str, str]:
    """That of a user: no PYTHONPATH, no settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("BUCKETLINE_", "AWS_", "PYTHON"))}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    work = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(work)]
    run(ROOT, *build, "-t", "sdist")
    (sdist,) = work.glob("bucketline-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    run(work / sdist.name.removesuffix(".tar.gz"), *build, "-t", "wheel")
    (wheel,) = work.glob("bucketline-*.whl")
    environment = work / "environment"
    run(work, sys.executable, "-m", "venv", "--without-pip", str(environment))
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "--quiet", "--no-input"]
    run(work, *pip, "install", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel))
    (site,) = (environment / "lib").glob("python*/site-packages")
    # A path in a .pth file is appended as it is: the .pth files there (this checkout's own, too) do not count.
    (site / "dependencies.pth").write_text(f"{Path(httpx.__file__).parents[1]}\n")
    here = work / "here"
    for name in ("api", "engine", "backends"):  # a user's own packages of our names
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise SystemExit('imported the wrong package')\n")
    return Installed(environment, sdist, here)


def run(directory: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=directory, env=environ(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_command_says_its_version(installed: Installed) -> None:
    assert installed.run(installed.program("bucketline"), "--version") == "bucketline 0.1.0\n"


def test_every_package_comes_from_the_wheel_with_its_types(installed: Installed) -> None:
    found = installed.run(
        installed.program("python"), "-P", "-c",
        f"import importlib\nfor name in {PACKAGES}: print(importlib.import_module(name).__file__)",
    )  # fmt: skip

    for line in found.splitlines():
        assert Path(line).is_relative_to(installed.environment)
        assert Path(line).with_name("py.typed").exists()


def test_extras_bring_the_stores(installed: Installed) -> None:
    asked = "from importlib.metadata import requires\nprint(*requires('bucketline'), sep='\\n')"
    needed = installed.python(asked)

    assert re.search(r"^s3fs\S* ?.*extra == 's3'$", needed, re.MULTILINE), needed
    assert re.search(r"^gcsfs\S* ?.*extra == 'gcs'$", needed, re.MULTILINE), needed


def test_the_sdist_holds_what_is_ours_and_nothing_that_lies_about(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}

    assert tops == {
        *PACKAGES, "tests", "examples", "docs", "deploy", "README.md", "CHANGELOG.md", "LICENSE", "plugins.toml",
        "pyproject.toml", "constraints.txt", "PKG-INFO", ".gitignore",
    }  # fmt: skip


# -- everything that runs ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(installed: Installed) -> Iterator[str]:
    """`bucketline up` of the wheel."""
    with (installed.here / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [installed.program("bucketline"), "up", "--port", "0"],
            cwd=installed.here, env=environ(), stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    assert up.stdout is not None
    try:
        line = up.stdout.readline().decode()
        assert " at http" in line, (installed.here / "up.log").read_text()
        yield line.split(" at ")[1].strip()
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(60)
        up.stdout.close()


def test_a_file_arrives(installed: Installed, url: str) -> None:
    (installed.here / "notes.txt").write_bytes(b"Remember the milk.\n")

    said = installed.run(
        installed.program("bucketline"), "put", "notes.txt", "--key", "a/notes.txt", "--json", "--url", url
    )

    assert json.loads(said)["state"] == "succeeded"
    assert (installed.here / "var/objects/a/notes.txt").read_bytes() == b"Remember the milk.\n"


def test_the_destinations_are_proven(installed: Installed, url: str) -> None:
    assert "local" in installed.run(installed.program("bucketline"), "check")


def test_the_reference_is_served_with_its_files(url: str) -> None:
    page = fetched(f"{url}/docs").decode()
    files = re.findall(r'(?:href|src)="(/docs/[^"]+)"', page)

    assert len(files) == 2, page
    assert all(fetched(url + file) for file in files)


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return bytes(answer.read())


# -- what others build on ---------------------------------------------------------------------------------------------


def test_the_conformance_suite_judges_a_destination(installed: Installed) -> None:
    (installed.here / "plugins.toml").write_text('[destinations.shelf]\nbackend = "local"\nroot = "shelf"\n')
    command = documents.block("README.md", "run: suite")
    words = command.replace("NAME", "shelf").split()[1:]

    # The program `pytest` leaves the user's own packages alone, as `python -P` does.
    said = installed.run(
        installed.program("python"), "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, "-k", "sessions"
    )

    assert re.search(r"\d+ passed", said)


def test_types_are_seen_by_those_who_use_it(installed: Installed) -> None:
    needs(importlib.util.find_spec("mypy") is not None, "mypy")
    (installed.here / "program.py").write_text(PROGRAM)
    python = installed.program("python")

    said = installed.run(
        sys.executable, "-P", "-m", "mypy", "--strict", "--python-executable", python, "--cache-dir",
        str(installed.here / ".mypy_cache"), "program.py",
    )  # fmt: skip

    assert 'Revealed type is "str"' in said.replace("builtins.str", "str")
    assert "Success" in said


def test_the_clients_work_beside_a_users_own_packages_of_our_names(installed: Installed) -> None:
    """Here the user's directory is on the path, and comes first."""
    said = installed.python(
        "from bucketline import AsyncClient, Client\nprint(Client.__module__, AsyncClient.__module__)"
    )

    assert said.split() == ["bucketline.client", "bucketline.async_client"]
