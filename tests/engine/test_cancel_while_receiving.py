"""A job that is cancelled while its file is still arriving: it ends as cancelled, and nothing makes it a job again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine import arrivals, operations
from engine.ledger import Ledger
from engine.models import JobSpec, TransferPlan

JOB = "01940c9e-0000-7000-8000-000000000001"
SPEC = JobSpec(id=JOB, created_ms=1_795_420_000_000, name="a", key="a", key_template="{name}", destinations=["media"])
PLAN = TransferPlan(
    destination="media", backend="local", key="a", claim="a", url="file:///a", fingerprint="f", part_size=16, total=1,
    window=1, whole=True,
)  # fmt: skip


@pytest.fixture
def ledger(redis_url: str) -> Iterator[Ledger]:
    ledger = Ledger(redis_url)
    yield ledger
    ledger.close()


def test_it_ends_as_cancelled_though_it_has_no_transfer_yet(ledger: Ledger) -> None:
    ledger.run(arrivals.receive(SPEC, 10, 60))

    verdict, state, tokens = ledger.run(operations.command(JOB, "cancel"))

    assert (verdict, state, tokens) == ("done", "cancelled", [])


def test_the_reception_hears_of_it_and_cannot_be_accepted_any_more(ledger: Ledger) -> None:
    ledger.run(arrivals.receive(SPEC, 10, 60))
    ledger.run(operations.command(JOB, "cancel"))

    heard = ledger.run(arrivals.received(JOB, 5, 60))
    answer = ledger.run(
        operations.accept(SPEC, [PLAN], size=10, crc32c="", sha256="", keep_seconds=60, lease_seconds=30)
    )

    assert heard.state == "cancelled"
    assert (answer.made, answer.state, answer.tokens) == (False, "cancelled", [])
