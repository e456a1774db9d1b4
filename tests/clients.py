"""Both clients for the same tests: the one for asyncio behind the methods of the blocking one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Self, cast

import pytest

from bucketline import AsyncClient, Client

Connect = Callable[..., Client]


class Awaited:
    """An AsyncClient in a loop of its own, which runs while one of its methods does."""

    def __init__(self, *words: Any, **options: Any) -> None:
        self._client = AsyncClient(*words, **options)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.run(self._client.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.run(self._client.__aexit__(*error))
        self._runner.close()

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        return self._blocking(member) if inspect.ismethod(member) else member

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            result = method(*words, **options)
            return self._iterated(result) if isinstance(result, AsyncGenerator) else self._runner.run(result)

        return call

    def _iterated(self, items: AsyncGenerator[Any, None]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items, None)

        try:
            while (item := self._runner.run(following())) is not None:
                yield item
        finally:
            self._runner.run(items.aclose())


@pytest.fixture(params=[Client, Awaited], ids=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Makes a client; the test runs once with either kind."""
    return cast(Connect, request.param)
