"""Whose turn it is with an upload, across all API processes: a lock in Redis that asks its holder to let go.

A lock is a key with a token, which the holder refreshes; one whose holder died runs out. Who waits for it publishes a
release message again and again, and a holder that can be interrupted ends what it does. Redis may lose a lock: that
two processes never write one file at once is the file's own lock's business (`partials.File`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from engine.errors import EngineError
from engine.ledger import AsyncLedger

LOCK_SECONDS = 5.0
WAIT_SECONDS = 20.0
ASK_SECONDS = 0.1
_CHANNEL = "tus:release"
_REFRESH = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class Interrupted(EngineError):
    """A newer request wants the upload, and has the right of way."""

    code = "upload_busy"
    retryable = True


class Turn:
    """The lock of one upload, held."""

    def __init__(self, name: str, token: str) -> None:
        self.name = name
        self.token = token
        self._task: asyncio.Task[Any] | None = None
        self._asked = False

    def ask(self) -> None:
        """Somebody waits."""
        if not self._asked and self._task is not None:
            self._task.cancel()
        self._asked = True

    def _is_ours(self) -> bool:
        return self._asked and self._task is not None and self._task.uncancel() == 0

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While inside, a waiting request ends what the current task does: it raises Interrupted."""
        if self._asked:
            raise _interrupted()
        self._task = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            # Ours, unless the process is being stopped as well.
            if self._is_ours():
                raise _interrupted() from None
            raise
        finally:
            self._task = None


def _interrupted() -> Interrupted:
    return Interrupted("A newer request took this upload over. What had arrived is kept: ask for the offset.")


class Turns:
    """One per API process."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        # Usually one of each upload: more when Redis lost the lock of one that is held still.
        self._held: dict[str, set[Turn]] = {}
        self._refreshers: dict[str, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def take(self, name: str) -> Turn:
        """The turn, once the one before has let go. Raises Interrupted when it does not, or LedgerUnavailable."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        turn = Turn(name, secrets.token_hex(16))
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while not await self._ledger.call("SET", self._key(name), turn.token, "NX", "PX", _ms()):
            if asyncio.get_running_loop().time() > deadline:
                raise Interrupted("Another request still works on this upload; try again in a moment.", retry_after=1)
            await self.ask(turn)
            await asyncio.sleep(ASK_SECONDS)
        self._held.setdefault(name, set()).add(turn)
        self._refreshers[turn.token] = asyncio.create_task(self._refresh(turn))
        return turn

    async def ask(self, turn: Turn) -> None:
        """Ask whoever works on the same upload to let go."""
        await self._ledger.call("PUBLISH", self._ledger.prefix + _CHANNEL, f"{turn.name} {turn.token}")

    async def leave(self, turn: Turn) -> None:
        """Let go. Without Redis the lock runs out by itself."""
        held = self._held.get(turn.name, set())
        held.discard(turn)
        if not held:
            self._held.pop(turn.name, None)
        if refresher := self._refreshers.pop(turn.token, None):
            refresher.cancel()
        with suppress(EngineError):
            await self._ledger.call("EVAL", _RELEASE, 1, self._key(turn.name), turn.token)

    async def stop(self) -> None:
        for task in [self._listening, *self._refreshers.values()]:
            if task is not None:
                task.cancel()

    async def _refresh(self, turn: Turn) -> None:
        while True:
            await asyncio.sleep(LOCK_SECONDS / 3)
            with suppress(EngineError):
                await self._ledger.call("EVAL", _REFRESH, 1, self._key(turn.name), turn.token, _ms())

    async def _listen(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                async with self._ledger.client.pubsub() as channel:
                    await channel.subscribe(self._ledger.prefix + _CHANNEL)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self._heard(message["data"].decode())
            await asyncio.sleep(ASK_SECONDS)

    def _heard(self, message: str) -> None:
        name, _, token = message.partition(" ")
        for turn in self._held.get(name, ()):
            if turn.token != token:
                turn.ask()

    def _key(self, name: str) -> str:
        return f"{self._ledger.prefix}tus:{name}:lock"


def _ms() -> int:
    return int(LOCK_SECONDS * 1000)
