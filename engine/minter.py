"""Sends tokens behind the answers: one thread per API process, a bounded queue, one call for all that wait. What it
drops, the sweeper mints.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence

import structlog
from dramatiq import Message
from redis.exceptions import RedisError

from engine.broker import WakingBroker
from engine.ledger import unavailable
from engine.records import Token
from engine.tokens import CARRY, CHECK, message_of, queue_of

log = structlog.get_logger("bucketline.minter")

CAPACITY = 20_000
BATCH = 500
GAP_SECONDS = 0.02  # while many come: each call wakes a thread here, Redis, and a worker


class Minter:
    """`send` never blocks and never fails."""

    def __init__(self, broker_url: str, node: str) -> None:
        self._url = broker_url
        self._node = node
        self._queue: queue.SimpleQueue[Message[None] | None] = queue.SimpleQueue()
        self._asking: WakingBroker | None = None
        self._thread = threading.Thread(target=self._work, name="minter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sends what is waiting, for two seconds at most."""
        self._queue.put(None)
        self._thread.join(2.0)
        if self._asking is not None:
            self._asking.close()

    def send(self, tokens: list[Token]) -> None:
        """Tokens on their way, in order; silently dropped when far too many wait."""
        if self._queue.qsize() < CAPACITY:
            for token in tokens:
                self._queue.put(message_of(token, self._node))

    def ask_check(self, destination: str, request: str) -> None:
        """A worker shall check a destination."""
        small = queue_of("small", self._node)
        self._queue.put(Message(queue_name=small, actor_name=CHECK, args=(destination, request), kwargs={}, options={}))

    async def waiting(self, nodes: Sequence[str]) -> dict[str, int]:
        """How many messages wait in each queue of these nodes. Raises LedgerUnavailable."""
        return await asyncio.to_thread(self._count, [queue_of(lane, node) for node in nodes for lane in CARRY])

    def _count(self, queues: Sequence[str]) -> dict[str, int]:
        if self._asking is None:
            self._asking = WakingBroker(self._url, [])
        try:
            return self._asking.waiting_in(queues)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error

    def _work(self) -> None:
        broker = WakingBroker(self._url, [])
        going_on = True
        sent_at = float("-inf")
        while going_on:
            messages, going_on = self._waiting(sent_at)
            sent_at = time.monotonic()
            try:
                broker.enqueue_many(messages)
            except (RedisError, OSError) as error:
                log.warning("tokens dropped; the sweeper sends others", count=len(messages), error=type(error).__name__)
        broker.close()

    def _waiting(self, sent_at: float) -> tuple[list[Message[None]], bool]:
        """The messages to send now, and whether there will be more. A lone one goes at once, a crowd goes together."""
        found = [self._queue.get()]
        time.sleep(max(0.0, sent_at + GAP_SECONDS - time.monotonic()))
        while len(found) < BATCH and not self._queue.empty():
            found.append(self._queue.get())
        return [message for message in found if message is not None], None not in found
