"""The way to a file that a request named: no step of it may be a link, whenever it became one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.named_files import opened
from tests.servers import needs


@pytest.fixture
def film(tmp_path: Path) -> Path:
    folder = tmp_path / "in" / "2026"
    folder.mkdir(parents=True)
    (folder / "film").write_bytes(b"film")
    return folder / "film"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "film").write_bytes(b"secret")
    return folder


def content(path: Path) -> bytes:
    with opened(path) as file:
        return os.pread(file, 100, 0)


def swap(folder: Path, outside: Path) -> None:
    """A link to the outside takes the place of a folder."""
    folder.rename(folder.with_name("away"))
    folder.symlink_to(outside)


def before_opening(patch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Something happens just before this step of the way is opened."""
    real, acts = os.open, [act]

    def hooked(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if path == name and acts:
            acts.pop()()
        return real(path, flags, *args, **options)

    patch.setattr(os, "open", hooked)


def test_a_file_behind_no_link_is_opened(film: Path) -> None:
    assert content(film) == b"film"


@pytest.mark.parametrize("step", ["in", "2026", "film"])
def test_a_link_at_any_step_is_refused(film: Path, tmp_path: Path, step: str) -> None:
    """Also one that leads to the very same file: it need only stay to lead elsewhere later."""
    place = next(path for path in (film, *film.parents) if path.name == step)
    swap(place, place.with_name("away"))

    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        content(film)


@pytest.mark.parametrize("step", ["in", "2026"])
def test_a_folder_that_becomes_a_link_midway_does_not_lead_out(
    film: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place = next(path for path in film.parents if path.name == step)
    (outside / "2026").symlink_to(outside)
    before_opening(monkeypatch, step, lambda: swap(place, outside))

    with pytest.raises(NotADirectoryError):
        content(film)


def test_a_folder_that_was_passed_is_the_one_that_is_read(
    film: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_opening(monkeypatch, "film", lambda: swap(film.parent, outside))

    assert content(film) == b"film"


def test_a_link_loop_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")

    for path in (tmp_path / "loop", tmp_path / "loop" / "film"):
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            content(path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", tmp_path, Path("/")):
        with pytest.raises(OSError, match="Not a regular file"):
            content(path)


HOLDER = """
import fcntl, os, signal, sys
file = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGUSR1, lambda *_: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK))
fcntl.fcntl(file, 10, signal.SIGUSR1)  # F_SETSIG: whom the kernel tells that somebody wants it
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


def test_who_has_a_lease_on_it_is_waited_for(film: Path) -> None:
    """Samba has one for a client that writes, and gives it up when it is asked."""
    command = [sys.executable, "-c", HOLDER, str(film)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        needs(holder.stdout.readline() == "held\n", "a file system with leases")
        assert content(film) == film.read_bytes()
        holder.communicate("")
    assert holder.returncode == 0


def test_folders_need_only_be_passable(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with mode 0711, which stops no root: the tests may run as one."""
    real = os.open

    def refusing(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_DIRECTORY and not flags & os.O_PATH:
            raise PermissionError
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refusing)

    assert content(film) == b"film"


def test_nothing_stays_open(film: Path, tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    content(film)
    for path in (tmp_path, film / "below", tmp_path / "absent" / "film"):
        with pytest.raises(OSError):
            content(path)

    assert os.listdir("/proc/self/fd") == before
