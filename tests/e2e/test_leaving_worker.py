"""SIGTERM: a worker finishes what it can, gives back what it cannot, and leaves in time; nobody pays for it."""

from __future__ import annotations

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually

NO_ATTEMPT_SPENT = 5 + 2  # five parts, begin and complete
LONG_LEASE = {"BUCKETLINE_LEASE_SECONDS": "300"}  # what is not given back would not be seen again in this test
IN_TIME = 20  # seconds; half of what the supervisor allows


def test_a_part_on_its_way_is_finished(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    gates = [provider.stop_at("amid", "part", number) for number in (1, 2)]
    job = stack.talk.submit(five_parts, key="film")["id"]
    for gate in gates:
        gate.wait("both threads are busy")
    worker = stack.processes[0]
    worker.ask_to_leave()
    worker.match("(leaving)")
    for gate in gates:
        gate.open()
    assert worker.wait(IN_TIME) == 0
    assert provider.sent() == {1: 1, 2: 1}
    assert stack.talk.job(job)["transfers"][0]["parts"] == {"total": 5, "sent": 2, "in_flight": 0, "failing": 0}

    stack.worker()
    found = stack.check_end(job)
    assert found["transfers"][0]["attempts"] == NO_ATTEMPT_SPENT
    assert provider.sent() == dict.fromkeys(range(1, 6), 1)
    assert provider.read("film") == five_parts


def test_what_does_not_get_on_is_given_back(make_stack: MakeStack, provider: Provider, five_parts: bytes) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3"), **LONG_LEASE).start()
    provider.stop_at("amid", "part", 2)
    hanging = provider.stop_at("after", "put")
    job = stack.talk.submit(five_parts, key="film")["id"]
    eventually(lambda: stack.talk.job(job)["transfers"][0]["parts"]["sent"] == 4, "only one part is left", 60)
    small = stack.talk.submit(b"small", key="note")["id"]
    hanging.wait("both threads hang")
    worker = stack.processes[0]
    worker.ask_to_leave()
    assert worker.wait(IN_TIME) == 0
    assert (stack.talk.parts(job)[2]["state"], stack.talk.parts(job)[2]["attempts"]) == ("pending", 0)

    stack.worker()
    found = stack.check_end(job)
    assert found["transfers"][0]["attempts"] == NO_ATTEMPT_SPENT
    assert provider.sent() == {1: 1, 2: 2, 3: 1, 4: 1, 5: 1}
    assert stack.check_end(small)["transfers"][0]["attempts"] == 1
    assert provider.count("put") == 1, "what the first worker had stored counts"
    assert provider.read("film") == five_parts
    assert provider.sessions() == []


def test_an_idle_worker_leaves_at_once_and_quietly(stack: Stack) -> None:
    stack.sweeps(1)
    worker = stack.processes[0]
    worker.ask_to_leave()
    assert worker.wait(IN_TIME) == 0
    assert "Traceback" not in worker.said()
    assert "Exception" not in worker.said()
