"""The queue on a real server: wake-ups instead of polling, none lost, and nothing lost with a worker that dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq import Message, Worker
from dramatiq.errors import ConnectionClosed

from engine.broker import CHANNEL, NAMESPACE, WakingBroker
from engine.config import next_database
from engine.records import Token
from engine.tokens import message_of, queue_of, send, send_onward
from tests.servers import eventually

LONG_MS = 100_000  # longer than a test may take: whoever misses its wake-up misses the end
QUEUE = "parts.n1"


@pytest.fixture
def make(redis_url: str) -> Iterator[Callable[[], WakingBroker]]:
    """Brokers of as many processes as wanted, over one empty server."""
    made: list[WakingBroker] = []

    def broker() -> WakingBroker:
        made.append(WakingBroker(next_database(redis_url), []))
        made[-1].declare_queue(QUEUE)
        return made[-1]

    yield broker
    for one in made:
        one.close()


@pytest.fixture
def broker(make: Callable[[], WakingBroker]) -> WakingBroker:
    return make()


def message(number: int = 0) -> Message[Any]:
    return message_of(Token(f"job/{number}", 1, "parts"), "n1")


def listening(broker: WakingBroker) -> WakingBroker:
    """The broker hears wake-ups from here on."""
    broker.listen()
    eventually(lambda: broker.client.pubsub_numsub(CHANNEL)[0][1] > 0, "the broker listens")
    return broker


def next_of(consumer: Any) -> Any:
    """The next message of a consumer, as Dramatiq's loop waits for it."""
    while True:
        found = next(consumer)
        if found is not None:
            return found


def in_a_thread(work: Callable[[], Any]) -> Any:
    """What `work` comes to in a thread that must end."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=60)


# -- wake-ups ---------------------------------------------------------------------------------------------------------


def test_an_idle_consumer_wakes_when_somebody_enqueues(make: Callable[[], WakingBroker]) -> None:
    consumer = listening(make()).consume(QUEUE, prefetch=4, timeout=LONG_MS)
    somebody = make()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next_of, consumer)
        somebody.enqueue_many([message(7)])
        found = waiting.result(timeout=60)

    assert found.args == ("job/7", 1)


def test_a_single_enqueue_wakes_too(make: Callable[[], WakingBroker]) -> None:
    consumer = listening(make()).consume(QUEUE, prefetch=4, timeout=LONG_MS)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next_of, consumer)
        make().enqueue(message(7))
        assert waiting.result(timeout=60).args == ("job/7", 1)


def test_a_full_consumer_sees_that_it_has_room_again(broker: WakingBroker) -> None:
    """Nobody enqueues any more; only its own acknowledgement can wake it."""
    broker.enqueue_many([message(1), message(2)])
    consumer = listening(broker).consume(QUEUE, prefetch=1, timeout=LONG_MS)
    first = next_of(consumer)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next_of, consumer)
        eventually(lambda: consumer.full, "the consumer is full")
        consumer.ack(first)
        assert waiting.result(timeout=60).args == ("job/2", 1)


def test_who_closes_wakes_everybody(make: Callable[[], WakingBroker]) -> None:
    broker = make()
    consumer = broker.consume(QUEUE, prefetch=1, timeout=LONG_MS)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, consumer)
        eventually(lambda: QUEUE in broker._events, "the consumer waits")
        # Between looking and waiting it clears the event: close until it has been seen.
        while not waiting.done():
            broker.event(QUEUE).set()
        assert waiting.result() is None


def test_messages_of_several_queues_go_with_one_call(broker: WakingBroker) -> None:
    """Each in the order it was given; after a restart of Redis the script is not there and is sent again."""
    broker.client.script_flush()
    before = broker.client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    other = f"{QUEUE}-other"
    broker.enqueue_many([message(1), message(2).copy(queue_name=other), message(3)])
    after = broker.client.info("commandstats")["cmdstat_evalsha"]["calls"]

    assert after - before == 2, "one that found no script, one that did"
    assert [broker.waiting(QUEUE), broker.waiting(other)] == [2, 1]
    bodies = broker.client.hgetall(f"dramatiq:{QUEUE}.msgs")
    order = [Message.decode(bodies[one]).args for one in broker.client.lrange(f"dramatiq:{QUEUE}", 0, -1)]
    assert order == [message(1).args, message(3).args]


def test_nothing_to_enqueue_asks_nobody() -> None:
    away = WakingBroker("redis://127.0.0.1:1/0", [])
    away.enqueue_many([])
    away.close()


def test_only_the_first_message_of_an_empty_queue_wakes(broker: WakingBroker) -> None:
    """A busy queue needs no wake-ups: who is awake looks again by itself."""
    with broker.client.pubsub(ignore_subscribe_messages=True) as ear:
        ear.subscribe(CHANNEL)
        eventually(lambda: broker.client.pubsub_numsub(CHANNEL)[0][1] > 0, "somebody listens")
        broker.enqueue_many([message(number) for number in range(5)])
        broker.enqueue(message(5))
        broker.client.publish(CHANNEL, "the end")
        heard = []
        while "the end" not in heard:
            found = ear.get_message(timeout=10)
            if found is not None:
                heard.append(found["data"].decode())

    assert heard == [QUEUE, "the end"]


def patient_consumers(broker: WakingBroker, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Consumers that never poll, as far as a test can see."""
    made: list[Any] = []
    consume = broker.consume

    def patient(queue_name: str, prefetch: int = 1, timeout: int = 0) -> Any:
        made.append(consume(queue_name, prefetch=prefetch, timeout=LONG_MS))
        return made[-1]

    monkeypatch.setattr(broker, "consume", patient)
    return made


