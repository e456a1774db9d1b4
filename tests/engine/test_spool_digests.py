"""Digests do not depend on how the bytes arrived, and those of the parts add up to that of the whole."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.checksums import combine_crc32c, crc32c
from engine import digests
from engine.digests import BLOCK_SIZE, MAX_BLOCKS, Digest, Digester
from engine.planner import Plan
from engine.staged import SpooledSource
from tests.engine.spooling import accept, new_id, opened, sidecar_of

SMALL_BLOCK = 64
SMALL_COUNT = 8


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few kilobytes then show what otherwise takes many gigabytes."""
    monkeypatch.setattr(digests, "BLOCK_SIZE", SMALL_BLOCK)
    monkeypatch.setattr(digests, "MAX_BLOCKS", SMALL_COUNT)


def digest_of(data: bytes, cuts: list[int], size: int | None = None) -> Digest:
    digester = Digester(size, {"sha256", "sha512"})
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(borders):
        digester.update(data[begin:end])
    return digester.digest()


over_small_blocks = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@over_small_blocks
@given(data=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 3000), max_size=20), known=st.booleans())
def test_any_chunking_gives_the_same_digest(small_blocks: None, data: bytes, cuts: list[int], known: bool) -> None:
    size = len(data) if known else None

    found = digest_of(data, cuts, size)

    assert found == digest_of(data, [], size)
    assert found.size == len(data)
    assert found.crc32c == crc32c(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.sha512 == hashlib.sha512(data).hexdigest()
    assert len(found.blocks) <= 4 * SMALL_COUNT
    for index in range(len(found.blocks) // 4):
        begin, end = found.block_range(index)
        assert found.block(index) == crc32c(data[begin:end])


@over_small_blocks
@given(data=st.binary(max_size=3000), part_size=st.integers(1, 600), known=st.booleans())
def test_the_parts_of_any_plan_combine_to_the_whole(
    small_blocks: None, tmp_path: Path, data: bytes, part_size: int, known: bool
) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    source = SpooledSource(path, digest_of(data, [], len(data) if known else None))
    plan = Plan(len(data), part_size)

    whole = 0
    for number in range(1, plan.total + 1):
        offset, size = plan.range(number)
        body = source.body(offset, size)
        assert body.crc32c == crc32c(data[offset : offset + size])
        whole = combine_crc32c(whole, body.crc32c or 0, size)

    assert whole == source.crc32c == crc32c(data)
    assert source.intact(0, len(data))


@over_small_blocks
@given(size=st.integers(1, 3000), at=st.integers(0, 2999), part_size=st.integers(1, 600))
def test_a_changed_byte_is_found_wherever_it_is(
    small_blocks: None, tmp_path: Path, size: int, at: int, part_size: int
) -> None:
    at %= size
    data = os.urandom(size)
    path = tmp_path / "data"
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    source = SpooledSource(path, digest_of(data, []))

    offset, part = Plan(size, part_size).range(at // part_size + 1)

    assert not source.intact(offset, part)


def test_aligned_parts_are_combined_without_reading() -> None:
    data = os.urandom(5 * BLOCK_SIZE + 3)
    source = SpooledSource(Path("/nowhere"), digest_of(data, [1000, 2 * BLOCK_SIZE]))

    assert source.body(BLOCK_SIZE, 2 * BLOCK_SIZE).crc32c == crc32c(data[BLOCK_SIZE : 3 * BLOCK_SIZE])
    assert source.body(4 * BLOCK_SIZE, BLOCK_SIZE + 3).crc32c == crc32c(data[4 * BLOCK_SIZE :])


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE])
def test_borders_of_blocks(size: int) -> None:
    data = os.urandom(size)
    found = digest_of(data, [])
    assert found.crc32c == crc32c(data)
    assert len(found.blocks) == 4 * -(-size // BLOCK_SIZE)


@pytest.mark.parametrize(("size", "block"), [(1, 1), (16 << 30, 1), ((16 << 30) + 1, 2), (5 << 40, 512)])
def test_blocks_grow_with_the_file_so_that_their_number_is_bounded(size: int, block: int) -> None:
    digester = Digester(size)
    digester.update(b"x")
    block_size = digester.digest().block_size
    assert block_size == block * BLOCK_SIZE
    assert -(-size // block_size) <= MAX_BLOCKS


def test_a_digest_survives_json_in_the_words_of_the_sidecar() -> None:
    found = digest_of(b"123456789", [])

    assert found.crc32c == 0xE3069283  # the check value of CRC32C
    assert found.crc32c_base64 == "4waSgw=="
    assert msgspec.json.decode(msgspec.json.encode(found), type=Digest) == found
    assert msgspec.to_builtins(found)["crc32c"] == found.crc32c_base64


def test_only_what_was_asked_for_is_computed() -> None:
    found = Digester(None).digest()
    assert found.sha256 is None
    assert found.sha512 is None


def test_an_unknown_digest_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        with pytest.raises(ValueError, match="md5"):
            spool.receive(new_id(), 1, digests={"md5"})
        assert spool.usage().used == 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 1000, 65_536, BLOCK_SIZE, BLOCK_SIZE + 1]), max_size=6), known=st.booleans()
)
def test_what_is_written_in_any_pieces_is_what_is_read(tmp_path: Path, sizes: list[int], known: bool) -> None:
    data = os.urandom(sum(sizes))
    with opened(tmp_path / new_id()) as spool:
        incoming = spool.receive(new_id(), len(data) if known else None)
        rest = data
        for size in sizes:
            incoming.write(rest[:size])
            rest = rest[size:]
        incoming.commit(sidecar_of(incoming.digest()))
        source = spool.source(incoming.job_id)
        with source.body(0, source.size).open() as reader:
            assert reader.read() == data
        assert source.crc32c == crc32c(data)


def test_the_digest_of_a_job_is_read_from_disk_once(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        job = accept(spool, b"bytes")
        first = spool.source(job).digest
        assert spool.source(job).digest is first


@pytest.mark.parametrize("size", [0, 1000, BLOCK_SIZE + 1])
def test_a_digest_can_be_asked_for_when_all_bytes_have_come(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    with opened(tmp_path) as spool:
        incoming = spool.receive(new_id(), size)
        incoming.write(data)

        found = incoming.digest_again({"sha256"})

        assert found.sha256 == hashlib.sha256(data).hexdigest()
        assert msgspec.structs.replace(found, sha256=None) == incoming.digest()
        incoming.commit(sidecar_of(found))
        assert spool.source(incoming.job_id).intact(0, size)
