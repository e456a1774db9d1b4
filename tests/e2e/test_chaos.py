"""A bad day: workers, API and Valkey killed over and over while a third of all parts fails. Every job ends, once."""

from __future__ import annotations

import random

from tests.e2e.provider import PART, Provider
from tests.e2e.stack import MakeStack, Process, Stack
from tests.servers import eventually

SEED = 2026
JOBS = 12
WAYS = [
    {"do": "error", "status": 500, "code": "InternalError"},
    {"do": "error", "status": 503, "code": "SlowDown"},
    {"do": "reset", "after_bytes": 1 << 20},
    {"do": "lose_reply"},
    {"do": "flip"},
]
CONTROL_WAYS = [way for way in WAYS if way["do"] in ("error", "lose_reply")]


def test_every_accepted_job_ends_well(make_stack: MakeStack, provider: Provider) -> None:
    dice = random.Random(SEED)
    stack = make_stack('default = "s3"\n' + provider.table("s3", concurrency=4), BUCKETLINE_THREADS="4").start(
        workers=2
    )
    for _ in range(30):
        on = dice.choice(["part", "part", "part", "create", "complete", "put", "head"])
        way = dice.choice(WAYS if on in ("part", "put") else CONTROL_WAYS)
        provider.store.faults.append({"on": on, "number": dice.randint(1, 4) if on == "part" else 0, **way})
    contents = {f"file-{number}": dice.randbytes(dice.choice([10, PART + 1, 3 * PART + 7])) for number in range(JOBS)}
    jobs: dict[str, str] = {}
    for key, content in contents.items():
        jobs[key] = stack.talk.submit(content, key=key)["id"]
        if len(jobs) % 3 == 0:
            seen = len(provider.store.log)
            eventually(lambda seen=seen: len(provider.store.log) >= seen + 2, "something goes on", 60)  # type: ignore[misc]
            strike(stack, dice)
    for key, job in jobs.items():
        stack.check_end(job)
        assert provider.read(key) == contents[key]
    eventually(lambda: provider.sessions() == [], "no session stays open", 60)
    assert stack.spooled() == []


def strike(stack: Stack, dice: random.Random) -> None:
    """kill -9 of a worker, and of one more; each comes back at once."""
    dice.choice(running(stack, "worker")).kill()
    stack.worker()
    if dice.random() < 0.5:
        stack.valkey.kill()
        stack.valkey.start()
    else:
        running(stack, "api")[0].kill()
        stack.api()


def running(stack: Stack, name: str) -> list[Process]:
    return [process for process in stack.processes if process.name.startswith(name) and process.running]
