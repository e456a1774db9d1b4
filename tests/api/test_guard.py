"""What the headers alone condemn is refused with no byte of the body read."""

import pytest

from api.asgi import Composed
from api.loopback import is_loopback
from tests.api.asking import Asker
from tests.api.fakes import FakeService

PUT = ("PUT", "/v1/objects/media/k")
LONG = {"content-length": "2000000"}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({**LONG}, 413, "too_large"),
        ({"content-length": str(1 << 63)}, 413, "too_large"),
        ({"content-length": "9" * 30}, 413, "too_large"),
        ({"content-length": "+5"}, 400, "bad_request"),
        ({"content-length": "1.5"}, 400, "bad_request"),
        ({"content-encoding": "gzip"}, 415, "unsupported_encoding"),
        ({"content-encoding": "identity, br"}, 415, "unsupported_encoding"),
        ({"expect": "nonsense"}, 417, "expectation_failed"),
        ({"transfer-encoding": "gzip"}, 501, "unknown_coding"),
        ({"transfer-encoding": "gzip, chunked"}, 501, "unknown_coding"),
        ({"host": "evil.example"}, 403, "host_refused"),
        ({"host": "127.0.0.1.evil.example"}, 403, "host_refused"),
        ({"host": ""}, 400, "bad_request"),
        ({"origin": "https://evil.example"}, 403, "origin_refused"),
        ({"origin": "null"}, 403, "origin_refused"),
        ({"origin": "http://[::1"}, 403, "origin_refused"),
    ],
)
async def test_refusals_read_nothing(ask: Asker, headers: dict[str, str], status: int, code: str) -> None:
    answer = await ask(*PUT, body=b"x" * 10, headers=headers)

    assert (answer.status, answer.json()["code"], answer.received) == (status, code, 0)
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:99", "127.0.0.1:8000", "[::1]:8000", "app.localhost", "127.3.2.1"]
)
async def test_loopback_names_are_served_on_any_port(ask: Asker, host: str) -> None:
    answer = await ask("GET", "/livez", headers={"host": host, "origin": f"http://{host}"})

    assert answer.status == 200


def test_only_names_that_cannot_be_rebound_count_as_loopback() -> None:
    assert not is_loopback("127.0.0.1.nip.io")
    assert not is_loopback("2130706433")
    assert not is_loopback("")
    assert is_loopback("localhost.")


async def test_no_room_is_said_before_the_body(ask: Asker, service: FakeService) -> None:
    service.room_left = 5

    answer = await ask(*PUT, body=b"x" * 10)

    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (507, "spool_full", "30")
    assert answer.received == 0


async def test_what_is_wrong_with_the_request_is_said_before_the_body(ask: Asker) -> None:
    for target, status in (
        ("/v1/objects/nowhere/k", 404),
        ("/v1/objects/media/a/../b", 422),
        ("/v1/objects/media/k?keey=1", 422),
    ):
        answer = await ask("PUT", target, body=b"x" * 10)
        assert (answer.status, answer.received) == (status, 0)


async def test_100_continue_is_sent_when_the_body_is_wanted(ask: Asker) -> None:
    wanted = await ask(*PUT, body=b"x", headers={"expect": "100-Continue"})
    refused = await ask("PUT", "/v1/objects/nowhere/k", body=b"x", headers={"expect": "100-continue"})

    assert (wanted.status, wanted.informational) == (202, [100])
    assert (refused.status, refused.informational) == (404, [])


# -- keys


@pytest.fixture
def locked(service: FakeService) -> Asker:
    return Asker(Composed(service, api_key="s3cret-é"), {"host": "files.example"})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_key_opens_any_host_name(locked: Asker) -> None:
    answer = await locked("GET", "/v1/jobs", headers={**bearer("s3cret-é"), "origin": "https://shop.example"})

    assert answer.status == 200


@pytest.mark.parametrize(
    "kind",
    [
        [{}, {"authorization": "Bearer"}, {"authorization": "Basic czpz"}, bearer("")],
        [bearer("s3cret"), bearer("s"), bearer("bl_0123456789ab_" + "a" * 43), bearer("blt_")],
    ],
)
async def test_all_that_send_no_key_get_one_answer_and_all_wrong_keys_too(
    locked: Asker, kind: list[dict[str, str]]
) -> None:
    bodies = set()
    for headers in kind:
        answer = await locked("PUT", "/v1/objects/media/k", body=b"x", headers=headers)
        assert (answer.status, answer.received) == (401, 0)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        document = answer.json()
        document.pop("request_id")
        bodies.add(str(document))
    assert len(bodies) == 1


async def test_two_authorizations_are_none(locked: Asker) -> None:
    pair = [("authorization", "Bearer a"), ("authorization", "Bearer s3cret-é")]

    assert (await locked("GET", "/v1/jobs", headers=pair)).status == 400


@pytest.mark.parametrize(
    "query", ["api_key=x", "access_token=x", "q=s3cret-%C3%A9", "%74oken=x", "a=1&Authorization=x"]
)
async def test_a_key_in_the_url_is_refused_even_beside_a_right_one(locked: Asker, query: str) -> None:
    answer = await locked("GET", f"/v1/jobs?{query}", headers=bearer("s3cret-é"))

    assert (answer.status, answer.json()["code"]) == (400, "key_in_query")
    assert "s3cret" not in answer.body.decode()


async def test_health_needs_no_key(locked: Asker) -> None:
    assert [(await locked("GET", path)).status for path in ("/livez", "/readyz", "/", "/v1/stats")] == [
        200,
        200,
        200,
        401,
    ]


# -- request ids


@pytest.mark.parametrize("given", ["abc-1.2_3", "A" * 128, "01940c9e/7:x@y"])
async def test_a_sane_request_id_is_echoed(ask: Asker, given: str) -> None:
    answer = await ask("GET", "/v1/nothing", headers={"x-request-id": given})

    assert answer.headers["x-request-id"] == answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "A" * 129, "a b", "a\x1b[2J", "é", "<script>"])
async def test_any_other_request_id_is_replaced(ask: Asker, given: str) -> None:
    answer = await ask("GET", "/livez", headers={"x-request-id": given})

    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32
