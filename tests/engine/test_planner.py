"""Parts: no byte is left out, none is sent twice, and every limit of a provider holds, at its border and beside it."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from backends.base import GIB, KIB, MIB, TIB, Capabilities
from engine.planner import PLANNED_PARTS, PREFERRED_PART, Plan, Unplannable, plan

S3 = Capabilities(min_part=5 * MIB, max_part=5 * GIB, max_parts=10_000, max_object=10_000 * 5 * GIB)

sizes = st.integers(0, 6 * TIB)
multiples = st.sampled_from([1, 512, 64 * KIB, 256 * KIB, MIB])


@st.composite
def limits(draw: st.DrawFn) -> Capabilities:
    """Any provider: what can be said of S3, GCS, Azure, a disk, and of stranger ones."""
    least = draw(st.integers(1, 64 * MIB))
    return Capabilities(
        min_part=least,
        max_part=draw(st.integers(least, 5 * GIB)),
        part_multiple=draw(multiples),
        max_parts=draw(st.integers(1, 50_000)),
        max_object=draw(st.integers(1, 8 * TIB)),
    )


wanted_sizes = st.none() | st.integers(1, 80_000).map(lambda n: n * 64 * KIB)


# -- a plan covers its file -------------------------------------------------------------------------------------------


@given(part_size=st.integers(1, 5_000), parts=st.integers(0, 300), rest=st.integers(0, 5_000))
@example(part_size=1, parts=0, rest=0)
def test_the_parts_are_the_file_without_gap_or_overlap(part_size: int, parts: int, rest: int) -> None:
    size = parts * part_size + min(rest, part_size)
    made = Plan(size, part_size)

    expected_offset = 0
    for number in range(1, made.total + 1):
        offset, length = made.range(number)
        assert offset == expected_offset
        assert length == part_size or number == made.total
        assert length > 0 or size == 0
        expected_offset += length
    assert expected_offset == size


@given(count=st.integers(1, 9_999), part_size=st.integers(1, 5 * GIB), off=st.sampled_from([-1, 0, 1]))
def test_at_the_border_of_a_part_and_one_beside_it(count: int, part_size: int, off: int) -> None:
    size = count * part_size + off
    made = Plan(size, part_size)

    # One byte more than whole parts makes another part; one byte less only makes the last one smaller.
    expected = max(1, count + (1 if off > 0 else 0) - (1 if off < 0 and part_size == 1 else 0))
    assert made.total == expected
    offset, length = made.range(made.total)
    assert offset + length == size


def test_an_empty_file_has_one_empty_part() -> None:
    made = plan(0, S3)

    assert (made.total, made.range(1)) == (1, (0, 0))


@pytest.mark.parametrize("number", [0, -1, 4])
def test_there_is_no_part_outside_the_plan(number: int) -> None:
    with pytest.raises(IndexError, match="of 3"):
        Plan(10, 4).range(number)


# -- a plan keeps the limits ------------------------------------------------------------------------------------------


@given(size=sizes, within=limits(), wanted=wanted_sizes)
def test_a_plan_keeps_every_limit(size: int, within: Capabilities, wanted: int | None) -> None:
    try:
        made = plan(size, within, wanted)
    except Unplannable:
        assume(False)

    assert size <= within.max_object
    assert within.min_part <= made.part_size <= within.max_part
    assert made.part_size % within.part_multiple == 0
    assert made.total <= within.max_parts


@given(size=sizes, within=limits(), wanted=wanted_sizes)
def test_it_is_refused_only_when_no_part_size_would_do(size: int, within: Capabilities, wanted: int | None) -> None:
    largest = within.max_part - within.max_part % within.part_multiple
    possible = size <= within.max_object and largest >= within.min_part and -(-size // largest) <= within.max_parts

    try:
        plan(size, within, wanted)
        planned = True
    except Unplannable:
        planned = False

    assert planned == possible


@given(smaller=sizes, larger=sizes, within=limits(), wanted=wanted_sizes)
def test_a_larger_file_never_has_smaller_parts(
    smaller: int, larger: int, within: Capabilities, wanted: int | None
) -> None:
    largest = within.max_part - within.max_part % within.part_multiple
    most = min(within.max_object, largest * within.max_parts)
    smaller, larger = sorted((smaller % (most + 1), larger % (most + 1)))
    try:
        ceiling = plan(larger, within, wanted).part_size
    except Unplannable:
        return  # which files have no plan is another test's question
    assert plan(smaller, within, wanted).part_size <= ceiling


# -- which size it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "part_size"),
    [
        (1, PREFERRED_PART),
        (PREFERRED_PART, PREFERRED_PART),
        (PREFERRED_PART * PLANNED_PARTS, PREFERRED_PART),
        (PREFERRED_PART * PLANNED_PARTS + 1, PREFERRED_PART + MIB),  # one byte more, and parts grow by a step
        ((PREFERRED_PART + MIB) * PLANNED_PARTS, PREFERRED_PART + MIB),
        (5 * TIB, 583 * MIB),
    ],
)
def test_parts_are_16_mib_until_there_would_be_too_many(size: int, part_size: int) -> None:
    assert plan(size, S3).part_size == part_size


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_the_largest_object_fits_and_one_byte_more_does_not(off: int) -> None:
    if off > 0:
        with pytest.raises(Unplannable, match="more than the"):
            plan(S3.max_object + off, S3)
    else:
        made = plan(S3.max_object + off, S3)
        assert made.total <= S3.max_parts
        assert made.part_size <= S3.max_part


def test_what_the_operator_wants_is_taken() -> None:
    assert plan(GIB, S3, 64 * MIB).part_size == 64 * MIB


def test_what_the_operator_wants_grows_where_it_would_give_too_many_parts() -> None:
    made = plan(100 * GIB, S3, 5 * MIB)

    assert made.part_size > 5 * MIB
    assert made.total <= S3.max_parts


def test_a_wish_below_the_providers_minimum_is_raised_to_it() -> None:
    assert plan(GIB, S3, 64 * KIB).part_size == S3.min_part


def test_a_provider_that_takes_less_than_our_preference_gets_its_own_maximum() -> None:
    small = Capabilities(max_part=4 * MIB, part_multiple=256 * KIB)

    assert plan(GIB, small).part_size == 4 * MIB


@pytest.mark.parametrize(
    ("size", "within", "why"),
    [
        (GIB, Capabilities(max_part=MIB, max_parts=1000), "do not fit 1000 parts"),
        (11, Capabilities(max_object=10), "11 bytes are more than the 10"),
        (1, Capabilities(min_part=3 * MIB, max_part=4 * MIB, part_multiple=5 * MIB), "do not fit"),
    ],
)
def test_a_refusal_says_which_limit_is_in_the_way(size: int, within: Capabilities, why: str) -> None:
    with pytest.raises(Unplannable, match=why):
        plan(size, within)
