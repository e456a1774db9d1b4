"""Idempotency-Key at the door: what is one, what it covers, and that nothing is read or made twice."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.once import MOST_CHARACTERS, fingerprint, key_of
from api.problems import Problem
from engine.access import Grant, Identity, Quotas
from tests.api.asking import Answer, Asker, form
from tests.api.fakes import FakeService

KEY = {"idempotency-key": '"one"'}


async def put(ask: Asker, key: str = "k", body: Any = b"hello", **headers: str) -> Answer:
    return await ask("PUT", f"/v1/objects/media/{key}", body=body, headers=KEY | headers)


async def test_answered_again_word_by_word_without_reading(ask: Asker, service: FakeService) -> None:
    one = await put(ask)
    service.move(one.json()["id"], "running")
    again = await put(ask)

    assert one.status == again.status == 202
    assert again.body == one.body
    assert again.headers["location"] == one.headers["location"] == again.headers["content-location"]
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in one.headers
    assert again.headers["connection"] == "close"
    assert again.received == 0
    assert len(service.jobs_by_id) == 1


async def test_the_status_is_that_of_the_first(ask: Asker, service: FakeService) -> None:
    service.finish_at_once = True
    one = await put(ask, prefer="wait=5")
    again = await put(ask)
    assert (one.status, again.status) == (200, 200)
    assert "retry-after" not in again.headers


async def test_a_form_with_several_files(ask: Asker, service: FakeService) -> None:
    answers = []
    for boundary in ("one", "two"):
        kind, body = form(("file", "a", "a.txt"), ("file", "b", "b.txt"), boundary=boundary)
        answers.append(await ask("POST", "/v1/jobs", body=body, headers=KEY | {"content-type": kind}))
    one, again = answers
    assert one.json() == again.json() and len(one.json()["jobs"]) == 2
    assert "location" not in again.headers
    assert again.received == 0


async def test_a_source(ask: Asker, service: FakeService) -> None:
    body = b'{"source": {"path": "/a"}}'
    answers = [
        await ask("POST", "/v1/jobs", body=body, headers=KEY | {"content-type": "application/json"}) for _ in range(2)
    ]
    assert answers[0].body == answers[1].body
    assert len(service.jobs_by_id) == 1


async def test_an_answer_that_was_not_written_down(ask: Asker, service: FakeService) -> None:
    one = await put(ask)
    service.repeats.done.clear()
    service.move(one.json()["id"], "running")
    again = await put(ask)
    assert (again.status, again.json()["state"]) == (202, "running")
    assert again.headers["location"] == one.headers["location"]


@pytest.mark.parametrize(
    ("change", "key"),
    [({"body": b"hello!"}, "k"), ({"bucketline_labels": "a=b"}, "k"), ({"content_type": "text/plain"}, "k")],
)
async def test_another_payload(ask: Asker, service: FakeService, change: dict[str, Any], key: str) -> None:
    await put(ask)
    other = await put(ask, key, **{name.replace("_", "-"): value for name, value in change.items()})
    assert (other.status, other.json()["code"]) == (422, "idempotency_mismatch")
    assert other.received == 0
    assert len(service.jobs_by_id) == 1


async def test_a_digest_tells_bodies_of_one_length_apart(ask: Asker) -> None:
    def digest(body: bytes) -> str:
        return f"sha-512=:{base64.b64encode(hashlib.sha512(body).digest()).decode()}:"

    await put(ask, **{"repr-digest": digest(b"hello")})
    other = await put(ask, body=b"hullo", **{"repr-digest": digest(b"hullo")})
    assert other.json()["code"] == "idempotency_mismatch"


async def test_the_address_belongs_to_it(ask: Asker, service: FakeService) -> None:
    answers = [await put(ask, key) for key in ("k", "l", "k%20")]
    answers.append(await ask("POST", "/v1/jobs", body=b"hello", headers=KEY))
    assert len({answer.json()["id"] for answer in answers}) == 4


async def test_others_may_have_the_same_key(ask: Asker, service: FakeService) -> None:
    grant = Grant(scopes=("submit", "read"))
    texts = [f"bl_{number:012x}_{'k' * 43}" for number in range(3)]
    service.gate.known[texts[0]] = Identity(key="a", grants=(grant,))
    service.gate.known[texts[1]] = Identity(key="b", grants=(grant,))
    service.gate.known[texts[2]] = Identity(key="b", grants=(grant,), token="t")
    made = [(await put(ask, authorization=f"Bearer {text}")).json()["id"] for text in texts * 2]
    assert len(set(made)) == 3
    assert made[:3] == made[3:]


async def test_while_the_first_runs(ask: Asker, service: FakeService) -> None:
    service.go_on.clear()
    running = asyncio.create_task(put(ask))
    await service.accepting.wait()
    again = await put(ask)
    service.go_on.set()
    assert (await running).status == 202
    assert (again.status, again.json()["code"], again.headers["retry-after"]) == (409, "idempotency_busy", "7")
    assert again.json()["retryable"] and again.received == 0


@pytest.mark.parametrize(
    ("prepare", "status"),
    [
        ({"room_left": 1}, 507),
        ({"full_after": 1}, 507),
        ({"away": True}, 503),
        ({"lost_at_accept": True}, 503),
        ({"names": ["elsewhere"]}, 404),
    ],
    ids=str,
)
async def test_a_failure_frees_the_key(ask: Asker, service: FakeService, prepare: dict[str, Any], status: int) -> None:
    kept = {name: getattr(service, name) for name in prepare}
    for name, value in prepare.items():
        setattr(service, name, value)
    failed = await put(ask)
    for name, value in kept.items():
        setattr(service, name, value)
    again = await put(ask)
    assert (failed.status, again.status) == (status, 202)
    assert "idempotent-replayed" not in again.headers


async def test_a_replay_costs_no_quota(ask: Asker, service: FakeService) -> None:
    token = f"blt_{1:016x}_{'t' * 43}"
    grant = Grant(scopes=("submit",))
    service.gate.known[token] = Identity(
        key="a", grants=(grant,), token="0" * 16, uploads=1, quotas=Quotas(requests_per_minute=9)
    )
    answers = [await put(ask, authorization=f"Bearer {token}") for _ in range(3)]
    assert [answer.status for answer in answers] == [202] * 3
    assert service.gate.used["0" * 16] == 1


async def test_a_spool_that_is_full_replays(ask: Asker, service: FakeService) -> None:
    await put(ask)
    service.room_left = 0
    assert (await put(ask)).status == 202


@pytest.mark.parametrize("value", ['"', '""', '"a', 'a"b', '"a" ; x', "a,b", "a b", '"\\a"', '"é"', "a;b", "x" * 256])
async def test_junk(ask: Asker, value: str) -> None:
    answer = await ask("PUT", "/v1/objects/media/k", body=b"x", headers={"idempotency-key": value.encode()})
    assert (answer.status, answer.json()["code"]) == (400, "bad_idempotency_key")
    assert answer.received == 0


async def test_given_twice(ask: Asker) -> None:
    answer = await ask("PUT", "/v1/objects/media/k", body=b"x", headers=[*KEY.items(), *KEY.items()])
    assert answer.json()["code"] == "bad_idempotency_key"


def read(value: str) -> str | None:
    return key_of([(b"idempotency-key", value.encode("latin-1"))])


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=MOST_CHARACTERS))
def test_every_string_of_rfc_9651_is_read(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert read(quoted) == read(f" {quoted}\t") == text


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(value: bytes) -> None:
    try:
        found = key_of([(b"idempotency-key", value)])
    except Problem as problem:
        assert problem.code == "bad_idempotency_key"
    else:
        assert found and len(found) <= MOST_CHARACTERS and found.isascii() and found.isprintable()
        quoted = found.replace("\\", "\\\\").replace('"', '\\"')
        assert read(f'"{quoted}"') == found


pairs = st.lists(st.tuples(st.sampled_from([b"bucketline-key", b"bucketline-labels", b"content-type"]), st.binary()))


@given(pairs, st.randoms(), st.integers(0, 9) | st.none())
def test_the_order_of_headers_and_parameters_does_not_matter(
    headers: list[tuple[bytes, bytes]], dice: Any, declared: int | None
) -> None:
    options = [pair for pair in headers if pair[0] != b"content-type"]
    shuffled = [*dice.sample(options, len(options)), (b"x-request-id", b"1"), (b"prefer", b"wait=1")]
    one = fingerprint(b"a=1&b=2", options, declared, "")
    assert fingerprint(b"b=2&a=1", shuffled, declared, "") == one
    assert fingerprint(b"b=2&a=3", shuffled, declared, "") != one
    assert fingerprint(b"b=2&a=1", [*shuffled, (b"bucketline-name", b"x")], declared, "") != one
    assert fingerprint(b"b=2&a=1", shuffled, 10, "") != one
