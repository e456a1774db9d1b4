"""kill -9 of a worker at every stage: the job succeeds, only what was leased is sent again, nothing is left over."""

from __future__ import annotations

from typing import Literal, NamedTuple

import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack
from tests.servers import eventually


class Stage(NamedTuple):
    """Where the worker stands when it is killed, and what may come twice for it."""

    where: Literal["provider", "ledger"]
    when: str
    at: str
    part: int = 0
    again: tuple[str, ...] = ()
    vanishes: bool = False
    """The request that stands at the gate never has its effect."""


STAGES = {
    "before the session is opened": Stage("provider", "before", "create", again=("create",), vanishes=True),
    "after the session is opened, before it is saved": Stage("provider", "after", "create", again=("create",)),
    "after the session is saved": Stage("ledger", "answer", "begun"),
    "amid a part": Stage("provider", "amid", "part", part=2),
    "after a part is stored, before its answer": Stage("provider", "after", "part", part=2),
    "after a part is stored, before its record": Stage("ledger", "call", "record"),
    "after a part is recorded": Stage("ledger", "answer", "record"),
    "before completing": Stage("provider", "before", "complete", again=("complete",), vanishes=True),
    "after completing, before its answer": Stage("provider", "after", "complete"),
    "after completing, before its record": Stage("ledger", "call", "settle"),
    "after the end is recorded": Stage("ledger", "answer", "settle"),
    "before the file is released": Stage("ledger", "call", "dump"),
    "after the file is released": Stage("ledger", "call", "released"),
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_only_what_was_leased_is_done_again(
    stage: Stage, make_stack: MakeStack, provider: Provider, five_parts: bytes
) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start(workers=0)
    wire = stack.wire()
    gate = (
        provider.stop_at(stage.when, stage.at, stage.part)  # type: ignore[arg-type]
        if stage.where == "provider"
        else wire.stop_at(stage.when, stage.at)  # type: ignore[arg-type]
    )
    worker = stack.worker(**wire.environ)
    job = stack.talk.submit(five_parts, key="film.mp4")["id"]
    gate.wait("the worker gets there")
    if stage.at in ("part", "record"):
        # The other thread goes on alone until there is nothing left for it: then one part is leased, or none.
        eventually(
            lambda: [row["state"] for row in stack.talk.parts(job).values()].count("sent") >= 4,
            "all others are recorded",
        )

    leased = {number for number, row in stack.talk.parts(job).items() if row["state"] == "in_flight"}
    before = provider.sent()
    worker.kill()
    gate.drop() if stage.vanishes or stage.where == "ledger" else gate.open()
    stack.worker()

    found = stack.check_end(job)
    assert provider.read("film.mp4") == five_parts
    assert provider.sent() == {
        number: before.get(number, 0) + (number in leased or number not in before) for number in range(1, 6)
    }
    assert {on: provider.count(on) for on in ("create", "complete")} == {
        on: 1 + (on in stage.again) for on in ("create", "complete")
    }
    assert provider.sessions() == []
    assert found["transfers"][0]["parts"] == {"total": 5, "sent": 5, "in_flight": 0, "failing": 0}
    failures = stack.talk.http.get(f"/v1/jobs/{job}/parts").json()["failures"]
    assert {row["code"] for row in failures} <= {"worker_lost"}
    assert {row["part"] for row in failures} - {None} == leased
    assert stack.spooled() == []


@pytest.mark.parametrize("wish", ["replace", "fail", "rename"])
@pytest.mark.parametrize("stored", [True, False], ids=["after it is stored", "before it is stored"])
def test_a_small_file_is_stored_once_under_its_own_key(
    wish: str, stored: bool, make_stack: MakeStack, provider: Provider
) -> None:
    """What a dead worker has stored is ours: nothing that `on_conflict` would have to mind."""
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start(workers=0)
    gate = provider.stop_at("after" if stored else "before", "put")
    worker = stack.worker()
    job = stack.talk.submit(b"small", key="note.txt", on_conflict=wish)["id"]
    gate.wait("the worker gets there")
    worker.kill()
    gate.open() if stored else gate.drop()
    stack.worker()

    found = stack.check_end(job)
    assert [key for _, key in provider.store.objects] == ["note.txt"]
    assert found["transfers"][0]["url"] == "s3://bucket/note.txt"
    assert provider.count("put") == (1 if stored else 2)
    assert provider.read("note.txt") == b"small"


@pytest.mark.parametrize("wish", ["fail", "rename"])
def test_a_completed_upload_is_not_in_its_own_way(
    wish: str, make_stack: MakeStack, provider: Provider, five_parts: bytes
) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start()
    gate = provider.stop_at("after", "complete")
    job = stack.talk.submit(five_parts, key="film.mp4", on_conflict=wish)["id"]
    gate.wait("the provider has completed")
    stack.processes[0].kill()
    gate.open()
    stack.worker()
    stack.check_end(job)
    assert [key for _, key in provider.store.objects] == ["film.mp4"]
    assert provider.sent() == dict.fromkeys(range(1, 6), 1)
