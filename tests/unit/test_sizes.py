"""Sizes in configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.sizes import UNITS, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("16MiB", 16 * 2**20), ("64 KiB", 65_536), ("5GiB", 5 * 2**30), ("1TiB", 2**40), ("10B", 10), ("7", 7), (0, 0)],
)
def test_sizes_are_bytes_with_a_binary_unit(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("5 MB", r'write "5MiB"'),
        ("5M", r'write "5MiB"'),
        ("5mib", r'write "5MiB"'),
        ("5GB", r'write "5GiB"'),
        ("5 apples", "the units are B, KiB, MiB, GiB, TiB"),
        ("-5MiB", 'such as "16MiB"'),
        ("1.5MiB", 'such as "16MiB"'),
        ("", 'such as "16MiB"'),
        ("MiB", 'such as "16MiB"'),
        (True, 'such as "16MiB"'),
        (1.5, 'such as "16MiB"'),
        (None, 'such as "16MiB"'),
        (["16MiB"], 'such as "16MiB"'),
    ],
)
def test_what_is_no_size_is_told_how_to_be_one(text: object, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_size(text)  # type: ignore[arg-type]


@given(st.integers(0, 2**49))
def test_a_formatted_size_is_that_size(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 999), st.sampled_from(sorted(UNITS)))
def test_every_unit_can_be_spelt_with_or_without_a_space(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == parse_size(f"{number} {unit}") == number * UNITS[unit]
