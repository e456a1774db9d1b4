"""The growing file of an upload: its room is counted once, before it is used, and given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import SpoolFull
from engine.models import SubmitOptions
from engine.partials import File, Note
from engine.spool import Spool
from tests.engine.books import job_id, spec_of

MIB = 1 << 20
LIMIT = 10 * MIB


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    one = Spool(tmp_path / "spool", limit=LIMIT)
    one.open()
    yield one
    one.close()


def held(spool: Spool, number: int = 1) -> File:
    if spool.partials.read(job_id(number)) is None:
        spool.partials.create(Note(spec=spec_of(number), options=SubmitOptions(), length=8 * MIB))
    file = spool.partials.hold(job_id(number))
    assert file is not None
    return file


def used(spool: Spool) -> int:
    """By what this process counted; walking must find the same, also while files are open, give or take the notes."""
    counted = spool.usage().used
    spool.recount()
    assert abs(spool.usage().used - counted) <= 3 * 4096
    return counted // MIB * MIB


def test_room_is_reserved_used_and_given_back(spool: Spool) -> None:
    file = held(spool)
    file.reserve(6 * MIB)
    assert used(spool) == 6 * MIB

    file.write(bytes(2 * MIB))
    assert used(spool) == 6 * MIB

    file.close()
    assert used(spool) == 2 * MIB
    assert (spool.root / "tus" / job_id()).stat().st_blocks * 512 <= 2 * MIB


def test_a_file_goes_on_where_it_was_counted(spool: Spool) -> None:
    for total in (3, 6):
        file = held(spool)
        file.reserve(3 * MIB)
        file.write(bytes(3 * MIB))
        assert used(spool) == total * MIB
        file.close()
        assert used(spool) == total * MIB


def test_what_is_promised_to_one_is_not_promised_to_another(spool: Spool) -> None:
    first, second = held(spool, 1), held(spool, 2)
    first.reserve(6 * MIB)

    with pytest.raises(SpoolFull):
        second.reserve(6 * MIB)
    with pytest.raises(SpoolFull):
        spool.receive(job_id(3), 6 * MIB)

    first.close()
    second.reserve(6 * MIB)
    second.close()
    assert used(spool) == 0


@pytest.mark.parametrize("reserved", [0, 1000, MIB, 3 * MIB])
def test_more_than_was_reserved_is_counted_when_it_comes(spool: Spool, reserved: int) -> None:
    """A chunked body has no length."""
    file = held(spool)
    file.reserve(reserved)
    file.write(bytes(4 * MIB))
    assert used(spool) == 4 * MIB
    with pytest.raises(SpoolFull):
        file.write(bytes(7 * MIB))
    file.close()
    assert used(spool) == 4 * MIB


def test_a_chunk_that_is_taken_back_leaves_no_room_behind(spool: Spool) -> None:
    file = held(spool)
    file.reserve(2 * MIB)
    file.write(bytes(2 * MIB))
    file.back_to(0)
    file.close()
    assert used(spool) == 0


def test_the_room_of_a_dropped_upload_is_free(spool: Spool) -> None:
    file = held(spool)
    file.write(bytes(3 * MIB))
    file.close()
    spool.partials.forget(job_id())
    assert used(spool) == 0
