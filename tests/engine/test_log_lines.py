"""Every line that a worker logs while it works on a step says which step that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog
from redis.exceptions import ConnectionError as Lost

from backends.errors import Throttled
from tests.engine.rig import PART, Rig

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NAMES = {"job", "transfer", "destination", "step", "attempt", "request_id", "trace_id"}


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What was logged, with what was bound at that moment."""
    found: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        found.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep], cache_logger_on_first_use=False)
    yield found
    structlog.configure(**before)


def submitted(rig: Rig, size: int) -> str:
    prepare = rig.desk.prepare
    rig.desk.prepare = lambda *given, **words: msgspec.structs.replace(  # type: ignore[method-assign]
        prepare(*given, **words), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01", request_id="mine"
    )
    return rig.submit(b"x" * size, destinations=["media"])


def test_a_failed_part_and_the_end_are_told_with_all_their_names(rig: Rig, lines: list[dict[str, Any]]) -> None:
    backend: Any = rig.runtime.store("media").backend
    put_part, refused = backend.put_part, []

    def busy_once(session: Any, number: int, body: Any) -> Any:
        if number == 2 and not refused:
            refused.append(number)
            raise Throttled("Slow down.", retry_after=1)
        return put_part(session, number, body)

    backend.put_part = busy_once
    job = submitted(rig, 2 * PART)
    for _ in range(20):
        while message := rig.take():
            rig.process(message)
        rig.books.later(5)
        rig.reconcile(full=False)
        if rig.state(job) == "succeeded":
            break
        rig.work(f"{job}/0", mint=int(rig.transfer(job)["mint"]), lane="parts")

    assert rig.state(job) == "succeeded"
    (failed,) = [one for one in lines if one["event"] == "step failed"]
    (ended,) = [one for one in lines if one["event"] == "job ended"]
    common = {"job": job, "transfer": f"{job}/0", "destination": "media", "request_id": "mine", "trace_id": TRACE}
    assert failed.items() >= {**common, "step": "part", "part": 2, "attempt": 1, "code": "throttled"}.items()
    assert ended.items() >= {**common, "step": "complete", "attempt": 1, "state": "succeeded"}.items()
    assert "part" not in ended


def test_whoever_logs_while_a_step_is_worked_names_it_and_afterwards_does_not(
    rig: Rig, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = rig.runtime.store("media").backend
    put_whole = backend.put_whole

    def talkative(*words: Any, **more: Any) -> Any:
        structlog.get_logger("a backend of somebody else").warning("hello")
        return put_whole(*words, **more)

    def lost(*words: Any) -> None:
        raise Lost("gone")

    backend.put_whole = talkative
    monkeypatch.setattr("engine.reports.send_onward", lost)
    job = submitted(rig, 10)
    rig.work(f"{job}/0")
    structlog.get_logger("anybody").warning("afterwards")

    said = {one["event"]: one for one in lines}
    assert {
        "hello",
        "a token could not be sent; the sweeper will send another",
        "job ended",
        "afterwards",
    } <= said.keys()
    assert not NAMES & said.pop("afterwards").keys()
    assert all(one.keys() >= NAMES for one in said.values())
