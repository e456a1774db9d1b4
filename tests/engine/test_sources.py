"""A file that stays where its owner put it: what is read of it is what was submitted, whatever comes to its path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.body import copy
from backends.checksums import crc32c
from engine import sources
from engine.errors import EngineError
from engine.sources import PathSource

DATA = bytes(range(256)) * 40
CHANGED = b"x" * len(DATA)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film").write_bytes(DATA)
    return tmp_path / "in" / "film"


def submitted(film: Path) -> PathSource:
    found = film.stat()
    return PathSource(film, found.st_size, found.st_mtime_ns, found.st_ino)


def codes(source: PathSource) -> set[str]:
    """What those say who use it."""
    found = set()
    for use in (lambda: source.body(0, 10), source.read_through, source.check):
        with pytest.raises(EngineError) as refused:
            use()
        found.add(refused.value.code)
    assert not source.intact(0, 10)
    return found


def test_a_range_has_its_checksum_and_can_be_read_again(film: Path) -> None:
    body = submitted(film).body(100, 1000)

    assert (body.size, body.crc32c, body.file()) == (1000, crc32c(DATA[100:1100]), None)
    for _ in range(2):
        with body.open() as reader:
            assert reader.read() == DATA[100:1100]


def test_a_file_is_summed_as_a_whole(film: Path) -> None:
    source = submitted(film)

    assert source.read_through() == source.crc32c == crc32c(DATA)
    assert source.intact(0, len(DATA))


def test_a_folder_that_became_a_link_is_not_followed_even_to_the_same_file(film: Path, tmp_path: Path) -> None:
    """A file outside that was accepted in a race: its pins are right, and the link stays."""
    source = submitted(film)
    film.parent.rename(tmp_path / "outside")
    film.parent.symlink_to(tmp_path / "outside")

    assert (film.stat().st_ino, film.read_bytes()) == (source._pinned[2], DATA)
    assert codes(source) == {"source_gone"}


def test_a_file_that_became_a_link_or_a_pipe_is_gone(film: Path) -> None:
    source = submitted(film)
    film.rename(film.with_name("other"))
    for make in (lambda: film.symlink_to("other"), lambda: film.symlink_to(film.name), lambda: os.mkfifo(film)):
        make()
        assert codes(source) == {"source_gone"}
        film.unlink()


def test_another_file_at_the_path_is_a_change(film: Path) -> None:
    source = submitted(film)
    film.rename(film.with_name("other"))
    film.write_bytes(DATA)

    assert codes(source) == {"source_changed"}


def test_what_takes_the_path_while_a_part_is_sent_is_not_read(film: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "film").write_bytes(CHANGED)
    body = submitted(film).body(0, len(DATA))
    film.parent.rename(tmp_path / "away")
    film.parent.symlink_to(tmp_path / "outside")

    with body.open() as reader:
        assert reader.read() == DATA


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(CHANGED), lambda path: os.truncate(path, 5)])
@pytest.mark.parametrize("moment", ["before", "behind"])
def test_a_change_while_it_is_summed_is_noticed(
    film: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], moment: str
) -> None:
    def hooked(*args: object) -> int:
        if moment == "before":
            change(film)
        found = copy(*args)  # type: ignore[arg-type]
        change(film)
        return found

    os.utime(film, ns=(0, 0))
    monkeypatch.setattr(sources, "copy", hooked)
    source = submitted(film)

    for use in (lambda: source.body(0, 10_000), source.read_through):
        film.write_bytes(DATA)
        os.utime(film, ns=(0, 0))
        with pytest.raises(EngineError) as refused:
            use()
        assert refused.value.code == "source_changed"


def test_a_part_that_is_over_keeps_nothing_open(film: Path) -> None:
    before, source = os.listdir("/proc/self/fd"), submitted(film)

    with source.body(0, 10).open() as reader:
        reader.read()
    source.read_through()

    assert os.listdir("/proc/self/fd") == before
