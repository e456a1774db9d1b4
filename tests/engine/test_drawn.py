"""Sources that are drawn range by range: what is held, what is summed, and what an origin may do wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import MIB
from backends.checksums import crc32c
from backends.errors import ConnectionFailed
from engine import drawn
from engine.drawn import DrawnSource
from engine.errors import EngineError, SourceCorrupt
from engine.retry import GivenBack

DATA = os.urandom(3 * MIB + 7)


class Shelf:
    """An origin in memory, in blocks of any size; `lies` is added to or taken from every range."""

    def __init__(self, data: bytes = DATA, block: int = MIB, lies: int = 0) -> None:
        self.data, self.block, self.lies = data, block, lies
        self.reads: list[tuple[int, int]] = []
        self.gone = False

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        self.reads.append((offset, size))
        found = self.data[offset : offset + size + min(self.lies, 0)] + b"x" * max(self.lies, 0)
        for begin in range(0, len(found), self.block):
            yield found[begin : begin + self.block]

    def check(self) -> None:
        if self.gone:
            raise SourceCorrupt("gone", code="source_changed")


@given(offset=st.integers(0, 5000), size=st.integers(0, 5000), block=st.integers(1, 700), most=st.integers(0, 5000))
def test_a_range_is_what_it_was_and_can_be_read_again(
    offset: int, size: int, block: int, most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = DATA[:10_000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "IN_MEMORY", most)
        shelf = Shelf(data, block)
        body = DrawnSource(shelf, len(data), None, tmp_path_factory.getbasetemp()).body(offset, size)
        assert (body.size, body.crc32c, body.file()) == (size, crc32c(data[offset : offset + size]), None)
        for _ in range(2):
            with body.open() as reader:
                assert reader.read() == data[offset : offset + size]
                assert reader.read(1) == b""
                reader.seek(size // 2)
                assert reader.read(10) == data[offset + size // 2 : offset + size][:10]
        assert len(shelf.reads) == (1 if size else 0)


def test_a_reader_outlives_its_body(tmp_path: Path) -> None:
    reader = DrawnSource(Shelf(), len(DATA), None, tmp_path).body(0, len(DATA)).open()
    assert reader.read() == DATA
    reader.close()
    assert list(tmp_path.iterdir()) == [], "the file never had a name"


def test_the_whole_is_summed_when_it_was_drawn_at_once(tmp_path: Path) -> None:
    source = DrawnSource(Shelf(), len(DATA), None, tmp_path)
    source.body(0, MIB)
    assert source.crc32c is None
    assert source.read_through() == crc32c(DATA)
    assert source.crc32c == crc32c(DATA)


def test_what_its_store_says_of_it_stays(tmp_path: Path) -> None:
    source = DrawnSource(Shelf(), len(DATA), 7, tmp_path)
    source.body(0, len(DATA))
    assert source.crc32c == 7


@pytest.mark.parametrize("size", [100, 2 * MIB], ids=["in memory", "in a file"])
@pytest.mark.parametrize("lies", [-1, 1])
def test_an_origin_that_gives_more_or_less(tmp_path: Path, lies: int, size: int) -> None:
    with pytest.raises(ConnectionFailed):
        DrawnSource(Shelf(lies=lies), len(DATA), None, tmp_path).body(0, size)
    assert list(tmp_path.iterdir()) == []


def test_who_has_to_go_stops_midway(tmp_path: Path) -> None:
    def go() -> None:
        raise GivenBack

    with pytest.raises(GivenBack):
        DrawnSource(Shelf(), len(DATA), None, tmp_path, go).body(0, len(DATA))


def test_no_room_for_a_part_is_trouble_that_may_pass(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as failed:
        DrawnSource(Shelf(), len(DATA), None, tmp_path / "not there").body(0, len(DATA))
    assert (failed.value.code, failed.value.retryable) == ("spool_unavailable", True)


def test_whether_it_is_intact_is_known_by_its_origin(tmp_path: Path) -> None:
    shelf = Shelf()
    source = DrawnSource(shelf, len(DATA), None, tmp_path)
    assert source.intact(0, 1)
    shelf.gone = True
    assert not source.intact(0, 1)
