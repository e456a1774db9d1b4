"""The queue: Dramatiq's Redis broker, with wake-ups instead of polling, and maintenance by the clock.

Messages are tokens: each may be lost, doubled or late without harm, because the ledger has the facts. What this
broker adds is speed.
Enqueueing into an empty queue also publishes its name, and an idle consumer waits for that instead of sleeping: an
idle system picks a token up
within milliseconds and costs next to nothing. Polling stays as the fallback.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import redis
import uuid_utils
from dramatiq import Message, Middleware
from dramatiq.brokers import redis as stock
from dramatiq.errors import ConnectionClosed
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

NAMESPACE = "dramatiq"
CHANNEL = f"{NAMESPACE}:wake"
HEARTBEAT_TIMEOUT_MS = 20_000
MAINTENANCE_SECONDS = 10.0

#: What the stock script does for each message of an `enqueue`, once for many, and with one more effect: who puts the
#: first message into an empty queue, wakes. A consumer that sleeps has found the queue empty, and one that is full
#: looks again after its next acknowledgement. ARGV: the time, who enqueues, then queue, id and message of each.
_ENQUEUE = f"""
redis.call("zadd", KEYS[1] .. ":__heartbeats__", ARGV[1], ARGV[2])
for at = 3, #ARGV, 3 do
    local queue = KEYS[1] .. ":" .. ARGV[at]
    redis.call("hset", queue .. ".msgs", ARGV[at + 1], ARGV[at + 2])
    if redis.call("rpush", queue, ARGV[at + 1]) == 1 then
        redis.call("publish", "{CHANNEL}", ARGV[at])
    end
end
"""


class WakingBroker(stock.RedisBroker):
    """A Redis broker whose consumers sleep until somebody enqueues. It has no delay queues: what is due later is in
    the ledger.
    """

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        client = redis.Redis.from_url(
            url, socket_timeout=10.0, socket_connect_timeout=5.0, retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 3)
        )
        super().__init__(  # type: ignore[no-untyped-call]
            client=client, middleware=middleware, namespace=NAMESPACE, heartbeat_timeout=HEARTBEAT_TIMEOUT_MS
        )
        self._enqueue_all = client.register_script(_ENQUEUE)
        self._events: dict[str, threading.Event] = {}
        self._maintained = threading.local()
        self._closing = threading.Event()
        self._listener: threading.Thread | None = None

    @property
    def consumer_class(self) -> type[Any]:
        return _WakingConsumer

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue_many(self, messages: Iterable[Message[Any]]) -> None:
        """Enqueues all with one call, in their order. After an error some, all or none may have arrived."""
        words: list[str | bytes] = []
        for message in messages:
            one = message.copy(options={"redis_message_id": str(uuid_utils.uuid4())})
            words += (one.queue_name, one.options["redis_message_id"], one.encode())
        if words:
            self._enqueue(words)

    def do_enqueue(self, queue_name: str, message_id: str, message: bytes) -> None:
        """What the stock `enqueue` ends in."""
        self._enqueue([queue_name, message_id, message])

    def _enqueue(self, words: list[str | bytes]) -> None:
        self._enqueue_all(keys=[self.namespace], args=[int(time.time() * 1000), self.broker_id, *words])

    def waiting(self, queue_name: str) -> int:
        """How many messages wait in a queue for a consumer."""
        return int(self.client.llen(f"{self.namespace}:{queue_name}"))

    def waiting_in(self, queue_names: Sequence[str]) -> dict[str, int]:
        """The same for several, with one call."""
        with self.client.pipeline(transaction=False) as calls:
            for name in queue_names:
                calls.llen(f"{self.namespace}:{name}")
            return dict(zip(queue_names, map(int, calls.execute()), strict=True))

    def event(self, queue_name: str) -> threading.Event:
        """Set when somebody enqueued on this queue."""
        found = self._events.get(queue_name)
        return found if found is not None else self._events.setdefault(queue_name, threading.Event())

    def listen(self) -> None:
        """Starts the subscriber of this process; called where consumers run."""
        self._listener = threading.Thread(target=self._hear, name="wake-ups", daemon=True)
        self._listener.start()

    def close(self) -> None:
        self._closing.set()
        for event in self._events.values():
            event.set()
        self.client.close()

    def _hear(self) -> None:
        while not self._closing.is_set():
            try:
                with self.client.pubsub(ignore_subscribe_messages=True) as subscription:
                    subscription.subscribe(CHANNEL)
                    while not self._closing.is_set():
                        heard = subscription.get_message(timeout=5.0)
                        if heard is not None:
                            self.event(heard["data"].decode()).set()
            except (redis.RedisError, OSError, ValueError, TypeError, AttributeError):
                # The last three: `close` takes the connection away while it is being read.
                # Polling goes on meanwhile: a lost subscription costs latency, nothing else.
                self._closing.wait(1.0)

    def _should_do_maintenance(self, command: str) -> int:
        """By the clock, in each consumer's own thread: a dead worker's tokens come back though nobody enqueues."""
        if command != "fetch":
            return 0
        now = time.monotonic()
        if now - getattr(self._maintained, "at", 0.0) < MAINTENANCE_SECONDS:
            return 0
        self._maintained.at = now
        return 1


class _WakingConsumer(stock._RedisConsumer):
    """Waits for a wake-up where the stock consumer sleeps; and takes every error of Redis for what it is, a lost
    connection.
    """

    full = False
    """Set before the consumer looks whether it has room, so that an acknowledgement after that look is sure to wake
    it.
    """

    def __next__(self) -> Any:
        event = self.broker.event(self.queue_name)
        if not self.message_cache:
            event.clear()
            self.full = True
            if self.outstanding_message_count < self.prefetch:
                self.full = False
                self._fetch()
        if self.message_cache:
            return super().__next__()  # type: ignore[no-untyped-call]
        event.wait(self.timeout / 1000)
        return None

    def _fetch(self) -> None:
        try:
            self.message_cache = self.broker.do_fetch(self.queue_name, self.prefetch - self.outstanding_message_count)
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def ack(self, message: Any) -> None:
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        finally:
            if self.full:
                self.broker.event(self.queue_name).set()
