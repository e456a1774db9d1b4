"""Bodies: what a sender may rely on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.body import BytesBody, FileBody, OpenFileBody
from backends.checksums import combine_crc32c, crc32c, crc32c_text, crc32c_value
from backends.errors import ShortBody


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 40)
    return path


def test_a_file_body_reads_its_range_and_nothing_more(source: Path) -> None:
    with FileBody(source, 100, 1000).open() as reader:
        assert reader.read() == source.read_bytes()[100:1100]
        assert reader.read() == b""
        assert reader.read(10) == b""


def test_a_reader_can_be_rewound(source: Path) -> None:
    with FileBody(source, 7, 50).open() as reader:
        first = reader.read(20)
        assert reader.tell() == 20
        assert reader.seek(0) == 0
        assert reader.read(20) == first
        assert reader.seek(-5, io.SEEK_END) == 45
        assert reader.read() == source.read_bytes()[52:57]


def test_each_open_is_a_reader_of_its_own(source: Path) -> None:
    body = FileBody(source, 0, 100)
    with body.open() as one, body.open() as other:
        assert one.read(60)
        assert len(other.read()) == 100


@pytest.mark.parametrize("way", ["read", "read in blocks", "readinto"])
def test_a_file_shorter_than_promised_never_ends_quietly(source: Path, way: str) -> None:
    body = FileBody(source, 10_000, 1000)
    with body.open() as reader, pytest.raises(ShortBody, match="ends at byte 10240"):
        if way == "read":
            reader.read()
        elif way == "read in blocks":
            while reader.read(64):
                pass
        else:
            reader.readinto(bytearray(1000))  # type: ignore[attr-defined]


def test_a_file_that_is_gone_is_a_short_body_too(tmp_path: Path) -> None:
    with pytest.raises(ShortBody, match="No such file"):
        FileBody(tmp_path / "gone", 0, 1).open()


def test_a_body_of_an_open_file_reads_that_file_whatever_becomes_of_its_name(source: Path) -> None:
    wanted = source.read_bytes()[7:57]
    with source.open("rb") as file:
        body = OpenFileBody(file.fileno(), source.name, 7, 50)
    source.rename(source.with_name("away"))
    source.write_bytes(b"x" * 100)

    assert body.file() is None
    for _ in range(2):
        with body.open() as reader:
            assert reader.read() == wanted


def test_a_body_in_memory_knows_its_checksum() -> None:
    body = BytesBody(b"123456789")
    assert body.crc32c == 0xE3069283  # the check value of CRC-32C
    with body.open() as reader:
        assert reader.read() == b"123456789"


@given(data=st.binary(max_size=2000), offset=st.integers(0, 2000), sizes=st.lists(st.integers(0, 300), max_size=20))
def test_any_mix_of_reads_gives_the_bytes_in_order(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, offset: int, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("body") / "data"
    path.write_bytes(data)
    offset = min(offset, len(data))
    with FileBody(path, offset, len(data) - offset).open() as reader:
        got = b""
        for turn, size in enumerate(sizes):
            if turn % 2:
                got += reader.read(size)
            else:
                block = bytearray(size)
                count = reader.readinto(block)  # type: ignore[attr-defined]
                got += block[:count]
        assert got + reader.read() == data[offset:]


@given(first=st.binary(), second=st.binary())
def test_checksums_combine(first: bytes, second: bytes) -> None:
    combined = combine_crc32c(crc32c(first), crc32c(second), len(second))
    assert combined == crc32c(first + second) == crc32c(second, crc32c(first))
    assert crc32c_value(crc32c_text(combined)) == combined


@pytest.mark.parametrize("text", ["", "crc32c:", "crc32c:????", "crc32c:AAAA", "sha256:00", "yZRlqg=="])
def test_text_that_is_no_crc32c_has_no_value(text: str) -> None:
    assert crc32c_value(text) is None
