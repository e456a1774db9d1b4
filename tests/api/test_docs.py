"""The page for people is of this package alone: nothing of it, and nothing that it may load, is elsewhere."""

from __future__ import annotations

import re

import pytest

from api.asgi import Composed
from api.assets import DOCS, HOME, PAGE, media_type
from tests.api.asking import Asker
from tests.api.fakes import FakeService

FILES = {address: media for address, (_, media) in DOCS.items()}
FILES |= {f"/page/{name}": media_type(name) for name in PAGE}
OURS = [address for address in FILES if "/tus." not in address]


@pytest.mark.parametrize("address", FILES)
async def test_every_file_is_served_without_a_key_and_strictly(address: str) -> None:
    ask = Asker(Composed(FakeService(), api_key="a-key-of-this-test"))
    answer = await ask("GET", address)
    again = await ask("GET", address, headers={"If-None-Match": answer.headers["etag"]})

    assert (answer.status, again.status) == (200, 304)
    assert answer.headers["content-type"] == FILES[address]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(r"https?:", policy)


@pytest.mark.parametrize("address", OURS)
async def test_nothing_is_loaded_from_elsewhere(ask: Asker, address: str) -> None:
    text = (await ask("GET", address)).body.decode()

    assert not re.search(r"(?:https?:)?//[a-z0-9]", text)
    assert not re.search(r"\bon[a-z]+=|\bstyle=|<style|<script(?!(?: type=\"module\")? src=)|innerHTML", text)
    for wanted in re.findall(r"(?:src|href)=\"(/[^\"]*)\"", text):
        assert (await ask("GET", wanted)).status == 200


async def test_who_comes_with_a_browser_gets_the_page(ask: Asker) -> None:
    page = await ask("GET", "/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    index = await ask("GET", "/", headers={"Accept": "*/*"})

    assert page.body == (await ask("GET", f"/{HOME}")).body
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert (page.headers["vary"], index.headers["vary"]) == ("Accept", "Accept")
    assert index.json()["service"] == "bucketline"


@pytest.mark.parametrize("name", ["none.js", "..%2Fdocs.html", "%2e%2e", "index.html%00"])
async def test_there_are_no_other_files(ask: Asker, name: str) -> None:
    assert (await ask("GET", f"/page/{name}")).status in (400, 404)
