"""Credentials: how they look, and how they are compared."""

from __future__ import annotations

import re

import pytest

from engine import credentials


def test_keys_and_tokens_can_be_recognised_by_scanners() -> None:
    assert re.fullmatch(r"bl_[0-9a-f]{12}_[0-9A-Za-z]{43}", credentials.fresh("key").text)
    assert re.fullmatch(r"blt_[0-9a-f]{16}_[0-9A-Za-z]{43}", credentials.fresh("token").text)


def test_no_two_are_alike_and_what_is_stored_is_not_the_secret() -> None:
    made = [credentials.fresh("key") for _ in range(100)]

    assert len({one.text for one in made}) == len({one.id for one in made}) == 100
    assert all(one.text[16:] not in one.hash and len(one.hash) == 64 for one in made)


def test_a_credential_names_itself() -> None:
    key, token = credentials.fresh("key"), credentials.fresh("token")

    assert credentials.named(key.text) == ("key", key.id)
    assert credentials.named(token.text) == ("token", token.id)


@pytest.mark.parametrize(
    "text",
    ["", "bl_", "bl_0123456789ab_short", "BL_0123456789ab_" + "a" * 43, "bl_0123456789ab_" + "a" * 44,
     "bl_0123456789ab_" + "é" * 43, "bl_0123456789AB_" + "a" * 43, "blt_0123456789ab_" + "a" * 43,
     "bl_0123456789ab_" + "a" * 43 + "\n"],
)  # fmt: skip
def test_anything_else_is_none_of_ours(text: str) -> None:
    assert credentials.named(text) is None


def test_comparing_takes_the_same_way_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right, wrong or unknown: one constant-time comparison of two hashes of the same length."""
    compared = []
    honest = credentials.hmac.compare_digest

    def watched(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return honest(one, other)

    monkeypatch.setattr(credentials.hmac, "compare_digest", watched)
    fresh = credentials.fresh("key")

    assert credentials.same(fresh.hash, fresh.text)
    assert not credentials.same(fresh.hash, fresh.text[:-1] + "!")
    assert not credentials.same(None, fresh.text)
    assert compared == [(64, 64)] * 3
