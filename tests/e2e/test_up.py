"""`bucketline up` as it is used: killed, interrupted, and started again on the same data."""

from __future__ import annotations

import os
import signal

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Process, Stack, Talk, processes_of
from tests.servers import eventually


def up(stack: Stack) -> Process:
    """Started, and ready; the stack talks to it."""
    process = stack.run(f"up-{len(stack.processes)}", "up", "--port", 0)
    stack.talks.append(Talk(process.match(r"Bucketline is ready at (http://\S+)")))
    return process


def pid_of(stack: Stack, title: str) -> int:
    """The process of this stack that `ps` shows under that title; of several, the first one."""
    running = processes_of(stack.directory)
    found = [pid for pid, shown in sorted(running.items()) if title in shown]
    assert found, f"no {title} among {running}"
    return found[0]


def test_everything_starts_and_nothing_outlives_a_kill(make_stack: MakeStack, provider: Provider) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3"))
    supervisor = up(stack)
    assert pid_of(stack, "bucketline up") == supervisor.pid
    assert len({pid_of(stack, title) for title in ("bucketline api", "bucketline worker", "valkey-server")}) == 3
    job = stack.talk.submit(b"hello", key="hello")["id"]
    stack.talk.until(job, "succeeded")

    supervisor.send(signal.SIGKILL)  # the supervisor alone: its children have to notice by themselves
    eventually(lambda: processes_of(stack.directory) == {}, "no process is left", 60)


def test_interrupted_and_started_again(make_stack: MakeStack, provider: Provider, five_parts: bytes) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3"))
    first = up(stack)
    done = stack.talk.submit(b"done", key="done")["id"]
    stack.talk.until(done, "succeeded")
    provider.fail("part", "error", number=3, times=-1, status=503, code="SlowDown")
    job = stack.talk.submit(five_parts, key="film")["id"]
    eventually(lambda: stack.talk.job(job)["transfers"][0]["parts"]["sent"] == 4, "all but one part are sent", 60)

    first.ask_to_leave(signal.SIGINT)
    assert first.wait() == 0
    assert processes_of(stack.directory) == {}
    said = first.said()
    assert "Traceback" not in said, said
    assert stack.spooled() == [f"{job}.data", f"{job}.json"]
    tried = provider.sent()[3]

    provider.mend()
    second = up(stack)
    found = stack.talk.until(job, "succeeded")
    assert found["run"] == 1
    assert provider.sent() == {1: 1, 2: 1, 3: tried + 1, 4: 1, 5: 1}
    assert provider.read("film") == five_parts
    assert stack.talk.state(done) == "succeeded"
    assert provider.count("put") == 1, "a finished job ran again"
    assert provider.sessions() == []
    eventually(lambda: stack.spooled() == [], "the file is released", 30)

    second.ask_to_leave(signal.SIGTERM)
    assert second.wait() == 0
    assert processes_of(stack.directory) == {}


def test_a_child_that_is_killed_comes_back(make_stack: MakeStack, provider: Provider, five_parts: bytes) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3"))
    up(stack)
    gate = provider.stop_at("amid", "part", 2)
    job = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("the worker is amid a part")
    for title in ("bucketline worker", "valkey-server"):
        os.kill(pid_of(stack, title), signal.SIGKILL)
    gate.drop()
    eventually(lambda: stack.talk.state(job) == "succeeded", "the job succeeds", 60)
    assert provider.read("film") == five_parts
    assert provider.sessions() == []
