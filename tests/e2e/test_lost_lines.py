"""Who watches through a line that breaks at random sees, in the end, what everybody else has seen."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from bucketline import Client
from bucketline.results import Event
from tests.backends.proxy import Proxy
from tests.e2e.provider import PART, Provider
from tests.e2e.stack import PATIENCE, Stack
from tests.servers import eventually

CONTENT = bytes(range(256)) * (5 * PART // 2 // 256)
JOBS = 12


@contextmanager
def watching(url: str, seen: list[Event]) -> Iterator[None]:
    """A client that follows all jobs, from the first event there is."""
    client = Client(url)

    def watch() -> None:
        for event in client.events(last_event_id="0-1", patience=PATIENCE):
            seen.append(event)
            if event.type == "end" and event.data.get("received") == 1:
                return  # the last job of the test

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it has not seen the last event"
    client.close()


def test_nothing_is_lost_on_a_line_that_breaks(stack: Stack, provider: Provider) -> None:
    dice = random.Random(4)
    provider.be_unreliable(0.1, 3, seed=4)
    steady: list[Event] = []
    broken: list[Event] = []
    over = threading.Event()
    with Proxy(urlsplit(stack.talk.url).port or 0) as proxy:

        def saw() -> None:
            while not over.wait(dice.random() * 0.3):
                proxy.cut()

        saws = threading.Thread(target=saw)
        with watching(stack.talk.url, steady), watching(f"http://127.0.0.1:{proxy.port}", broken):
            jobs = [stack.talk.submit(CONTENT, key="film-0")["id"]]
            eventually(lambda: bool(steady and broken), "both are watching", PATIENCE)  # a first line has to work
            saws.start()
            jobs += [stack.talk.submit(CONTENT, key=f"film-{number}")["id"] for number in range(1, JOBS)]
            for job in jobs[::5]:
                stack.talk.http.post(f"/v1/jobs/{job}/cancel")
            for job in jobs:
                stack.talk.until(job, "succeeded", "cancelled")
            over.set()
            saws.join()
            stack.talk.http.post("/v1/jobs/" + _stopped(stack) + "/cancel")

    assert len([event for event in broken if event.type == "end"]) == JOBS + 1
    pictures = [{event.data["id"]: event.data for event in seen} for seen in (steady, broken)]
    assert pictures[0] == pictures[1]
    assert [event.id for event in broken] == [event.id for event in steady], "each once, and in order"


def _stopped(stack: Stack) -> str:
    """A job of one byte that nobody works on."""
    for process in stack.processes:
        if process.name.startswith("worker"):
            process.kill()
    job = str(stack.talk.submit(b"1", key="last")["id"])
    eventually(lambda: stack.talk.state(job) == "queued", "the last job is there", PATIENCE)
    return job
