"""The example package, installed as its users would install it: found by name, and held to the suite."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents, shell

EXAMPLE = Path(__file__).parents[2] / "examples" / "backend-sqlite"


def documented() -> list[list[str]]:
    """The commands that its page gives: pip, and the suite."""
    return list(shell.commands(documents.block("examples/backend-sqlite/README.md", "run: suite")))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which the package is installed beside ours; the tests' own stays as it is."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())  # nothing is built inside the checkout
    here = ["--disable-pip-version-check", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", *documented()[0], *here], cwd=source, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    yield {**os.environ, "PYTHONPATH": str(target)}


def run(environ: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=110
    )


def test_it_passes_the_suite(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_bytes((EXAMPLE / "plugins.toml").read_bytes())
    suite = documented()[1]
    assert [suite] == list(shell.commands(documents.block("docs/backends/write-your-own.md", "run: suite")))
    done = run(installed, tmp_path, *suite, "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and " failed" not in done.stdout


def test_check_proves_it(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_bytes((EXAMPLE / "plugins.toml").read_bytes())
    done = run(installed, tmp_path, "bucketline", "check", "trial")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sqlite" in done.stdout and "ok" in done.stdout


def test_a_mistake_in_its_options_is_told_like_any_other(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_text('[destinations.trial]\nbackend = "sqlite"\nfiel = "objects.db"\n')
    done = run(installed, tmp_path, "bucketline", "check")
    assert done.returncode == 78
    assert "did you mean 'file'?" in done.stderr


def test_without_it_the_name_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_bytes((EXAMPLE / "plugins.toml").read_bytes())
    done = run(dict(os.environ), tmp_path, "bucketline", "check")
    assert done.returncode == 78
    assert "there is no backend 'sqlite'" in done.stderr
