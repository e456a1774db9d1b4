"""A job's priority decides in which lane its tokens travel, and workers take the best lane first."""

from __future__ import annotations

import pytest
from dramatiq import Message

from engine import leases, operations, upkeep
from engine.ledger import Ledger
from engine.models import JobSpec, TransferPlan
from engine.records import Lease, Token
from engine.tokens import CARRY, message_of, queue_of


def submit(ledger: Ledger, priority: str, total: int) -> Token:
    spec = JobSpec(
        id=f"01940c9e-0000-7000-8000-{abs(hash(priority)) % 10**12:012}",
        created_ms=1,
        name="film",
        key="film",
        key_template="",
        destinations=["media"],
        node="here",
        priority=priority,  # type: ignore[arg-type]
    )
    plan = TransferPlan(
        destination="media",
        backend="memory",
        key="film",
        claim=priority,
        url="memory://film",
        fingerprint="f",
        part_size=10,
        total=total,
        window=2,
        whole=total == 1,
        priority=spec.priority,
    )
    answer = ledger.run(
        operations.accept(spec, [plan], size=10 * total, crc32c="", sha256="", keep_seconds=60, lease_seconds=30)
    )
    return answer.tokens[0]


@pytest.mark.parametrize(("priority", "first", "parts"), [
    ("high", "small", "high"), ("normal", "small", "parts"), ("low", "low", "low"),
])  # fmt: skip
def test_tokens_travel_in_the_lane_of_their_job(redis_url: str, priority: str, first: str, parts: str) -> None:
    ledger = Ledger(redis_url)
    token = submit(ledger, priority, total=4)
    assert token.lane == first
    held = ledger.run(leases.lease(token.transfer, token.mint, "fence", 30, {}))
    assert isinstance(held, Lease)
    assert ledger.run(leases.begun(held, {"id": "session"})).lane == parts
    ledger.close()


def test_a_lost_token_is_minted_again_in_its_lane(redis_url: str) -> None:
    ledger = Ledger(redis_url)
    token = submit(ledger, "low", total=4)
    ledger.client.hset(f"{ledger.prefix}t:{token.transfer}", "tokens", 0)
    ledger.client.zadd(f"{ledger.prefix}active", {token.transfer: 0})
    found = ledger.run(upkeep.sweep("worker", {}, "here"))
    assert [one.lane for one in found.tokens] == ["low"]
    ledger.close()


def test_every_lane_has_its_queue_and_its_actor() -> None:
    for lane, actor in CARRY.items():
        message: Message[None] = message_of(Token("job/0", 1, lane), "here")
        assert (message.queue_name, message.actor_name) == (queue_of(lane, "here"), actor)
    assert list(CARRY) == ["small", "high", "parts", "low"], "best first: the order is the priority"
