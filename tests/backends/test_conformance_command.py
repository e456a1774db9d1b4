"""The suite as a third party runs it: by command, against a destination of a plugins.toml."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

CONFIG = """
default = "shelf"

[destinations.shelf]
backend = "local"
root    = "shelf"

[destinations.lossy]
backend = "memory"
cut_at  = 100

[destinations.room]
backend = "memory"

[routes.both]
mirror = ["shelf", "room"]
"""


SKETCH = """
from backends.memory import MemoryBackend, MemoryPlugin


class Sketch(MemoryBackend):
    abort = None

    def stat(self):
        return None


class Plugin(MemoryPlugin):
    name = "sketch"

    def build(self, options):
        return Sketch(options)
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "plugins.toml").write_text(CONFIG)
    return tmp_path


def run(here: Path, *options: str) -> tuple[int, str]:
    """The exit code, and all that was printed."""
    installed = any(entry.value == "bucketline.testing.plugin" for entry in entry_points(group="pytest11"))
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *([] if installed else ["-p", "bucketline.testing.plugin"]),
            *("--pyargs", "backends.conformance", *options),
        ],
        cwd=here,
        env={"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(here)])},
        capture_output=True,
        text=True,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_a_good_destination_passes_and_nothing_is_left_there(here: Path) -> None:
    code, said = run(here, "--destination", "shelf")
    assert code == 0, said
    assert re.search(r"\d\d passed", said)
    assert list((here / "shelf").iterdir()) == []


def test_several_destinations_go_in_one_run_and_a_bad_one_fails(here: Path) -> None:
    code, said = run(
        here, "--destination", "room", "--destination", "lossy", "-k", "test_an_object_may_end_exactly_with_a_part"
    )
    assert code == 1
    assert "[lossy]" in said
    assert "1 failed, 1 passed" in said


def test_credentials_that_are_let_in_though_they_should_be_refused_are_told(here: Path) -> None:
    code, said = run(here, "--destination", "room", "--denied", "shelf", "-k", "test_bad_credentials")
    assert code == 1
    assert "1 failed" in said


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "name what to test: --destination NAME --config plugins.toml"),
        (["--destination", "shlef"], "There is no destination or route 'shlef'. Did you mean 'shelf'?"),
        (["--destination", "both"], "'both' is a route; name one destination"),
        (["--destination", "shelf", "--denied", "no"], "There is no destination or route 'no'."),
        (["--destination", "shelf", "--destination", "room", "--denied", "x"], "--denied goes with one --destination"),
        (
            ["--destination", "shelf", "--config", "missing.toml"],
            "missing.toml: cannot be read: No such file or directory",
        ),
    ],
)
def test_a_wrong_command_says_what_to_do(here: Path, options: list[str], text: str) -> None:
    code, said = run(here, *options)
    assert code == pytest.ExitCode.INTERRUPTED
    assert text in said.splitlines()
    assert "conftest.py" not in said, "a traceback is no help"
    assert said.splitlines().count(text) == 1, "once is enough"


def test_what_is_no_backend_is_told_once_and_not_run(here: Path) -> None:
    (here / "plugins.toml").write_text('[destinations.sketch]\nbackend = "sketch"\n')
    (here / "sketch.py").write_text(SKETCH)
    about = here / "sketch-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sketch\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bucketline.backends]\nsketch = sketch:Plugin\n")
    code, said = run(here, "--destination", "sketch")
    assert code == pytest.ExitCode.INTERRUPTED
    told = [line for line in said.splitlines() if line.startswith("destination 'sketch' cannot be tested: ")]
    assert "destination 'sketch' cannot be tested: Sketch is no backend: it lacks abort" in told
    assert any(
        line.endswith("stat cannot be called as backends.base says: too many positional arguments") for line in told
    )
    assert "1 error in" in said
