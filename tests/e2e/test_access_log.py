"""The access log of a real API process: a line for each request, beside its other lines, and none when it is off."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually

PLUGINS = 'default = "media"\n\n[destinations.media]\nbackend = "local"\nroot = "objects"\n'


def lines(stack: Stack) -> list[Any]:
    """What was written by the API that was started last."""
    return [json.loads(line) for line in stack.processes[-1].said().splitlines() if line.startswith("{")]


def test_requests_are_told_on_stderr(make_stack: MakeStack) -> None:
    stack = make_stack(PLUGINS).start(workers=0)
    job = stack.talk.submit(b"x" * 1000, key="a")["id"]
    stack.talk.http.get("/v1/jobs", params={"q": "something private"}, headers={"X-Request-ID": "mine"})

    eventually(lambda: len(lines(stack)) == 2, "both are told")
    first, second = lines(stack)
    assert (first["method"], first["path"], first["status"], first["jobs"]) == ("POST", "/v1/jobs", 202, [job])
    assert (first["bytes_received"], first["key"]) == (1000, "bootstrap")
    assert (second["query"], second["request_id"]) == (["q"], "mine")
    assert "private" not in stack.processes[-1].said()


def test_it_can_be_off(make_stack: MakeStack) -> None:
    stack = make_stack(PLUGINS, BUCKETLINE_ACCESS_LOG="off").start(workers=0)
    stack.talk.submit(b"x", key="a")
    stack.processes[-1].ask_to_leave()
    eventually(lambda: not stack.processes[-1].running, "the API ends")

    assert lines(stack) == []
