"""What a user says to a running job: pause, resume and cancel stop the bytes, and nothing is left behind."""

from __future__ import annotations

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually


def in_flight(stack: Stack, job: str) -> int:
    return int(stack.talk.job(job)["transfers"][0]["parts"]["in_flight"])


def test_pause_stops_further_parts_and_resume_sends_the_rest(
    stack: Stack, provider: Provider, five_parts: bytes
) -> None:
    gates = [provider.stop_at("amid", "part", number) for number in (1, 2)]
    job = stack.talk.submit(five_parts, key="film")["id"]
    for gate in gates:
        gate.wait("both threads are busy")
    assert stack.talk.tell(job, "pause")["state"] == "paused"
    for gate in gates:
        gate.open()
    eventually(lambda: in_flight(stack, job) == 0, "the parts on their way have arrived")
    stack.sweeps()
    assert provider.sent() == {1: 1, 2: 1}
    paused = stack.talk.job(job)
    assert paused["state"] == "paused"
    assert paused["transfers"][0]["parts"]["sent"] == 2

    stack.talk.tell(job, "resume")
    stack.check_end(job)
    assert provider.sent() == dict.fromkeys(range(1, 6), 1)
    assert provider.read("film") == five_parts


def test_after_cancelled_was_shown_no_part_is_sent(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    gates = [provider.stop_at("amid", "part", number) for number in (2, 3)]
    job = stack.talk.submit(five_parts, key="film")["id"]
    for gate in gates:
        gate.wait("both threads are busy")
    assert stack.talk.tell(job, "cancel")["state"] == "cancelling"
    for gate in gates:
        gate.open()
    stack.check_end(job, "cancelled")
    sent = provider.sent()
    stack.sweeps()
    assert provider.sent() == sent == {1: 1, 2: 1, 3: 1}
    assert provider.sessions() == []
    assert not provider.path("film").exists()
    assert stack.spooled() == []


def test_a_waiting_job_is_cancelled_at_once(make_stack: MakeStack, provider: Provider) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start(workers=0)
    job = stack.talk.submit(b"never sent", key="film")["id"]
    assert stack.talk.tell(job, "cancel")["state"] == "cancelled"
    stack.worker()
    stack.check_end(job, "cancelled")
    assert provider.store.log == []


def test_cancelled_while_its_completion_was_under_way(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    """Completion had won: the object is there, so the job says so."""
    gate = provider.stop_at("after", "complete")
    job = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("the provider has completed")
    assert stack.talk.tell(job, "cancel")["state"] == "cancelling"
    gate.open()
    stack.check_end(job)
    assert provider.read("film") == five_parts
    assert provider.sessions() == []


MEMORY = """\
default = "memory"
[destinations.memory]
backend = "memory"
discard = true
limits = { part_size = "64KiB" }
"""


def test_a_small_job_does_not_wait_for_one_of_two_thousand_parts(make_stack: MakeStack) -> None:
    stack = make_stack(MEMORY, BUCKETLINE_DURABILITY="cache").start(workers=0)
    large = stack.talk.submit(bytes(2000 * 65_536), key="large")["id"]
    small = stack.talk.submit(b"small", key="small")["id"]
    stack.worker()
    stack.talk.until(small, "succeeded")
    behind = stack.talk.job(large)
    assert behind["state"] in ("queued", "running")
    assert behind["transfers"][0]["parts"]["sent"] < 1000
    found = stack.check_end(large)
    eventually(lambda: stack.packs() == [], "the pack of the small one goes while everything runs")
    assert found["transfers"][0]["parts"] == {"total": 2000, "sent": 2000, "in_flight": 0, "failing": 0}
    assert found["transfers"][0]["attempts"] == 2000 + 2, "no part was sent twice"


def test_two_large_jobs_take_turns(make_stack: MakeStack) -> None:
    stack = make_stack(MEMORY, BUCKETLINE_DURABILITY="cache").start(workers=0)
    jobs = [stack.talk.submit(bytes(400 * 65_536), key=key)["id"] for key in ("one", "two")]
    stack.worker()
    eventually(lambda: "succeeded" in map(stack.talk.state, jobs), "one of them is done", 60)
    for job in jobs:
        assert stack.talk.job(job)["transfers"][0]["parts"]["sent"] > 300, "one had to wait until the other was done"
        stack.check_end(job)


def test_jobs_for_one_key_are_written_one_after_the_other(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    gate = provider.stop_at("amid", "part", 2)
    first = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("the first one is on its way")
    second = stack.talk.submit(b"the newer one", key="film")["id"]
    stack.sweeps()
    assert stack.talk.state(second) == "queued"
    assert provider.count("put") == 0
    gate.open()
    stack.check_end(first)
    stack.check_end(second)
    assert provider.read("film") == b"the newer one"
