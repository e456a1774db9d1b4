"""The ledger's two doors: the same operations on a blocking client (workers) and on an asynchronous one (the API).

Which keys there are, and what may happen to them, is written in scripts/prelude.lua and the scripts beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError
from redis.retry import Retry

from engine.errors import LedgerUnavailable
from engine.operations import Operation

T = TypeVar("T")

PREFIX = "bucketline:"
RETRY_AFTER_SECONDS = 2.0
FRESH_SECONDS = 1.0
CONNECTIONS = 128
CALLS_AT_ONCE = 112
"""A pool that is used up refuses at once; a crowd waits its turn instead. The others are for who keeps one for long."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script with its prelude, and the name under which Redis knows it."""

    source: str
    sha: str


@functools.cache
def script(name: str) -> Script:
    """The script `name` of engine/scripts, joined with the prelude."""
    folder = resources.files("engine") / "scripts"
    source = (folder / "prelude.lua").read_text() + (folder / f"{name}.lua").read_text()
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def unavailable(error: BaseException) -> LedgerUnavailable:
    """What a caller is told when Redis fails in any way; the class of the error is all that goes out, addresses stay
    in.
    """
    return LedgerUnavailable(
        f"Redis did not answer as it should ({type(error).__name__}). Nothing was lost; try again in a moment.",
        retry_after=RETRY_AFTER_SECONDS,
    )


def why_away(error: BaseException) -> str:
    """What is wrong with Redis, for the operator's eyes: addresses are named, passwords are not."""
    cause = error.__cause__ if isinstance(error, LedgerUnavailable) and error.__cause__ else error
    if isinstance(cause, AuthenticationError):  # its own text speaks of HELLO and protocols
        return "it wants a password, or another one: redis://:PASSWORD@HOST:PORT/DB"
    return f"{type(cause).__name__}: {cause}"


class Ledger:
    """Runs operations on blocking connections; safe for threads. Every trouble with Redis is LedgerUnavailable."""

    def __init__(self, url: str, *, timeout_seconds: float = 5.0, prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self.client: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 1),
            protocol=3,
        )

    def run(self, operation: Operation[T]) -> T:
        """The operation's result. Every script may be repeated, so one lost connection is tried again at once."""
        code = script(operation.script)
        try:
            try:
                reply = self.client.evalsha(code.sha, 1, self.prefix, *operation.args)
            except NoScriptError:
                reply = self.client.eval(code.source, 1, self.prefix, *operation.args)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error
        return operation.read(reply)

    def insist(self, operation: Operation[T], *, stopped: Callable[[], bool], pause_seconds: float = 0.5) -> T:
        """Like run, through an outage of any length, until `stopped()`; for reports of effects that have happened."""
        while True:
            try:
                return self.run(operation)
            except LedgerUnavailable:
                if stopped():
                    raise
                time.sleep(pause_seconds)

    def persistence(self) -> list[str]:
        """What is wrong with this Redis as the home of a ledger: warnings for the operator; empty when all is well."""
        try:
            info: Any = self.client.info("persistence")
            memory: Any = self.client.info("memory")
        except (RedisError, OSError) as error:
            raise unavailable(error) from error
        warnings = []
        if not info.get("aof_enabled"):
            warnings.append(
                "Redis does not keep an append-only file (appendonly yes): "
                "a crash of Redis loses the progress of every job."
            )
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            warnings.append(
                f"Redis may evict keys (maxmemory-policy {policy}): "
                "set noeviction, or jobs vanish under memory pressure."
            )
        return warnings

    def close(self) -> None:
        self.client.close()


class _Pool(redis.asyncio.ConnectionPool):
    """Looks at a connection before it is handed out. redis-py sees one that was closed, and not one that was reset, as
    a Redis that was killed leaves them: each would cost a request when it is back.
    """

    async def ensure_connection(self, connection: Any) -> None:
        reader = getattr(connection, "_reader", None)
        if reader is not None and reader.exception() is not None:
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


class AsyncLedger:
    """Runs operations on an asynchronous connection pool. No call takes longer than `timeout_seconds`, which includes
    the wait for a connection where there is a crowd.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 2.0, prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self.timeout_seconds = timeout_seconds
        self._answered_at = float("-inf")
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)
        pool = _Pool.from_url(
            url,
            socket_timeout=None,  # every call has its own limit below; one that waits for events outlasts any fixed one
            socket_connect_timeout=timeout_seconds,
            retry=None,
            max_connections=CONNECTIONS,
            protocol=3,
        )
        self.client: redis.asyncio.Redis = redis.asyncio.Redis.from_pool(pool)

    async def run(self, operation: Operation[T]) -> T:
        code = script(operation.script)
        try:
            async with asyncio.timeout(self.timeout_seconds), self._turns:
                reply = await self._eval(code, operation)
        except (RedisError, OSError, TimeoutError) as error:
            self._answered_at = float("-inf")
            raise unavailable(error) from error
        self._answered_at = time.monotonic()
        return operation.read(reply)

    @property
    def answers(self) -> bool:
        """Whether Redis has just answered: then the next call need not find out first."""
        return time.monotonic() - self._answered_at < FRESH_SECONDS

    async def _eval(self, code: Script, operation: Operation[T]) -> Any:
        try:
            # What `client.evalsha` comes to, without its wrappers: a fifth of this call in a profile (2026-11).
            return await self.client.execute_command(  # type: ignore[no-untyped-call]
                "EVALSHA", code.sha, 1, self.prefix, *operation.args
            )
        except NoScriptError:
            return await self.client.eval(code.source, 1, self.prefix, *operation.args)

    async def call(self, *words: Any) -> Any:
        """One command of Redis, on keys that begin with the prefix."""
        try:
            async with asyncio.timeout(self.timeout_seconds), self._turns:
                return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            raise unavailable(error) from error

    async def events(
        self, key: str, after: str, *, count: int = 200, block_ms: int | None = None
    ) -> list[tuple[str, str, bytes, str]]:
        """Entries of an event stream behind the id `after`: (id, kind, JSON, owner, which only the feed of all jobs
        has). Waits up to `block_ms` for the first, when given.
        """
        limit = self.timeout_seconds + (block_ms or 0) / 1000
        try:
            # One that waits for events keeps its connection for long, and takes no turn: there is one in a process.
            async with asyncio.timeout(limit), self._turns if block_ms is None else contextlib.nullcontext():
                found: Any = await self.client.xread({self.prefix + key: after}, count=count, block=block_ms)
        except (RedisError, OSError, TimeoutError) as error:
            raise unavailable(error) from error
        streams = found.values() if isinstance(found, dict) else [rows for _, rows in found or []]
        entries = [
            entry for rows in streams for batch in rows for entry in (batch if isinstance(batch, list) else [batch])
        ]
        return [
            (entry_id.decode(), fields[b"k"].decode(), fields[b"d"], fields.get(b"o", b"").decode())
            for entry_id, fields in entries
        ]

    async def bounds(self, key: str) -> tuple[str, str]:
        """The first and last id of an event stream, '0-0' for none."""
        try:
            async with asyncio.timeout(self.timeout_seconds), self._turns:
                first: Any = await self.client.xrange(self.prefix + key, count=1)
                last: Any = await self.client.xrevrange(self.prefix + key, count=1)
        except (RedisError, OSError, TimeoutError) as error:
            raise unavailable(error) from error
        return (first[0][0].decode() if first else "0-0", last[0][0].decode() if last else "0-0")

    async def close(self) -> None:
        await self.client.aclose()
