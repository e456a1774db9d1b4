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
from tests.api.asking import Answer, Asker
from tests.engine.serving import Drawer, hold

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
def ask(service: AsyncService) -> Asker:
    whole: Any = service
    return Asker(Composed(whole, api_key="the-operator-s-own-key"))


async def key(service: AsyncService, **quotas: Any) -> dict[str, str]:
    """The header of a new key."""
    fresh = credentials.fresh("key")
    grant = Grant(scopes=("submit", "read"))
    assert await service.ledger.run(
        admission.add_key(ApiKey(id=fresh.id, hash=fresh.hash, grant=grant, quotas=Quotas(**quotas)))
    )
    return {"authorization": f"Bearer {fresh.text}"}


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
