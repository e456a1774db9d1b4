"""Grants: what a key or a token allows, and that a token never allows more than its key."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.access import (
    ANYBODY,
    EVERYTHING,
    SCOPES,
    Grant,
    Identity,
    fault_of_narrowing,
    folder,
    known_beginning,
)

ROUTES = {"both": ["media", "archive"], "far": ["archive", "tape"]}
DESTINATIONS = ["media", "archive", "tape"]


def reach(names: Sequence[str]) -> frozenset[str]:
    return frozenset(one for name in names for one in ROUTES.get(name, [name]) if one in DESTINATIONS)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("photos/a.jpg", True),
        ("photos/7/a.jpg", True),
        ("photos", False),
        ("photos-evil/a.jpg", False),
        ("Photos/a.jpg", False),
        ("other/photos/a.jpg", False),
        ("", False),
        ("photo\u0073/a.jpg", True),
        ("photos\u2044a.jpg", False),  # a slash that is none
        ("ｐhotos/a.jpg", False),
        ("photos%2fa.jpg", False),
    ],
)
def test_a_prefix_is_a_folder(key: str, allowed: bool) -> None:
    grant = Grant(scopes=("submit",), prefixes=(folder("photos"),))

    assert (grant.fault_of(["media"], key, reach) is None) is allowed


@pytest.mark.parametrize("text", ["", "/", "a//b", "../a", "a/..", "/a", "a\\b", "a\0", "a::b", "a/./b", "a//"])
def test_a_prefix_that_is_no_folder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        folder(text)


def test_a_prefix_composed_otherwise_is_another_one() -> None:
    grant = Grant(prefixes=(folder("caf\u00e9"),))

    assert grant.fault_of([], "caf\u00e9/x", reach) is None
    assert grant.fault_of([], "cafe\u0301/x", reach) is not None


@pytest.mark.parametrize(
    ("granted", "asked", "allowed"),
    [
        ([], ["tape"], True),
        (["media"], ["media"], True),
        (["media"], ["media", "archive"], False),
        (["both"], ["media", "archive"], True),
        (["both"], ["archive"], True),
        (["both"], ["tape"], False),
        (["gone"], ["media"], False),
    ],
)
def test_a_route_allows_its_members(granted: list[str], asked: list[str], allowed: bool) -> None:
    grant = Grant(destinations=tuple(granted))

    assert (grant.fault_of(asked, "k", reach) is None) is allowed


def test_admin_has_every_scope() -> None:
    assert all(Grant(scopes=("admin",)).has(scope) for scope in SCOPES)
    assert not Grant(scopes=("submit", "read", "control")).has("admin")
    assert EVERYTHING.sees is None
    assert Identity(key="a", grants=(Grant(scopes=("read",)),)).sees == "a"


def test_nobody_may_do_nothing() -> None:
    assert not any(ANYBODY.has(scope) for scope in SCOPES)
    assert not ANYBODY.may_see("job", "", "")


def test_a_template_that_needs_the_content_counts_by_its_beginning() -> None:
    assert known_beginning(None, "photos/{sha256}") == "photos/"
    assert known_beginning(None, "{label.x}/photos/{sha256}") == ""
    assert known_beginning("k", "photos/{sha256}") == "k"


KEY = Grant(scopes=("submit", "read"))
ADMIN = Grant(scopes=("admin",))


def token(key: Grant, **more: str) -> Identity:
    return Identity(key="a", grants=(key, Grant(scopes=("submit",), **more)), token="t1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("who", "owner", "submitted_with", "seen"),
    [
        (Identity(key="a", grants=(KEY,)), "a", "", True),
        (Identity(key="a", grants=(KEY,)), "a", "t1", True),
        (Identity(key="a", grants=(KEY,)), "b", "", False),
        (Identity(key="a", grants=(ADMIN,)), "b", "", True),
        (token(KEY), "a", "t1", True),
        (token(KEY), "a", "t2", False),
        (token(KEY), "a", "", False),
        (token(KEY), "b", "t1", False),
        (token(KEY, job="j"), "a", "", True),
        (token(KEY, job="k"), "a", "", False),
        (token(KEY, job="k"), "a", "t1", False),
        (token(KEY, job="j"), "b", "", False),
        (token(ADMIN, job="j"), "b", "", True),
        (token(Grant(scopes=("submit",))), "a", "t1", False),  # its key may not look either
    ],
)
def test_who_sees_a_job(who: Identity, owner: str, submitted_with: str, seen: bool) -> None:
    assert who.may_see("j", owner, submitted_with) is seen


segments = st.sampled_from(["a", "b", "a-b", "é"])
folders = st.lists(segments, min_size=1, max_size=3).map(lambda words: "/".join(words) + "/")
grants = st.builds(
    Grant,
    scopes=st.lists(st.sampled_from(SCOPES), max_size=3, unique=True).map(tuple),
    destinations=st.lists(st.sampled_from([*DESTINATIONS, *ROUTES, "gone"]), max_size=2, unique=True).map(tuple),
    prefixes=st.lists(folders, max_size=2, unique=True).map(tuple),
    max_size=st.none() | st.integers(1, 5),
)
keys = st.lists(segments, min_size=1, max_size=4).map("/".join)
targets = st.lists(st.sampled_from(DESTINATIONS), min_size=1, max_size=3, unique=True)


def allows(who: Identity, scope: str, to: list[str], key: str, size: int) -> bool:
    return who.has(scope) and who.fault_of(to, key, reach) is None and (who.max_size is None or size <= who.max_size)


@given(grants, grants, st.sampled_from(SCOPES), targets, keys, st.integers(0, 6))
def test_a_token_never_allows_more_than_its_key(
    key: Grant, wish: Grant, scope: str, to: list[str], object_key: str, size: int
) -> None:
    """Whatever was checked when it was made: also with a grant that its key could not hand out."""
    its_key = Identity(key="k", grants=(key,))
    its_token = Identity(key="k", grants=(key, wish), token="t")

    if allows(its_token, scope, to, object_key, size):
        assert allows(its_key, scope, to, object_key, size)
        assert allows(Identity(key="k", grants=(wish,)), scope, to, object_key, size)


@given(grants, grants, st.sampled_from(SCOPES), targets, keys, st.integers(1, 6))
def test_what_a_key_hands_out_it_has(
    key: Grant, wish: Grant, scope: str, to: list[str], object_key: str, size: int
) -> None:
    """A wish that is granted works as far as it says: nothing of it is lost to a narrower key later."""
    its_key = Identity(key="k", grants=(key,))
    if fault_of_narrowing(its_key, wish, reach) is not None:
        return
    said = Grant(
        scopes=wish.scopes,
        destinations=wish.destinations or key.destinations,
        prefixes=wish.prefixes or key.prefixes,
        max_size=wish.max_size if wish.max_size is not None else key.max_size,
    )
    its_token = Identity(key="k", grants=(key, wish), token="t")

    assert allows(its_token, scope, to, object_key, size) == allows(
        Identity(key="k", grants=(said,)), scope, to, object_key, size
    )


@given(grants, keys, targets, st.data())
def test_the_one_folder_to_write_to_is_one_that_may_be_written_to(
    wish: Grant, name: str, to: list[str], data: st.DataObject
) -> None:
    key = data.draw(grants)
    if fault_of_narrowing(Identity(grants=(key,)), wish, reach) is not None:
        return
    who = Identity(grants=(key, wish))

    if who.prefix:
        fault = who.fault_of(to, who.prefix + name, reach)
        assert fault is None or fault[0] == "/destinations"
