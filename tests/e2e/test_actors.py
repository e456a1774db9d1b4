"""Actors of a user's own application, on real processes: they hear of the ends they were named for, whatever dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.stack import MakeStack, Stack
from tests.servers import Valkey, eventually, tied

APPLICATION = """
import json, os
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

dramatiq.set_broker(RedisBroker(url=os.environ["SHOP_BROKER"], namespace="shop"))
dramatiq.get_broker().add_middleware(CurrentMessage())

def note(what, end):
    with open("told.jsonl", "a") as file:
        file.write(json.dumps([what, CurrentMessage.get_current_message().message_id, end]) + "\\n")

@dramatiq.actor(queue_name="uploads")
def make_thumbnail(end):
    note("make_thumbnail", end)

@dramatiq.actor(queue_name="uploads")
def apologize(end):
    note("apologize", end)
"""
STORES = """default = "good"
[destinations.good]
backend = "local"
root = "objects"
"""
ACTORS = """[actors.thumbnail]
actor = "make_thumbnail"
queue = "uploads"
namespace = "shop"
[actors.apologize]
queue = "uploads"
namespace = "shop"
"""
QUICK = {"BUCKETLINE_WEBHOOK_TIMEOUT": "1", "BUCKETLINE_WEBHOOK_WAITS": ",".join(["0.1"] * 100)}


class Application:
    """A user's worker: Dramatiq as it comes, on a broker that we are told."""

    def __init__(self, directory: Path, broker_url: str) -> None:
        self._told = directory / "told.jsonl"
        (directory / "shop.py").write_text(APPLICATION)
        words = [sys.executable, "-m", "dramatiq", "shop", "--processes", "1", "--threads", "1", "--path", "."]
        environ = {**os.environ, "SHOP_BROKER": broker_url}
        with (directory / "shop.log").open("wb") as log:
            self._process = subprocess.Popen(
                tied(words), cwd=directory, env=environ, start_new_session=True, stdout=log, stderr=log
            )

    def told(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Actor, id and dict of each message that was worked on."""
        return [tuple(json.loads(line)) for line in self._told.read_text().splitlines()] if self._told.exists() else []

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def broker() -> Iterator[Valkey]:
    """Another Redis than Bucketline's, not started yet."""
    with tempfile.TemporaryDirectory(prefix="bl-") as directory:
        made = Valkey(Path(directory), append_only=False)
        yield made
        made.kill()


def on_its_own(broker: Valkey) -> str:
    return STORES + ACTORS.replace("namespace", f'broker_url = "{broker.url}"\nnamespace')


def deliveries(stack: Stack, job: str) -> list[dict[str, Any]]:
    return list(stack.talk.http.get(f"/v1/jobs/{job}/webhooks").json()["items"])


def settled(stack: Stack, job: str) -> dict[str, Any]:
    """The job's only delivery, once it is over."""
    eventually(lambda: [one["state"] != "pending" for one in deliveries(stack, job)] == [True], "it is told", 60)
    return deliveries(stack, job)[0]


def messages(broker: Valkey, database: int = 0) -> list[dict[str, Any]]:
    """What waits in the application's queue."""
    with broker.client(database) as client:
        ids = client.lrange("shop:uploads", 0, -1)
        return [msgspec.json.decode(client.hget("shop:uploads.msgs", one) or b"null") for one in ids]


def test_each_end_is_told_to_the_actor_that_was_named_for_it(make_stack: MakeStack) -> None:
    """On Bucketline's own broker, in a namespace of the application's."""
    other = '[destinations.other]\nbackend = "local"\nroot = "more"\n'
    stack = make_stack(STORES + other + ACTORS, **QUICK).start(workers=1)
    shop = Application(stack.directory, stack.valkey.url.replace("db=0", "db=1"))
    named = {"on_success": "thumbnail", "on_failure": "apologize", "key": "taken", "on_conflict": "fail"}
    try:
        ends = {}
        for where, state in (("good", "succeeded"), ("good", "failed"), ("good,other", "partially_succeeded")):
            job = stack.talk.submit(b"abc", destinations=where, **named)["id"]
            found = settled(stack, job)
            name = "thumbnail" if state == "succeeded" else "apologize"
            assert (found["state"], found["actor"], found["status"]) == ("delivered", name, None)
            assert (found["id"], found["type"]) == (f"{job}.1.{state}.{name}", f"job.{state}")
            ends[found["id"]] = stack.talk.job(job)
        eventually(lambda: len(shop.told()) == 3, "the application has worked on all", 60)
    finally:
        shop.stop()
    assert [what for what, _, _ in shop.told()] == ["make_thumbnail", "apologize", "apologize"]
    for _, message, end in shop.told():
        assert end["id"] == message
        assert end["data"] == ends[message]
        assert end["type"] == "job." + end["data"]["state"]


def test_a_worker_that_is_killed_between_the_end_and_the_message(make_stack: MakeStack, broker: Valkey) -> None:
    stack = make_stack(on_its_own(broker), **QUICK).start(workers=1)
    broker.directory.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as silent:  # takes the connection and nothing else
        silent.bind(str(broker.socket_path))
        silent.listen()
        silent.settimeout(60)
        job = stack.talk.submit(b"abc", on_success="thumbnail", retain_seconds="0")["id"]
        line, _ = silent.accept()
        stack.processes[0].kill()
        line.close()
    assert stack.talk.job(job)["state"] == "succeeded"
    assert [one["state"] for one in deliveries(stack, job)] == ["pending"]
    broker.socket_path.unlink()
    broker.start()
    shop = Application(stack.directory, broker.url)
    try:
        stack.worker()
        eventually(lambda: bool(shop.told()), "the application hears of it", 60)
    finally:
        shop.stop()
    assert {message for _, message, _ in shop.told()} == {f"{job}.1.succeeded.thumbnail"}


def test_a_broker_that_is_away_and_comes_back(make_stack: MakeStack, broker: Valkey) -> None:
    stack = make_stack(on_its_own(broker), **QUICK).start(workers=1)
    job = stack.talk.submit(b"abc", on_success="thumbnail")["id"]
    eventually(lambda: any(one["attempts"] for one in deliveries(stack, job)), "it was tried", 60)
    first = deliveries(stack, job)[0]
    assert first["error"] == "The broker of [actors.thumbnail] did not take it (ConnectionError)."
    broker.start()
    assert settled(stack, job)["state"] == "delivered"
    broker.kill()  # an idle connection is dead now
    broker.start()
    job = stack.talk.submit(b"abc", on_success="thumbnail")["id"]
    assert settled(stack, job)["state"] == "delivered"
    assert [one["message_id"] for one in messages(broker)] == [f"{job}.1.succeeded.thumbnail"]


def test_an_upload_that_nobody_finishes_and_a_job_that_is_cancelled(make_stack: MakeStack) -> None:
    stack = make_stack(STORES + ACTORS, BUCKETLINE_TUS_EXPIRE_SECONDS="1", **QUICK).start(workers=1)
    metadata = "on_failure YXBvbG9naXpl"  # apologize
    headers = {"tus-resumable": "1.0.0", "upload-length": "5", "upload-metadata": metadata}
    job = stack.talk.http.post("/v1/tus", headers=headers).headers["bucketline-job"]
    assert settled(stack, job)["id"] == f"{job}.1.expired.apologize"
    stack.processes[0].kill()
    job = stack.talk.submit(b"abc", on_success="thumbnail", on_failure="apologize", retain_seconds="0")["id"]
    stack.talk.tell(job, "cancel")
    stack.worker()
    eventually(lambda: len(messages(stack.valkey, 1)) == 2, "both are told", 60)
    assert messages(stack.valkey, 1)[1]["args"][0]["type"] == "job.cancelled"


def test_an_actor_that_went_away_is_told_when_it_is_back(make_stack: MakeStack) -> None:
    stack = make_stack(STORES + ACTORS, **QUICK | {"BUCKETLINE_WEBHOOK_WAITS": "0.1"}).start(workers=0)
    job = stack.talk.submit(b"abc", on_success="thumbnail")["id"]
    stack.config.write_text(STORES)
    stack.worker()
    found = settled(stack, job)
    assert (found["state"], found["error"]) == ("failed", "plugins.toml has no [actors.thumbnail] any more.")
    stack.config.write_text(STORES + ACTORS)
    answer = stack.talk.http.post(f"/v1/jobs/{job}/webhooks/{found['id']}/replay")
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert settled(stack, job)["state"] == "delivered"


def test_the_password_of_a_broker_stays_inside(make_stack: MakeStack, broker: Valkey) -> None:
    """Also when its Redis refuses us, and when the client cannot make sense of its address."""
    broker.start()
    first, second = (broker.url.replace("db=0", f"db=99&password=${{WORD}}{more}") for more in ("", "&no_option=1"))
    actors = ACTORS.replace("namespace", f'broker_url = "{first}"\nnamespace', 1)
    actors = f'broker_url = "{second}"\nnamespace'.join(actors.rsplit("namespace", 1))
    stack = make_stack(STORES + actors, WORD="hush", **QUICK | {"BUCKETLINE_WEBHOOK_WAITS": "0.1"}).start(workers=1)
    said = []
    for name, fault in (("thumbnail", "ResponseError"), ("apologize", "TypeError")):
        found = settled(stack, stack.talk.submit(b"abc", on_success=name)["id"])
        assert (found["state"], found["error"].split()[-1]) == ("failed", f"({fault}).")
        said.append(str(found))
    with stack.valkey.client() as client:
        said += [repr(client.dump(key)) for key in client.keys("*")]
    said += [process.said() for process in stack.processes]
    assert not any("hush" in text for text in said)
