"""What a request counts for, over the real engine: also when its client leaves in the middle of a call to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from api.asgi import Composed
from engine import admission, credentials
from engine.access import ApiKey, Grant, Quotas
from engine.config import Settings, next_database
from engine.service import AsyncService
from tests.api.asking import CUT, Answer, Asker, form
from tests.engine.serving import Drawer, break_ledger, hold

PLUGINS = 'default = "media"\n[destinations.media]\nbackend = "memory"\n'
PUT = ("PUT", "/v1/objects/media/k")


@pytest_asyncio.fixture
async def service(redis_url: str, tmp_path: Path) -> AsyncIterator[AsyncService]:
    """What the API holds; nobody works on its jobs."""
    plugins = tmp_path / "plugins.toml"
    plugins.write_text(PLUGINS)
    found = AsyncService(
        Settings(
            data=tmp_path, spool=tmp_path / "spool", node="n1", redis_url=redis_url,
            broker_url=next_database(redis_url), config_path=plugins, durability="cache",
        )
    )  # fmt: skip
    found.minter = Drawer()  # type: ignore[assignment]
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
def app(service: AsyncService) -> Composed:
    whole: Any = service
    return Composed(whole, api_key="the-operator-s-own-key")


@pytest.fixture
def ask(app: Composed) -> Asker:
    return Asker(app)


async def key(service: AsyncService, **quotas: Any) -> dict[str, str]:
    """The header of a new key."""
    fresh = credentials.fresh("key")
    grant = Grant(scopes=("submit", "read"))
    assert await service.ledger.run(
        admission.add_key(ApiKey(id=fresh.id, hash=fresh.hash, grant=grant, quotas=Quotas(**quotas)))
    )
    return {"authorization": f"Bearer {fresh.text}"}


async def token(service: AsyncService, uploads: int, **quotas: Any) -> dict[str, str]:
    """The header of a new token, good for so many uploads, of a new key."""
    who = await service.gate.identify((await key(service, **quotas))["authorization"].removeprefix("Bearer "))
    assert who is not None
    minted = await service.gate.mint(who, Grant(scopes=("submit",)), uploads=uploads, life_seconds=600)
    assert minted is not None
    return {"authorization": f"Bearer {minted.text}"}


async def leave(sending: asyncio.Task[Answer], held: asyncio.Event, go_on: asyncio.Event) -> None:
    """The client goes while its request waits, and the server cancels that."""
    await held.wait()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert sending.cancelled()
    go_on.set()


async def test_who_leaves_while_it_is_counted_frees_its_idempotency_key(ask: Asker, service: AsyncService) -> None:
    headers = {**await key(service, jobs=9), "idempotency-key": '"one"'}
    held, go_on = hold(service, "admit", after=False)
    await leave(asyncio.create_task(ask(*PUT, body=b"x", headers=headers)), held, go_on)

    again = await ask(*PUT, body=b"x", headers=headers)

    assert (again.status, "idempotent-replayed" in again.headers) == (202, False)


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("leaves", [True, False], ids=["who leaves", "who gets no answer"])
async def test_an_upload_counts_nothing_before_its_admission_is_answered(
    ask: Asker, app: Composed, service: AsyncService, leaves: bool, counted: bool
) -> None:
    """A token for one upload, of a key whose day has room for one."""
    headers = await token(service, 1, bytes_per_day=8)
    if leaves:
        held, go_on = hold(service, "admit", after=counted)
        await leave(asyncio.create_task(ask(*PUT, body=b"12345", headers=headers)), held, go_on)
    else:
        break_ledger(service, "admit", after=counted)
        assert (await ask(*PUT, body=b"12345", headers=headers)).status == 503
    await app._life.settle()  # it is given back beside the answer

    sent, more = [await ask(*PUT, body=b"12345", headers=headers) for _ in range(2)]

    assert (sent.status, more.status) == (202, 429)


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
async def test_a_form_counts_nothing_when_one_of_its_files_has_no_answer(
    ask: Asker, app: Composed, service: AsyncService, counted: bool
) -> None:
    headers = await token(service, 2)
    kind, body = form(("file", b"1", "one"), ("file", b"2", "two"))
    break_ledger(service, "admit", after=counted, passing=1)
    answers = []
    for _ in range(3):
        answers.append(await ask("POST", "/v1/jobs", body=body, headers={**headers, "content-type": kind}))
        await app._life.settle()

    assert [answer.status for answer in answers] == [503, 202, 403]


# -- bodies that do not say how long they are


async def used(service: AsyncService) -> int:
    """The bytes that count today."""
    (name,) = [name async for name in service.ledger.client.scan_iter(f"{service.ledger.prefix}quota:*:bytes:*")]
    return int(await service.ledger.client.get(name))


async def test_bodies_of_unknown_length_do_not_share_what_is_left(ask: Asker, service: AsyncService) -> None:
    headers = await key(service, bytes_per_day=1_000_000)
    pieces = [bytes(100_000)] * 9
    held, go_on = hold(service, "accept", after=False)
    first = asyncio.create_task(ask(*PUT, body=pieces, chunked=True, headers=headers))
    await held.wait()

    meanwhile = [await ask(*PUT, body=pieces, chunked=True, headers=headers) for _ in range(7)]
    meanwhile.append(await ask(*PUT, body=b"1", headers=headers))
    go_on.set()
    answers = [await first, await ask(*PUT, body=pieces[:1], chunked=True, headers=headers)]

    for answer in meanwhile:
        assert (answer.status, answer.json()["code"], answer.received) == (429, "quota_exceeded", 0)
        assert answer.headers["retry-after"] == "10"
    assert [answer.status for answer in answers] == [202, 202], "the first is counted before it is answered"
    assert await used(service) == 1_000_000


async def test_all_files_of_a_form_of_unknown_length_have_what_is_left(
    ask: Asker, app: Composed, service: AsyncService
) -> None:
    headers = await key(service, bytes_per_day=10)
    answers = []
    for data in (b"123456", b"12345"):
        kind, body = form(("file", data, "one"), ("file", data, "two"))
        told = {**headers, "content-type": kind}
        answers.append(await ask("POST", "/v1/jobs", body=[body[:90], body[90:]], chunked=True, headers=told))
        await app._life.settle()

    assert [answer.status for answer in answers] == [413, 202]
    assert await used(service) == 10


async def test_what_is_left_is_free_again_when_a_body_was_cut(ask: Asker, app: Composed, service: AsyncService) -> None:
    headers = await key(service, bytes_per_day=10)
    cut = await ask(*PUT, body=[b"123", CUT], chunked=True, headers=headers)
    await app._life.settle()

    assert (cut.status, (await ask(*PUT, body=b"1234567890", headers=headers)).status) == (400, 202)
    assert await used(service) == 10


async def test_what_came_is_counted_though_its_client_left(ask: Asker, app: Composed, service: AsyncService) -> None:
    headers = await key(service, bytes_per_day=10)
    held, go_on = hold(service, "accept", after=True)
    await leave(asyncio.create_task(ask(*PUT, body=[b"123", b"4"], chunked=True, headers=headers)), held, go_on)
    await app._life.settle()

    assert await used(service) == 4
    assert (await ask(*PUT, body=b"123456", headers=headers)).status == 202


async def test_a_length_with_zeros_in_front_is_a_length(ask: Asker, service: AsyncService) -> None:
    headers = {**await key(service, bytes_per_day=10), "tus-resumable": "1.0.0"}
    padded = {"upload-length": "10".zfill(30), "content-type": "application/offset+octet-stream"}

    answers = [await ask("POST", "/v1/tus", body=b"0123456789", headers=headers | padded) for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 429]
    assert await used(service) == 10


async def test_a_source_brings_no_bytes_however_its_json_is_sent(ask: Asker, service: AsyncService) -> None:
    headers = {**await key(service, bytes_per_day=10), "content-type": "application/json"}
    answer = await ask("POST", "/v1/jobs", body=[b"{", b"}"], chunked=True, headers=headers)

    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (422, "/source")
    assert [name async for name in service.ledger.client.scan_iter(f"{service.ledger.prefix}quota:*")] == []
    assert (await ask(*PUT, body=b"0123456789", headers={"authorization": headers["authorization"]})).status == 202


async def test_an_upload_that_joins_others_counts_no_bytes(ask: Asker, service: AsyncService) -> None:
    """They were counted when its parts were made: it needs nothing of what is left, and nobody waits for it."""
    headers = {**await key(service, bytes_per_day=20), "tus-resumable": "1.0.0"}
    partial = {"upload-concat": "partial", "upload-length": "8", "content-type": "application/offset+octet-stream"}
    parts = [await ask("POST", "/v1/tus", body=b"12345678", headers=headers | partial) for _ in range(2)]
    addresses = " ".join(part.headers["location"] for part in parts)

    final = await ask("POST", "/v1/tus", headers=headers | {"upload-concat": f"final;{addresses}"})

    assert final.status == 201, final.body
    assert await used(service) == 16
    assert (await ask(*PUT, body=b"1234", headers=headers)).status == 202