@pytest.mark.parametrize("prefetch", [1, 16])
def test_no_wake_up_is_lost_among_eight_threads(
    make: Callable[[], WakingBroker], monkeypatch: pytest.MonkeyPatch, prefetch: int
) -> None:
    monkeypatch.setattr("dramatiq.worker.QUEUE_PREFETCH", prefetch)
    broker = make()
    done: set[int] = set()
    everything = threading.Event()
    total = 2000

    def carry(transfer: str, mint: int) -> None:
        done.add(int(transfer.removeprefix("job/")))
        if len(done) == total:
            everything.set()

    dramatiq.actor(actor_name="carry_part", queue_name=QUEUE, broker=broker)(carry)
    patient = patient_consumers(broker, monkeypatch)
    worker = Worker(listening(broker), worker_threads=8, worker_timeout=20)
    worker.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            others = [make() for _ in range(4)]
            for start in range(0, total, 8):
                pool.submit(others[start // 8 % 4].enqueue_many, [message(start + n) for n in range(8)])
        assert everything.wait(60), f"{len(done)} of {total} arrived"
    finally:
        for consumer in patient:
            consumer.timeout = 20
        broker.event(QUEUE).set()
        worker.stop()
    assert broker.waiting(QUEUE) == 0


# -- many at once -----------------------------------------------------------------------------------------------------


def test_many_messages_go_in_their_order(broker: WakingBroker) -> None:
    broker.enqueue_many([message(number) for number in range(50)])

    assert broker.waiting(QUEUE) == 50
    consumer = broker.consume(QUEUE, prefetch=100, timeout=1)
    assert [next_of(consumer).args[0] for _ in range(50)] == [f"job/{number}" for number in range(50)]


def test_a_server_that_forgot_the_script_gets_every_message(broker: WakingBroker) -> None:
    broker.enqueue_many([message(1)])
    broker.client.script_flush()

    broker.enqueue_many([message(2), message(3)])

    assert broker.waiting(QUEUE) == 3
    consumer = broker.consume(QUEUE, prefetch=9, timeout=1)
    assert [next_of(consumer).args[0] for _ in range(3)] == ["job/1", "job/2", "job/3"]


def test_nothing_to_enqueue_is_nothing_to_ask(broker: WakingBroker) -> None:
    send(broker, [], "n1")

    assert broker.waiting(QUEUE) == 0


def test_a_redis_that_is_away_is_told_to_who_enqueues() -> None:
    away = WakingBroker("redis://127.0.0.1:1/0", [])
    with pytest.raises(redis.RedisError):
        away.enqueue_many([message(1)])
    away.close()


# -- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["small", "parts", "high", "low"])
def test_every_lane_has_its_queue_on_every_node(broker: WakingBroker, lane: str) -> None:
    send(broker, [Token("job/0", 3, lane)] * 2, "n7")

    assert broker.waiting(queue_of(lane, "n7")) == 2
    assert broker.waiting(queue_of(lane, "n1")) == 0


def test_a_token_goes_on_with_its_company(broker: WakingBroker) -> None:
    from engine.records import Onward

    send_onward(broker, "job/0", Onward(True, "parts", 4, 2), "n1")
    send_onward(broker, "job/0", Onward(True, "", 0, 0), "n1")

    consumer = broker.consume(QUEUE, prefetch=9, timeout=1)
    assert [next_of(consumer).args for _ in range(3)] == [("job/0", 4)] * 3
    assert broker.waiting(QUEUE) == 0


def test_a_lane_that_nobody_knows_is_the_small_one() -> None:
    assert message_of(Token("job/0", 1, "express"), "n1").queue_name == "small.n1"


# -- workers that die -------------------------------------------------------------------------------------------------


def test_the_messages_of_a_dead_worker_come_back(make: Callable[[], WakingBroker]) -> None:
    dead, alive = make(), make()
    dead.enqueue_many([message(1), message(2)])
    lost = dead.consume(QUEUE, prefetch=2, timeout=1)
    next_of(lost)
    assert alive.waiting(QUEUE) == 0

    alive.heartbeat_timeout = 0  # whoever was heard of before now is dead
    consumer = alive.consume(QUEUE, prefetch=9, timeout=1)

    assert {next_of(consumer).args[0] for _ in range(2)} == {"job/1", "job/2"}


def test_the_messages_of_a_worker_that_lives_do_not(make: Callable[[], WakingBroker]) -> None:
    busy, idle = make(), make()
    busy.enqueue_many([message(1)])
    next_of(busy.consume(QUEUE, prefetch=2, timeout=1))

    assert next(idle.consume(QUEUE, prefetch=9, timeout=1)) is None


def test_maintenance_comes_by_the_clock_in_every_thread(broker: WakingBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("engine.broker.time.monotonic", lambda: now)
    due = broker._should_do_maintenance

    assert [due("fetch"), due("fetch"), due("enqueue")] == [1, 0, 0]
    assert in_a_thread(lambda: due("fetch")) == 1, "each consumer looks after its own queue"
    now += 10
    assert [due("ack"), due("fetch"), due("fetch")] == [0, 1, 0]


def test_a_message_that_was_worked_is_gone(broker: WakingBroker) -> None:
    broker.enqueue_many([message(1)])
    consumer = broker.consume(QUEUE, prefetch=1, timeout=1)
    consumer.ack(next_of(consumer))

    assert broker.client.keys(f"{NAMESPACE}:{QUEUE}*") == []


# -- a server that dies -----------------------------------------------------------------------------------------------


def test_every_error_of_redis_is_a_lost_connection(broker: WakingBroker) -> None:
    """Dramatiq then waits and consumes anew; any other error would end its thread."""
    broker.enqueue_many([message(1)])
    consumer = broker.consume(QUEUE, prefetch=2, timeout=1)
    found = next_of(consumer)
    broker.client.set(f"{NAMESPACE}:{QUEUE}", "no list")

    with pytest.raises(ConnectionClosed):
        next(consumer)
    broker.client.delete(f"{NAMESPACE}:__heartbeats__")
    broker.client.set(f"{NAMESPACE}:__heartbeats__", "no sorted set")
    with pytest.raises(ConnectionClosed):
        consumer.ack(found)


def test_wake_ups_are_heard_again_after_an_outage(make: Callable[[], WakingBroker]) -> None:
    broker = listening(make())
    broker.client.client_kill_filter(_type="pubsub")
    eventually(lambda: broker.client.pubsub_numsub(CHANNEL)[0][1] > 0, "it listens again")
    consumer = broker.consume(QUEUE, prefetch=4, timeout=LONG_MS)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next_of, consumer)
        make().enqueue_many([message(7)])
        assert waiting.result(timeout=60).args == ("job/7", 1)
