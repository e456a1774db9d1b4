"""The arithmetic of parts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import parts
from backends.base import Receipt
from backends.errors import InvalidRequest


def receipts(size: int, part_size: int) -> list[Receipt]:
    return [
        Receipt(number, parts.size_of(number, size, part_size)) for number in range(1, parts.count(size, part_size) + 1)
    ]


@given(size=st.integers(0, 10_000), part_size=st.integers(1, 500))
def test_the_parts_of_an_object_are_all_of_it(size: int, part_size: int) -> None:
    sizes = [receipt.size for receipt in receipts(size, part_size)]
    assert sum(sizes) == size
    assert all(each == part_size for each in sizes[:-1])
    assert len(sizes) == 1 or sizes[-1] > 0


def test_an_empty_object_has_one_empty_part() -> None:
    assert receipts(0, 10) == [Receipt(1, 0)]


@pytest.mark.parametrize("number", [-1, 0, 4])
def test_there_are_no_other_parts(number: int) -> None:
    with pytest.raises(InvalidRequest, match=f"no part {number}"):
        parts.size_of(number, 25, 10)


@given(size=st.integers(0, 1000), part_size=st.integers(1, 100), seed=st.integers())
def test_receipts_in_any_order_are_put_in_order(size: int, part_size: int, seed: int) -> None:
    expected = receipts(size, part_size)
    shuffled = random.Random(seed).sample(expected, len(expected))
    assert parts.in_order(shuffled, size=size, part_size=part_size) == expected


@given(size=st.integers(1, 1000), part_size=st.integers(1, 100), data=st.data())
def test_receipts_that_are_not_exactly_the_parts_are_refused(size: int, part_size: int, data: st.DataObject) -> None:
    expected = receipts(size, part_size)
    victim = data.draw(st.integers(0, len(expected) - 1))
    changed = expected[victim]
    for wrong in (
        expected[:victim] + expected[victim + 1 :],
        [*expected, changed],
        [*expected, Receipt(len(expected) + 1, part_size)],
        [*expected[:victim], Receipt(changed.number, changed.size + 1), *expected[victim + 1 :]],
    ):
        with pytest.raises(InvalidRequest):
            parts.in_order(wrong, size=size, part_size=part_size)
