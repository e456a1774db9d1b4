"""A worker that stands still beyond its lease, and goes on as if nothing had happened: it changes nothing any more."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.e2e.provider import Provider, When
from tests.e2e.stack import MakeStack, frozen
from tests.servers import eventually


class Freeze(NamedTuple):
    when: When
    on: str
    number: int
    again: dict[str, int]
    """What the other worker has to do once more, as the provider counts it."""


FREEZES = {
    "before opening the session": Freeze("before", "create", 0, {"create": 2}),
    "amid a part": Freeze("amid", "part", 2, {"part": 6}),
    "after a part": Freeze("after", "part", 2, {"part": 6}),
    "before completing": Freeze("before", "complete", 0, {"complete": 2}),
    "after completing": Freeze("after", "complete", 0, {}),
}


@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
def test_another_worker_takes_over(
    freeze: Freeze, make_stack: MakeStack, provider: Provider, five_parts: bytes
) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start()
    sleeper = stack.processes[0]
    gate = provider.stop_at(freeze.when, freeze.on, freeze.number)
    job = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("the worker gets there")
    if freeze.on == "part":
        eventually(
            lambda: stack.talk.job(job)["transfers"][0]["parts"]["sent"] == 4, "the other thread has done its work"
        )
    with frozen(sleeper):
        stack.worker()
        stack.check_end(job)
        gate.open()  # what the sleeper had sent has its effect only now
    eventually(lambda: "refused" in sleeper.said() or "lease lost" in sleeper.said(), "the sleeper finds out", 60)
    stack.sweeps()

    stack.check_end(job)
    assert provider.read("film") == five_parts
    expected = {"create": 1, "part": 5, "complete": 1} | freeze.again
    assert {on: provider.count(on) for on in expected} == expected
    assert stack.talk.job(job)["transfers"][0]["parts"]["in_flight"] == 0
    eventually(lambda: provider.sessions() == [], "no session stays open", 60)


def test_a_late_put_of_a_small_file_stores_the_same_bytes(make_stack: MakeStack, provider: Provider) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start()
    sleeper = stack.processes[0]
    gate = provider.stop_at("before", "put")
    job = stack.talk.submit(b"the one and only", key="note")["id"]
    gate.wait("the worker gets there")
    with frozen(sleeper):
        stack.worker()
        stack.check_end(job)
        gate.open()
    eventually(lambda: "refused" in sleeper.said() or "lease lost" in sleeper.said(), "the sleeper finds out", 60)
    assert provider.count("put") == 2
    assert provider.read("note") == b"the one and only"
    stack.check_end(job)
