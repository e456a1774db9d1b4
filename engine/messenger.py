"""Sends the ends of jobs to actors of the user's own application: plain Dramatiq messages, into their queues."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from backends.user_actors import UserActor
from engine.hook_views import Attempt

if TYPE_CHECKING:
    from engine.runtime import Runtime


def message_of(actor: UserActor, delivery: str, body: bytes, at_ms: int) -> Message[None]:
    """What its worker gets: one dict, what a webhook would be sent, and the id by which a repetition is known."""
    told = {"id": delivery, **msgspec.json.decode(body)}
    return Message(
        queue_name=actor.queue,
        actor_name=actor.actor,
        args=(told,),
        kwargs={},
        options={},
        message_id=delivery,
        message_timestamp=at_ms,
    )


class Messenger:
    """Keeps one broker for each application: each has an id that its maintenance has to look after, so they are few.

    Safe for threads.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._brokers: dict[tuple[str, str], RedisBroker] = {}
        self._lock = threading.Lock()

    def send(self, name: str, delivery: str, body: bytes) -> Attempt:
        """One try. What its outcome says is for clients' eyes, too: neither address nor password."""
        at_ms = int(time.time() * 1000)
        actor = self._actor(name)
        if actor is None:
            return Attempt(at_ms, None, f"plugins.toml has no [actors.{name}] any more.")
        try:
            self._broker(actor).enqueue(message_of(actor, delivery, body, at_ms))
        except Exception as error:  # an address that the client cannot make sense of has many faces
            return Attempt(at_ms, None, f"The broker of [actors.{name}] did not take it ({type(error).__name__}).")
        return Attempt(at_ms, None, "")

    def _actor(self, name: str) -> UserActor | None:
        """The API may have read a change of plugins.toml before us."""
        if name not in self._runtime.configuration.actors:
            self._runtime.refresh()
        return self._runtime.configuration.actors.get(name)

    def _broker(self, actor: UserActor) -> RedisBroker:
        """Made at first use; then those that plugins.toml no longer describes are let go."""
        place = self._place(actor)
        with self._lock:
            if place not in self._brokers:
                wanted = set(map(self._place, self._runtime.configuration.actors.values()))
                self._brokers = {one: broker for one, broker in self._brokers.items() if one in wanted}
                self._brokers[place] = self._connect(*place)
            return self._brokers[place]

    def _place(self, actor: UserActor) -> tuple[str, str]:
        return actor.broker_url or self._runtime.settings.broker_url, actor.namespace

    def _connect(self, url: str, namespace: str) -> RedisBroker:
        """Tried once more at once, because an idle connection may be dead; what comes later is in the ledger."""
        seconds = self._runtime.settings.webhook_timeout_seconds / 2
        client = redis.Redis.from_url(
            url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 1)
        )
        return RedisBroker(client=client, namespace=namespace, middleware=[])  # type: ignore[no-untyped-call]
