"""Sends tokens: the Dramatiq messages that say "somebody work on this transfer"."""

from __future__ import annotations

from collections.abc import Iterable

from dramatiq import Message

from engine.broker import WakingBroker
from engine.records import Onward, Token

CARRY = {"small": "carry_small", "high": "carry_high", "parts": "carry_part", "low": "carry_low"}
"""The actor of each lane, best first: small files and control steps; parts of urgent, ordinary and patient jobs."""
CHECK = "check_destination"


def queue_of(lane: str, node: str) -> str:
    """The queue of a lane on a node: every machine with its own spool has its own queues."""
    return f"{lane}.{node}"


def message_of(token: Token, node: str) -> Message[None]:
    """A token as it travels. It names no part and carries no bytes."""
    lane = token.lane if token.lane in CARRY else "small"
    return Message(
        queue_name=queue_of(lane, node),
        actor_name=CARRY[lane],
        args=(token.transfer, token.mint),
        kwargs={},
        options={},
    )


def send(broker: WakingBroker, tokens: Iterable[Token], node: str) -> None:
    """Enqueues tokens in one round trip. What is lost here, the sweeper mints again."""
    messages = [message_of(token, node) for token in tokens]
    if messages:
        broker.enqueue_many(messages)


def send_onward(broker: WakingBroker, transfer: str, onward: Onward, node: str) -> None:
    """The token of a finished step goes back to the tail of the queue, with the company it was given."""
    if onward.lane:
        send(broker, [Token(transfer, onward.mint, onward.lane)] * (1 + onward.extra), node)
