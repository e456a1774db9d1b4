"""Pages of other sites: those that the operator names may call and read everything, others read nothing."""

import pytest

from api.asgi import Composed
from api.cors import Cors
from tests.api.asking import Asker
from tests.api.fakes import FakeService

SHOP = "https://shop.example"
KEY = {"authorization": "Bearer s3cret"}
ASKING = {"origin": SHOP, "access-control-request-method": "PUT"}


@pytest.fixture
def shop(service: FakeService) -> Asker:
    """A server with a key that pages of one shop may call."""
    app = Composed(service, api_key="s3cret", cors_origins=(SHOP, "http://localhost:3000"))
    return Asker(app, {"host": "files.example"})


async def test_a_preflight_needs_no_key_and_allows_what_was_asked(shop: Asker) -> None:
    asked = {**ASKING, "access-control-request-headers": "authorization, bucketline-labels,content-type"}
    answer = await shop("OPTIONS", "/v1/objects/media/k", headers=asked)

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "PUT" in answer.headers["access-control-allow-methods"].split(", ")
    assert answer.headers["access-control-allow-headers"] == asked["access-control-request-headers"]
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


async def test_an_answer_and_a_refusal_can_be_read(shop: Asker) -> None:
    fine = await shop("GET", "/v1/jobs", headers={"origin": SHOP, **KEY})
    refused = await shop("GET", "/v1/jobs", headers={"origin": SHOP})

    assert (fine.status, refused.status) == (200, 401)
    for answer in (fine, refused):
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert "Location" in answer.headers["access-control-expose-headers"].split(", ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://shop.example.evil.example",
        "http://shop.example",
        "https://SHOP.example",
        "null",
        "",
    ],
)
async def test_others_are_told_nothing(shop: Asker, origin: str) -> None:
    asked = await shop("OPTIONS", "/v1/jobs", headers={**ASKING, "origin": origin})
    got = await shop("GET", "/v1/jobs", headers={"origin": origin, **KEY})

    assert asked.status == 401
    for answer in (asked, got):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


async def test_header_names_that_are_none_are_not_echoed(shop: Asker) -> None:
    answer = await shop("OPTIONS", "/v1/jobs", headers={**ASKING, "access-control-request-headers": "a b; c"})

    assert answer.status == 204
    assert "access-control-allow-headers" not in answer.headers


async def test_an_ordinary_options_request_is_no_preflight(shop: Asker) -> None:
    answer = await shop("OPTIONS", "/v1/jobs", headers={"origin": SHOP, **KEY})

    assert "access-control-allow-methods" not in answer.headers
    assert answer.headers["allow"]


async def test_without_a_key_named_pages_may_call_loopback(service: FakeService) -> None:
    ask = Asker(Composed(service, cors_origins=(SHOP,)))

    assert (await ask("GET", "/v1/jobs", headers={"origin": SHOP})).status == 200
    assert (await ask("GET", "/v1/jobs", headers={"origin": "https://evil.example"})).status == 403
    assert (await ask("OPTIONS", "/v1/jobs", headers={**ASKING, "host": "evil.example"})).status == 204


async def test_without_a_key_a_star_opens_nothing(service: FakeService) -> None:
    ask = Asker(Composed(service, cors_origins=("*",)))
    answer = await ask("GET", "/v1/jobs", headers={"origin": "https://evil.example"})

    assert (answer.status, answer.json()["code"]) == (403, "origin_refused")
    assert "BUCKETLINE_CORS_ORIGINS" in answer.json()["detail"]


async def test_without_the_setting_nothing_is_said(ask: Asker) -> None:
    answer = await ask("GET", "/v1/jobs", headers={"origin": "http://localhost:3000"})

    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control-") or name == "vary"]


def test_a_star_is_every_page_but_not_null() -> None:
    every = Cors(["*"])

    assert every.allows(b"https://a.example")
    assert not every.allows(b"null")
    assert every.headers([(b"origin", b"https://a.example")])[1] == (
        b"access-control-allow-origin",
        b"https://a.example",
    )


def test_two_origins_are_none() -> None:
    twice = [(b"origin", SHOP.encode()), (b"origin", SHOP.encode())]

    assert Cors([SHOP]).headers(twice) == [(b"vary", b"Origin")]
    assert Cors([SHOP]).preflight("OPTIONS", [*twice, (b"access-control-request-method", b"PUT")]) is None
