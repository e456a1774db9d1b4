"""A real Valkey beside the twin, emptied for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis


@pytest.fixture
def real(redis_url: str) -> Iterator[Redis]:
    """A client of the real server."""
    client = Redis.from_url(redis_url)
    yield client
    client.close()
