"""What a request is called is found again: in its job, in the worker's log, and with the parts at the provider."""

from __future__ import annotations

import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import Stack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("size", "on"), [(1000, "put"), (6 << 20, "part")])
def test_a_trace_is_carried_to_the_part_requests(stack: Stack, provider: Provider, size: int, on: str) -> None:
    provider.fail(on, "error", status=503, code="SlowDown", having={"traceparent": TRACEPARENT})
    headers = {"traceparent": TRACEPARENT, "X-Request-ID": "the-view-that-uploads"}
    job = stack.talk.http.post("/v1/jobs", content=b"x" * size, headers=headers).json()
    other = stack.talk.submit(b"x")

    found = stack.check_end(job["id"])
    stack.check_end(other["id"])
    assert provider.store.faults[0]["times"] == 0  # it met a request of the job, which carried this very header
    assert (found["request_id"], found["traceparent"]) == ("the-view-that-uploads", TRACEPARENT)
    lines = {line for line in stack.processes[0].said().splitlines() if "step failed" in line or "job ended" in line}
    named = {line for line in lines if f"trace_id={TRACE}" in line and "request_id=the-view-that-uploads" in line}
    assert {"step failed", "job ended"} == {
        what for what in ("step failed", "job ended") if any(what in one for one in named)
    }
    assert {line for line in lines if other["id"] in line and "trace_id" not in line} == lines - named
