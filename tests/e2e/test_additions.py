"""Destinations that are added to a job on real processes: while it runs, after its end, and whoever dies meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import PATIENCE, MakeStack, Stack
from tests.servers import eventually

ONCE = dict.fromkeys(range(1, 6), 1)


@pytest.fixture
def stack(make_stack: MakeStack, provider: Provider, tmp_path: Path) -> Stack:
    """A strict S3 server, and a second place in it; a directory; no worker yet."""
    (tmp_path / "objects").mkdir()
    (tmp_path / "sources").mkdir()
    tables = 'default = "s3"\n' + provider.table("s3")
    tables += provider.table("other").replace("region", 'prefix = "other/"\nregion')
    tables += provider.table("nowhere").replace('"bucket"', '"missing"')
    tables += f'[destinations.disk]\nbackend = "local"\nroot = "{tmp_path / "objects"}"\n'
    return make_stack(tables, BUCKETLINE_SOURCE_ROOTS=str(tmp_path / "sources")).start(workers=0)


def add(stack: Stack, job: str, *names: str, status: int = 202) -> dict[str, Any]:
    answer = stack.talk.http.post(f"/v1/jobs/{job}/destinations", json={"destinations": list(names)})
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def flush(stack: Stack) -> None:
    with stack.valkey.client() as client:
        client.flushall()


def runs(stack: Stack, job: str, run: int, state: str = "succeeded") -> dict[str, Any]:
    """The job at the end of that run."""

    def ended() -> bool:
        answer = stack.talk.http.get(f"/v1/jobs/{job}")
        found = answer.json() if answer.status_code == 200 else {}
        return bool(found.get("run") == run and found["state"] == state)

    eventually(ended, f"run {run} of {job} is {state}", PATIENCE)
    return stack.talk.job(job)


def nothing_is_left(stack: Stack) -> None:
    eventually(lambda: stack.spooled() == [], "the spool is empty", PATIENCE)


def test_added_while_it_runs(stack: Stack, provider: Provider, five_parts: bytes, tmp_path: Path) -> None:
    stack.worker()
    gate = provider.stop_at("amid", "part", 3)
    job = stack.talk.submit(five_parts, key="film", content_type="video/mp4")["id"]
    gate.wait("part 3 is on its way")

    view = add(stack, job, "disk")
    assert [one["destination"] for one in view["transfers"]] == ["s3", "disk"]
    assert add(stack, job, "disk", "s3", status=200)["id"] == job
    gate.open()

    found = stack.check_end(job)
    assert (found["run"], [one["state"] for one in found["transfers"]]) == (1, ["succeeded"] * 2)
    assert provider.read("film") == (tmp_path / "objects" / "film").read_bytes() == five_parts
    assert provider.sent("film") == ONCE
    actions = stack.talk.http.get("/v1/audit", params={"job": job}).json()["items"]
    assert (actions[0]["action"], actions[0]["destination"]) == ("add", "disk")


def test_a_worker_is_killed_amid_what_was_added(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    job = stack.talk.submit(five_parts, key="film")["id"]
    add(stack, job, "other")
    worker = stack.worker()
    eventually(lambda: provider.sent("other/film").get(2, 0) > 0, "what was added is on its way", PATIENCE)

    worker.kill()
    stack.worker()

    stack.check_end(job)
    assert provider.read("film") == provider.read("other/film") == five_parts
    assert provider.sessions() == []


@pytest.mark.parametrize("size", ["packed", "of its own"])
def test_redis_loses_all_it_knew(size: str, stack: Stack, provider: Provider, five_parts: bytes) -> None:
    data = five_parts if size == "of its own" else b"small"
    job = stack.talk.submit(data, key="film")["id"]
    add(stack, job, "other")
    assert f"{job}.more" in stack.spooled()
    flush(stack)
    stack.worker()

    eventually(lambda: stack.talk.state(job) != "", "the job is known again", PATIENCE)
    found = stack.check_end(job)
    assert [one["destination"] for one in found["transfers"]] == ["s3", "other"]
    assert provider.read("film") == provider.read("other/film") == data
    nothing_is_left(stack)


def test_a_file_that_stays_where_it_is_goes_on_after_the_end(
    stack: Stack, provider: Provider, five_parts: bytes, tmp_path: Path
) -> None:
    (tmp_path / "sources" / "film").write_bytes(five_parts)
    worker = stack.worker()
    source = {"path": str(tmp_path / "sources" / "film")}
    job = stack.talk.http.post("/v1/jobs", json={"source": source, "key": "film"}).json()["id"]
    stack.check_end(job)
    gate = provider.stop_at("before", "part", 4)

    view = add(stack, job, "other")
    assert (view["state"] in ("queued", "running"), view["run"], view["satisfied_at"]) == (True, 2, None)
    gate.wait("part 4 is about to be sent")
    worker.kill()
    gate.drop()
    flush(stack)
    stack.worker()

    runs(stack, job, 2)
    assert provider.read("film") == provider.read("other/film") == five_parts
    nothing_is_left(stack)
    eventually(lambda: stack.ends(job) == ["succeeded"] * 2, "both ends are on the disk", PATIENCE)


def test_a_failed_job_goes_on_elsewhere_and_a_file_that_is_gone_does_not(
    stack: Stack, provider: Provider, five_parts: bytes
) -> None:
    stack.worker()
    job = stack.talk.submit(five_parts, key="film", destinations="nowhere")["id"]
    stack.talk.until(job, "failed")
    add(stack, job, "other")
    found = runs(stack, job, 2, "partially_succeeded")
    assert [one["state"] for one in found["transfers"]] == ["failed", "succeeded"]
    assert provider.read("other/film") == five_parts
    refused = stack.talk.http.post(f"/v1/jobs/{job}/destinations", json={"destinations": ["nowhere"]})
    assert (refused.status_code, "retry the job" in refused.json()["detail"]) == (422, True)

    done = stack.talk.submit(b"small", key="done")["id"]
    stack.check_end(done)
    refused = stack.talk.http.post(f"/v1/jobs/{done}/destinations", json={"destinations": ["other"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "source_gone")


def test_by_command(stack: Stack, provider: Provider) -> None:
    job = stack.talk.submit(b"small", key="note")["id"]
    command = stack.run("command", "jobs", "add-destination", job, "other", "--url", stack.talk.url)
    assert command.wait() == 0, command.said()
    assert f"{job} queued, to s3, other" in command.said()
    stack.worker()

    stack.check_end(job)
    assert provider.read("note") == provider.read("other/note") == b"small"
