"""Clients that leave in the middle of a call to Redis, over the real engine: nothing of their request stays held."""

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
from tests.api.asking import Answer, Asker, form
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
