"""The ledger's two doors: the same operations, and every trouble with Redis has one name."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import redis

from engine import notices, operations, upkeep
from engine.errors import LedgerUnavailable
from engine.ledger import PREFIX, AsyncLedger, Ledger, script
from tests.engine.books import accept_of, job_id
from tests.servers import Valkey

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def ledger(redis_url: str) -> Iterator[Ledger]:
    found = Ledger(redis_url)
    yield found
    found.close()


@asynccontextmanager
async def door(url: str, **options: float) -> AsyncIterator[AsyncLedger]:
    found = AsyncLedger(url, **options)  # type: ignore[arg-type]
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that takes connections and never says a word: a Redis that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


# -- scripts ----------------------------------------------------------------------------------------------------------


def test_every_operation_s_script_is_shipped_and_begins_with_the_prelude() -> None:
    prelude = script("read").source.partition("-- Jobs as they are")[0]
    assert "-- P epoch" in prelude
    for name in ("accept", "lease", "record", "sweep"):
        assert script(name).source.startswith(prelude)
    assert script("read").sha != script("page").sha


def test_a_redis_that_does_not_know_a_script_is_told_it_once(ledger: Ledger, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        ledger.run(operations.states([job_id()]))
        assert client.script_exists(script("states").sha) == [True]

        client.script_flush()
        assert ledger.run(operations.states([job_id()])) == {job_id(): ("", 0)}
        assert client.script_exists(script("states").sha) == [True]


async def test_the_asynchronous_door_tells_it_too(redis_url: str) -> None:
    async with door(redis_url) as found:
        assert await found.run(operations.states([job_id()])) == {job_id(): ("", 0)}
        await found.client.script_flush()
        assert await found.run(operations.states([job_id()])) == {job_id(): ("", 0)}


async def test_both_doors_answer_alike(ledger: Ledger, redis_url: str) -> None:
    made = ledger.run(accept_of())

    async with door(redis_url) as found:
        (record,) = await found.run(operations.read_jobs([job_id()]))

    assert record is not None
    assert made.record is not None
    assert (record.fields, record.transfers) == (made.record.fields, made.record.transfers)


def test_the_clock_is_that_of_redis(ledger: Ledger, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        before = client.time()
        now_ms = ledger.run(notices.stats())["now_ms"]
        after = client.time()

    assert before[0] * 1000 + before[1] // 1000 <= now_ms <= after[0] * 1000 + after[1] // 1000


def test_every_key_has_the_prefix(redis_url: str) -> None:
    found = Ledger(redis_url, prefix="staging:")
    found.run(accept_of())
    found.run(upkeep.sweep("w", {}, "n1"))
    found.close()

    with redis.Redis.from_url(redis_url) as client:
        assert {key.partition(b":")[0] for key in client.keys("*")} == {b"staging"}


def test_eight_threads_share_a_door(ledger: Ledger) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for count in range(20):
            ledger.run(accept_of(number * 100 + count, parts=1))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ledger.run(notices.stats())["jobs"]["queued"] == 160


# -- trouble ----------------------------------------------------------------------------------------------------------


def test_a_redis_that_is_away_is_unavailable() -> None:
    found = Ledger(NOWHERE)
    for ask in (lambda: found.run(notices.stats()), found.persistence):
        with pytest.raises(LedgerUnavailable) as refused:
            ask()
        assert refused.value.retryable
        assert refused.value.retry_after
    found.close()


def test_what_goes_wrong_never_names_the_server() -> None:
    found = Ledger("redis://user:secret@127.0.0.1:1/0")
    with pytest.raises(LedgerUnavailable) as refused:
        found.run(notices.stats())
    found.close()

    assert "127.0.0.1" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_redis_that_hangs_is_given_up(silent_url: str) -> None:
    found = Ledger(silent_url, timeout_seconds=0.05)
    with pytest.raises(LedgerUnavailable):
        found.run(notices.stats())
    found.close()


async def test_the_asynchronous_door_gives_up_too(silent_url: str) -> None:
    async with door(silent_url, timeout_seconds=0.05) as found:
        for ask in (found.run(notices.stats()), found.events("feed", "$", block_ms=1), found.bounds("feed")):
            with pytest.raises(LedgerUnavailable):
                await ask


async def test_a_redis_that_is_away_is_unavailable_to_everybody() -> None:
    async with door(NOWHERE) as found:
        for ask in (found.run(notices.stats()), found.events("feed", "$"), found.bounds("feed")):
            with pytest.raises(LedgerUnavailable):
                await ask


def test_a_script_that_redis_refuses_is_unavailable(ledger: Ledger, redis_url: str) -> None:
    """Such as one out of memory: the caller tries again, and nothing was half done that a repetition would not mend."""
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{PREFIX}jobs", "not a sorted set")

    with pytest.raises(LedgerUnavailable):
        ledger.run(operations.page("jobs", "", 1))


def test_a_connection_that_was_cut_is_opened_again_unnoticed(ledger: Ledger, redis_url: str) -> None:
    ledger.run(notices.stats())
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)

    assert ledger.run(notices.stats())["active"] == 0


def test_a_cancelled_request_does_not_spoil_the_next_one(redis_url: str) -> None:
    """An answer that nobody took must not be taken for that of the next question."""

    async def story() -> None:
        async with door(redis_url) as found:
            await found.run(notices.stats())
            waiting = asyncio.ensure_future(found.events("feed", "$", block_ms=5000))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await found.run(operations.states([job_id()])) == {job_id(): ("", 0)}

    asyncio.run(story())


# -- insist -----------------------------------------------------------------------------------------------------------


def test_insisting_outlives_an_outage(own_valkey: Callable[[], Valkey]) -> None:
    server = own_valkey()
    found = Ledger(server.url)
    server.kill()
    asked = itertools.count()

    def back_at_the_third_time() -> bool:
        if next(asked) == 2:
            server.start()
        return False

    answer = found.insist(upkeep.mark_reconciled(), stopped=back_at_the_third_time, pause_seconds=0)
    found.close()

    assert answer == 1


def test_insisting_ends_when_the_process_must_go() -> None:
    found = Ledger(NOWHERE)
    asked: list[bool] = [False, False, True]
    with pytest.raises(LedgerUnavailable):
        found.insist(notices.stats(), stopped=lambda: asked.pop(0), pause_seconds=0)
    found.close()
    assert asked == []


# -- persistence ------------------------------------------------------------------------------------------------------


def test_a_redis_without_a_log_is_warned_of(ledger: Ledger) -> None:
    (warning,) = ledger.persistence()

    assert "appendonly" in warning


def test_a_redis_as_it_should_be_is_not_warned_of(own_valkey: Callable[[], Valkey]) -> None:
    found = Ledger(own_valkey().url)
    assert found.persistence() == []
    found.client.config_set("maxmemory-policy", "allkeys-lru")

    (warning,) = found.persistence()
    found.close()

    assert "allkeys-lru" in warning


# -- event streams ----------------------------------------------------------------------------------------------------


async def test_events_are_read_in_their_order_and_behind_an_id(ledger: Ledger, redis_url: str) -> None:
    ledger.run(accept_of())
    ledger.run(operations.command(job_id(), "pause"))
    ledger.run(operations.command(job_id(), "resume"))
    key = f"job:{job_id()}:events"

    async with door(redis_url) as found:
        everything = await found.events(key, "0-0")
        first, last = await found.bounds(key)
        rest = await found.events(key, everything[0][0])
        one = await found.events(key, "0-0", count=1)

    assert [msgspec.json.decode(data)["state"] for _, _, data, _ in everything] == ["queued", "paused", "queued"]
    assert {kind for _, kind, _, _ in everything} == {"state"}
    assert (first, last) == (everything[0][0], everything[-1][0])
    assert rest == everything[1:]
    assert one == everything[:1]


async def test_a_stream_that_is_not_there_is_empty(redis_url: str) -> None:
    async with door(redis_url) as found:
        assert await found.bounds("feed") == ("0-0", "0-0")
        assert await found.events("feed", "0-0") == []
        assert await found.events("feed", "0-0", block_ms=1) == []


async def test_waiting_for_events_ends_with_the_first(ledger: Ledger, redis_url: str) -> None:
    async with door(redis_url) as found:
        waiting = asyncio.ensure_future(found.events("feed", "0-0", block_ms=60_000))
        await asyncio.to_thread(ledger.run, accept_of())

        ((_, kind, data, _),) = await waiting

    assert (kind, msgspec.json.decode(data)["id"]) == ("state", job_id())


async def test_waiting_for_events_longer_than_any_other_call_takes_is_no_outage(redis_url: str) -> None:
    async with door(redis_url, timeout_seconds=1.0) as found:
        assert await found.events("feed", "$", block_ms=1100) == []


async def test_a_connection_that_was_reset_meanwhile_costs_nobody_a_call(redis_url: str) -> None:
    """A killed Redis leaves such ones: each would refuse a request, though Redis is back."""
    async with door(redis_url) as found:
        await found.bounds("feed")
        kept: Any = found.client.connection_pool
        for connection in kept._available_connections:
            connection._reader.set_exception(ConnectionResetError(104, "reset"))
        assert await found.bounds("feed") == ("0-0", "0-0")
