"""How an object is stored, from HTTP to the store: what a job asks, what its destination adds, and what is refused."""

from __future__ import annotations

import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack


@pytest.fixture
def both(make_stack: MakeStack, provider: Provider) -> Stack:
    defaults = 'properties = { cache_control = "private", metadata = { origin = "us" } }\n'
    plain = '[destinations.plain]\nbackend = "fsspec"\nurl = "file:///tmp/nobody-writes-here"\n'
    return make_stack('default = "s3"\n' + provider.table("s3") + defaults + plain).start()


def headers_of(provider: Provider, key: str) -> dict[str, str]:
    with provider.store.lock:
        return {name.lower(): value for name, value in provider.store.objects["bucket", key].headers.items()}


@pytest.mark.parametrize("large", [False, True], ids=["in one call", "in parts"])
def test_what_a_client_asks_for_is_what_the_store_has(
    both: Stack, provider: Provider, five_parts: bytes, large: bool
) -> None:
    answer = both.talk.http.post(
        "/v1/jobs?key=photo&storage_class=STANDARD_IA",
        content=five_parts if large else b"\x89PNG\r\n\x1a\n" + bytes(16),
        headers={
            "Bucketline-Content-Disposition": 'attachment; filename="a.png"',
            "Bucketline-Metadata": "album=summer",
            "Bucketline-Tags": "team=blue",
        },
    )
    assert answer.status_code == 202, answer.text
    found = both.check_end(answer.json()["id"])

    stored = headers_of(provider, "photo")
    assert stored["content-disposition"] == 'attachment; filename="a.png"'
    assert stored["cache-control"] == "private", "the destination's default"
    assert (stored["x-amz-meta-album"], stored["x-amz-meta-origin"]) == ("summer", "us")
    assert stored["content-type"] == ("application/octet-stream" if large else "image/png")
    assert (found["storage_class"], found["tags"]) == ("STANDARD_IA", {"team": "blue"})
    assert (stored["x-amz-storage-class"], stored["x-amz-tagging"]) == ("STANDARD_IA", "team=blue")


REFUSED = {
    "storage_class=cold": "/storage_class",
    "cache_control=%0d%0aX-Evil:%201": "/cache_control",
    "destinations=plain&metadata=a%3Db": "/metadata",
    "destinations=plain&tags=a%3Db": "/tags",
    "destinations=plain&key=a::b": "/key",
}


def test_what_would_be_refused_or_lost_is_refused_before_the_body(both: Stack) -> None:
    for query, pointer in REFUSED.items():
        answer = both.talk.http.post(f"/v1/jobs?{query}", content=b"x")
        assert answer.status_code == 422, answer.text
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]
