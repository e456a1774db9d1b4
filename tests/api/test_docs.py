"""The page for people is of this package alone: nothing of it, and nothing that it may load, is elsewhere."""

from __future__ import annotations

import re

import pytest

from api.asgi import Composed
from api.pages import DOCS
from tests.api.asking import Asker
from tests.api.fakes import FakeService


@pytest.mark.parametrize("address", DOCS)
async def test_every_file_is_served_without_a_key_and_strictly(address: str) -> None:
    ask = Asker(Composed(FakeService(), api_key="a-key-of-this-test"))
    answer = await ask("GET", address)
    again = await ask("GET", address, headers={"If-None-Match": answer.headers["etag"]})

    assert (answer.status, again.status) == (200, 304)
    assert answer.headers["content-type"] == DOCS[address][1]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(r"https?:", policy)


@pytest.mark.parametrize("address", DOCS)
async def test_nothing_is_loaded_from_elsewhere(ask: Asker, address: str) -> None:
    text = (await ask("GET", address)).body.decode()

    assert not re.search(r"(?:https?:)?//[a-z0-9]", text)
    assert not re.search(r"\bon[a-z]+=|\bstyle=|<style|<script(?! type=\"module\" src=)|innerHTML", text)
    for wanted in re.findall(r"(?:src|href)=\"(/[^\"]*)\"", text):
        assert (await ask("GET", wanted)).status == 200
