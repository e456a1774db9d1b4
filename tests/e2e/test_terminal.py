"""The command in real terminals, beside a store that is slow: what is on the screen is what the document shows."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents
from tests.e2e.stack import Stack
from tests.panes import Pane, pane
from tests.servers import eventually

COMMAND = [sys.executable, "-P", "-m", "bucketline"]
FILES = ("holiday.mp4", "the long night of the museums.jpg")
PLUGINS = """
default = "archive"
[destinations.archive]
backend = "local"
root    = "archive"
limits  = { part_size = "1MiB", concurrency = 1 }
faults  = { throttle = "1MiB/s" }
[destinations.fast]
backend = "local"
root    = "fast"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    for name in FILES:
        (made / name).write_bytes(random.Random(name).randbytes(6 << 20))
    return made


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(PLUGINS) as stack:
        yield stack.start()


@pytest.fixture(autouse=True)
def home(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKETLINE_URL", stack.talk.url)


def shape(lines: list[str]) -> list[str]:
    """Lines without what differs from time to time: numbers, units, how far a bar is, and where columns stand."""
    text = "\n".join(lines).strip("\n")
    text = re.sub(r"[━╸╺]+", "━", text)
    text = re.sub(r"\d+:\d\d|\d+ s\b", "TIME", text)
    text = re.sub(r"\d+(\.\d+)? (B|KiB|MiB|GiB)", "SIZE", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"(?<![\w.])\d+\b", "N", text)
    return [re.sub(r"(?<=\S) +", " ", line.rstrip()) for line in text.split("\n") if line.strip()]


def documented(mark: str) -> list[str]:
    """A screen as docs/command.md shows it, without the line that was typed."""
    return [line for line in documents.block("docs/command.md", mark).splitlines() if line[:2] != "$ "]


def becomes(terminal: Pane, wanted: list[str]) -> list[str]:
    """Wait until the screen has the shape that is wanted; no line of it was ever wider than the terminal."""
    seen: list[str] = []

    def there() -> bool:
        seen[:] = terminal.lines()
        return shape(seen) == shape(wanted)

    try:
        eventually(there, "the terminal shows what the document does", 40)
    except pytest.fail.Exception:
        pytest.fail("\n".join(["the terminal shows", *shape(seen), "and the document", *shape(wanted)]))
    return seen


PUTS = [
    (100, "pane: put, 100 columns", "pane: put, arrived, 100 columns"),
    (40, "pane: put, 40 columns", "pane: put, arrived, 40 columns"),
]


@pytest.mark.parametrize(("columns", "under_way", "at_the_end"), PUTS)
def test_put_of_two_files(folder: Path, columns: int, under_way: str, at_the_end: str) -> None:
    with pane([*COMMAND, "put", *FILES], columns, cwd=folder) as terminal:
        becomes(terminal, documented(under_way))
        not_wrapped(terminal)
        arrived = ended(terminal, 0)
        assert sorted(shape(arrived)) == sorted(shape(documented(at_the_end)))
        not_wrapped(terminal)


def not_wrapped(terminal: Pane) -> None:
    """The lines of the screen are as many when the terminal puts wrapped ones together."""
    before, whole, after = terminal.lines(), terminal.whole(), terminal.lines()
    while len(before) != len(after):  # it was drawn anew in between
        before, whole, after = terminal.lines(), terminal.whole(), terminal.lines()
    assert len([line for line in whole if line]) == len([line for line in after if line])


def ended(terminal: Pane, code: int) -> list[str]:
    """What the command left on the screen."""
    lines = terminal.shows("exit code ", 60)
    assert lines[-1] == f"exit code {code}"
    return lines[:-1]


def test_a_terminal_has_colours_unless_nobody_wants_them(folder: Path) -> None:
    for wanted, environ in ((True, {}), (False, {"NO_COLOR": "1"})):
        with pane([*COMMAND, "put", FILES[0]], cwd=folder, **environ) as terminal:
            terminal.shows("→ archive")
            terminal.shows("1.0 MiB")
            assert bool(re.search(r"\x1b\[[0-9;]*(3[0-7]|38;|9[0-7])", terminal.with_colours())) is wanted
            terminal.press("C-c")
            terminal.shows("goes on without us")


def test_what_goes_into_a_pipe_has_no_escapes(folder: Path) -> None:
    for words in (["put", FILES[0], "--to", "fast"], ["jobs"], ["jobs", "--json"], ["config", "--data", "d"]):
        environ = {**os.environ, "TERM": "xterm-256color"}
        done = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, env=environ, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert "\r" not in done.stdout + done.stderr


def test_the_live_table_of_jobs(folder: Path) -> None:
    subprocess.run([*COMMAND, "put", FILES[1], "--to", "fast"], cwd=folder, check=True, timeout=60)
    with pane([*COMMAND, "jobs", "--watch"], 100, 8, cwd=folder) as terminal:
        terminal.shows("NAME")
        name = "live.mp4"
        subprocess.run([*COMMAND, "put", FILES[0], "--detach", "--name", name], cwd=folder, check=True, timeout=60)
        wanted = [line.replace("holiday.mp4", name) for line in shape(documented("pane: jobs, 100 columns"))]

        def under_way() -> bool:
            return shape(terminal.lines())[:2] == wanted

        try:
            eventually(under_way, f"the table shows {wanted}", 60)
        except BaseException:
            print("\n".join(terminal.lines()))
            raise
        not_wrapped(terminal)
        eventually(lambda: terminal.lines()[1].split()[:2] == [name, "succeeded"], "the job has arrived", 60)
        terminal.press("C-c")
        ended(terminal, 130)


def test_the_live_table_fits_a_narrow_terminal(folder: Path) -> None:
    subprocess.run([*COMMAND, "put", FILES[1], "--to", "fast"], cwd=folder, check=True, timeout=60)
    with pane([*COMMAND, "jobs", "--watch"], 40, 8, cwd=folder) as terminal:
        terminal.shows("NAME")
        assert terminal.lines()[0].split() == ["NAME", "STATE", "DONE"]
        assert terminal.lines()[1].split()[-3:] == ["succeeded", "100", "%"]
        not_wrapped(terminal)


def test_lists_fit_a_narrow_terminal(folder: Path) -> None:
    (folder / "plugins.toml").write_text(PLUGINS)
    for words in (["jobs", "--limit", "50"], ["check", "fast", "--data", "d"]):
        with pane([*COMMAND, *words], 40, 60, cwd=folder) as terminal:
            ended(terminal, 0)
            not_wrapped(terminal)


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(["put", FILES[0], "--to", "archve"], "archive"), (["jobs", "--state", "runing"], "running")],
)
def test_a_name_that_is_nearly_right_is_met_with_the_right_one(folder: Path, words: list[str], nearest: str) -> None:
    done = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert nearest in done.stderr
