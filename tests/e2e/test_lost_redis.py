"""Valkey dies, stands still, forgets all, or comes back from yesterday: no accepted job is lost or done twice."""

from __future__ import annotations

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack, while_true
from tests.servers import eventually

ONCE = dict.fromkeys(range(1, 6), 1)
LONG_LEASE = {"BUCKETLINE_LEASE_SECONDS": "30"}  # so that nothing but the outage decides what is sent again


def stored(provider: Provider, key: str, number: int) -> bool:
    """Whether the provider has answered for this part."""
    rows = list(provider.store.log)
    return any((row["key"], row["number"], row.get("status")) == (key, number, 200) for row in rows)


def test_killed_and_started_again(make_stack: MakeStack, provider: Provider, five_parts: bytes) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3"), **LONG_LEASE).start()
    gate = provider.stop_at("amid", "part", 3)
    job = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("part 3 is on its way")
    stack.valkey.kill()
    gate.open()
    eventually(lambda: stored(provider, "film", 3), "part 3 is stored while Valkey is away")
    stack.valkey.start()
    stack.check_end(job)
    assert provider.read("film") == five_parts
    assert provider.sent("film") == ONCE
    assert provider.sessions() == []


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_while_it_is_away(how: str, make_stack: MakeStack, provider: Provider, five_parts: bytes) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3"), **LONG_LEASE).start()
    gate = provider.stop_at("amid", "part", 2)
    job = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("part 2 is on its way")
    assert stack.valkey.process is not None
    stack.valkey.kill() if how == "killed" else stack.valkey.process.send_signal(signal.SIGSTOP)

    def alive() -> bool:
        return httpx.get(f"{stack.talk.url}/livez", timeout=1, trust_env=False).status_code == 200

    # From the first call without an answer on the API knows: then nothing is kept of what it refuses. What was sent
    # into the silence before is unclear, and stays for reconciliation.
    assert httpx.get(f"{stack.talk.url}/v1/stats", timeout=4, trust_env=False).status_code == 503
    with ThreadPoolExecutor() as threads:
        # Refused in time: a client that gave up after four seconds would not see the answer.
        refused = threads.submit(
            httpx.post, f"{stack.talk.url}/v1/jobs", params={"key": "no"}, content=b"no", timeout=4, trust_env=False
        )
        while_true(alive, refused.done, "the API is alive while Valkey is not")
    answer = refused.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert httpx.get(f"{stack.talk.url}/readyz", timeout=4, trust_env=False).status_code == 503
    assert stack.spooled() == [f"{job}.data", f"{job}.json"]

    gate.open()
    eventually(lambda: stored(provider, "film", 2), "part 2 is stored while Valkey is away")
    stack.valkey.start() if how == "killed" else stack.valkey.process.send_signal(signal.SIGCONT)
    stack.check_end(job)
    assert provider.read("film") == five_parts
    assert provider.sent("film") == ONCE
    assert stack.talk.try_to_submit(b"yes", key="yes").status_code == 202


def flush(stack: Stack) -> None:
    with stack.valkey.client() as client:
        client.flushall()


def lose_the_disk(stack: Stack) -> None:
    stack.valkey.kill()
    shutil.rmtree(stack.valkey.directory)
    stack.valkey.start()


@pytest.mark.parametrize("wipe", [flush, lose_the_disk])
def test_wiped_while_running(wipe: object, stack: Stack, provider: Provider, five_parts: bytes) -> None:
    finished = stack.talk.submit(b"done already", key="finished")["id"]
    stack.check_end(finished)
    gates = [provider.stop_at("amid", "part", number) for number in (2, 3)]
    running = stack.talk.submit(five_parts, key="running")["id"]
    for gate in gates:
        gate.wait("both threads are busy")
    waiting = stack.talk.submit(five_parts, key="waiting")["id"]

    wipe(stack)  # type: ignore[operator]
    for gate in gates:
        gate.open()
    for job in (finished, running, waiting):
        eventually(lambda job=job: stack.talk.state(job) != "", "the job is known again")  # type: ignore[misc]
        stack.check_end(job)
    assert provider.read("running") == provider.read("waiting") == five_parts
    assert provider.count("put") == 1, "the finished job ran again"
    assert provider.sent("waiting") == ONCE
    assert provider.sessions() == []
    assert stack.spooled() == []


def test_rolled_back_to_an_older_state(stack: Stack, provider: Provider, five_parts: bytes, tmp_path: Path) -> None:
    gates = [provider.stop_at("amid", "part", number) for number in (3, 4)]
    first = stack.talk.submit(five_parts, key="first")["id"]
    for gate in gates:
        gate.wait("both threads are busy")
    shutil.copytree(stack.valkey.directory, tmp_path / "older", ignore=shutil.ignore_patterns("*.sock"))
    for gate in gates:
        gate.open()
    stack.check_end(first)
    second = stack.talk.submit(b"came and went since", key="second")["id"]
    stack.check_end(second)
    gate = provider.stop_at("amid", "part", 2)
    third = stack.talk.submit(five_parts, key="third")["id"]
    gate.wait("the third job is on its way")
    stack.sweeps()  # a worker knows a rollback by its own last round, which the older state has not seen

    stack.valkey.kill()
    shutil.rmtree(stack.valkey.directory)
    shutil.copytree(tmp_path / "older", stack.valkey.directory)
    stack.valkey.start()
    gate.open()

    for job in (second, third, first):
        eventually(lambda job=job: stack.talk.state(job) != "", "the job is known again")  # type: ignore[misc]
        stack.check_end(job)
    assert provider.sent("first") == ONCE, "a finished job ran again"
    assert provider.count("put") == 1, "a finished job ran again"
    assert provider.read("third") == five_parts
    assert provider.sessions() == []
    assert stack.spooled() == []
