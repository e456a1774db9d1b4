"""The provider of a running stack is swapped by editing plugins.toml, and nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests import servers
from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually


def edit(stack: Stack, text: str) -> None:
    """As an editor writes a file: beside it, then in its place."""
    beside = stack.config.with_suffix(".new")
    beside.touch(0o600)
    beside.write_text(text)
    os.replace(beside, stack.config)


def destination(stack: Stack) -> str:
    return str(stack.talk.http.get("/v1/destinations/media").json()["backend"])


def test_new_jobs_go_to_the_new_provider(
    make_stack: MakeStack, provider: Provider, rclone_s3: servers.S3Server, five_parts: bytes, tmp_path: Path
) -> None:
    local = f'[destinations.media]\nbackend = "local"\nroot = "{tmp_path}/objects"\n'
    stack = make_stack(local).start()
    before = stack.talk.submit(five_parts, key="film")["id"]
    stack.check_end(before)
    assert (tmp_path / "objects" / "film").read_bytes() == five_parts

    edit(stack, provider.table("media"))
    eventually(lambda: destination(stack) == "s3", "the API follows the file", 20)
    during = stack.talk.submit(five_parts, key="film")["id"]
    assert stack.check_end(during)["transfers"][0]["url"] == "s3://bucket/film"
    assert provider.read("film") == five_parts

    bucket = rclone_s3.make_bucket("swapped")
    edit(stack, rclone_s3.toml("media", bucket))
    stack.processes[0].send(signal.SIGHUP)
    eventually(lambda: stack.talk.http.get("/v1/destinations/media").json()["url"] == "s3://swapped/", "it follows", 20)
    after = stack.talk.submit(b"small", key="note")["id"]
    stack.check_end(after)
    assert rclone_s3.stored(bucket, "note").read_bytes() == b"small"
    assert "Traceback" not in stack.processes[0].said()


def test_jobs_under_way_begin_again_at_the_new_provider(
    make_stack: MakeStack, provider: Provider, five_parts: bytes, tmp_path: Path
) -> None:
    stack = make_stack(provider.table("media")).start()
    gate = provider.stop_at("amid", "part", 3)
    job = stack.talk.submit(five_parts, key="film")["id"]
    gate.wait("a part is on its way")

    edit(stack, f'[destinations.media]\nbackend = "local"\nroot = "{tmp_path}/objects"\n')
    eventually(lambda: destination(stack) == "local", "the API follows the file", 20)
    # Each process looks at the file by itself: what a worker begins before it has seen the change goes the old way.
    eventually(lambda: "is in force" in stack.processes[0].said(), "the worker follows the file", 20)
    gate.open()

    found = stack.check_end(job)
    assert found["transfers"][0]["url"] == f"file://{tmp_path}/objects/film"
    assert (tmp_path / "objects" / "film").read_bytes() == five_parts


def test_a_broken_file_changes_nothing(make_stack: MakeStack, provider: Provider) -> None:
    stack = make_stack(provider.table("media")).start()
    assert destination(stack) == "s3"
    stack.sweeps(1)  # the worker has read the file, too
    edit(stack, provider.table("media").replace('"s3"', '"s4"'))
    ready = lambda: stack.talk.http.get("/readyz").json()["checks"]["config"]  # noqa: E731
    eventually(lambda: "s4" in ready()["detail"], "the fault is shown", 20)
    assert ready()["ok"]
    stack.check_end(stack.talk.submit(b"small", key="note")["id"])
    assert provider.read("note") == b"small"
