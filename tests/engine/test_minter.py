"""Tokens behind the answers: sent in their order by one thread, never in the way of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from dramatiq import Message

from engine import minter as module
from engine.broker import NAMESPACE
from engine.config import next_database
from engine.minter import Minter
from engine.records import Token
from engine.tokens import CHECK, queue_of
from tests.servers import Valkey, eventually

TOKENS = [Token(f"job/{number}", 1) for number in range(20)]


@pytest.fixture
def queued(redis_url: str) -> Iterator[Callable[[], list[Message[object]]]]:
    """What lies in the queue for small steps, in its order."""
    with redis.Redis.from_url(next_database(redis_url)) as client:
        name = f"{NAMESPACE}:{queue_of('small', 'n1')}"

        def look() -> list[Message[object]]:
            return [Message.decode(client.hget(f"{name}.msgs", one)) for one in client.lrange(name, 0, -1)]

        yield look


def test_tokens_are_sent_in_their_order(redis_url: str, queued: Callable[[], list[Message[object]]]) -> None:
    minter = Minter(next_database(redis_url), "n1")
    minter.start()
    for start in range(0, 20, 5):
        minter.send(TOKENS[start : start + 5])
    minter.stop()

    assert [message.args for message in queued()] == [(f"job/{number}", 1) for number in range(20)]


def test_who_stops_sends_what_waits(redis_url: str, queued: Callable[[], list[Message[object]]]) -> None:
    minter = Minter(next_database(redis_url), "n1")
    minter.send(TOKENS)

    minter.start()
    minter.stop()

    assert len(queued()) == 20
    assert not minter._thread.is_alive()


def test_a_check_is_asked_of_a_worker(redis_url: str, queued: Callable[[], list[Message[object]]]) -> None:
    minter = Minter(next_database(redis_url), "n1")
    minter.ask_check("media", "request-1")
    minter.start()
    minter.stop()

    (message,) = queued()
    assert (message.actor_name, message.args) == (CHECK, ("media", "request-1"))


def test_far_too_many_are_dropped_without_a_word(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 25)
    minter = Minter(next_database(redis_url), "n1")

    for _ in range(10):
        minter.send(TOKENS)

    assert minter._queue.qsize() == 40, "a job's tokens go together"


def test_an_outage_costs_the_tokens_of_its_time(own_valkey: Callable[[], Valkey]) -> None:
    server = own_valkey()
    minter = Minter(server.url, "n1")
    server.kill()
    minter.send(TOKENS)
    minter.start()
    eventually(lambda: minter._queue.qsize() == 0, "the tokens are taken")
    server.start()

    def sent() -> bool:
        minter.send(TOKENS[:1])
        with server.client() as client:
            return bool(client.llen(f"{NAMESPACE}:{queue_of('small', 'n1')}"))

    eventually(sent, "tokens are sent again")
    minter.stop()


def test_a_crowd_goes_together(redis_url: str, queued: Callable[[], list[Message[object]]]) -> None:
    minter = Minter(next_database(redis_url), "n1")
    for _ in range(60):
        minter.send(TOKENS)
    minter.start()
    minter.stop()

    assert len(queued()) == 1200
