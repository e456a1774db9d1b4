"""Fixtures for the tests of the ledger."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
import redis

from engine.service import AsyncService
from tests.engine.books import Books
from tests.engine.rig import Rig
from tests.engine.serving import Drawer
from tests.simulation.servers import ValkeyServer


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The server behind the ledger, to look at keys."""
    with redis.Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def books(client: redis.Redis) -> Books:
    """An empty ledger on a real Valkey, at noon."""
    return Books(ValkeyServer(client, {}))


@pytest.fixture
def rig(client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A worker with nothing to do, to whom it is noon."""
    found = Rig(client, redis_url, tmp_path)
    clock = SimpleNamespace(time=lambda: found.books.now_ms / 1000, monotonic=lambda: found.books.now_ms / 1000)
    for module in ("endings", "reconcile", "sweeper"):
        monkeypatch.setattr(f"engine.{module}.time", clock)
    yield found
    found.close()


@pytest_asyncio.fixture
async def service(rig: Rig) -> AsyncIterator[AsyncService]:
    """What the API holds, beside the rig's worker; its tokens lie in `drawer`, and both have the server's time."""
    rig.books.now_ms = int(time.time() * 1000)
    found = AsyncService(rig.settings)
    found.minter = Drawer()  # type: ignore[assignment]
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
def drawer(service: AsyncService) -> Drawer:
    """The tokens that the service would have sent."""
    found: object = service.minter
    assert isinstance(found, Drawer)
    return found
