"""A provider with bad days: only what failed is repeated, no sooner than it asked for, and the job tells about it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.e2e.provider import PART, Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually


def test_a_third_of_all_parts_failing(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    content = five_parts + five_parts[: 5 * PART - len(five_parts)] + five_parts
    total = 10
    planned = provider.be_unreliable(0.3, total, seed=7)
    assert len(planned) >= 3, "a seed with too little trouble"
    gate = provider.stop_at("before", "complete")
    job = stack.talk.submit(content, key="film")["id"]
    gate.wait("all parts are stored")

    attempts = {number: 1 + planned.get(number, 0) for number in range(1, total + 1)}
    assert provider.sent() == attempts, "only the parts that failed are sent again"
    told = {number: row["attempts"] for number, row in stack.talk.parts(job).items()}
    assert told == attempts, "the attempts can be seen"
    for number in planned:
        check_patience(provider, number)

    gate.open()
    found = stack.check_end(job)
    assert found["transfers"][0]["attempts"] == sum(attempts.values()) + 2, "begin and complete are steps as well"
    assert provider.read("film") == content
    assert provider.sessions() == []


def check_patience(provider: Provider, number: int) -> None:
    """Between two attempts lies the back-off (0.1 s doubled each time, at least half of it), or what was asked for."""
    rows = [row for row in provider.store.log if row["on"] == "part" and row["number"] == number]
    for attempt, (failed, again) in enumerate(pairwise(rows), 1):
        asked = 1.0 if failed["fault"] == "error" and failed["status"] == 503 else 0.0
        least = max(asked, 0.05 * 2 ** (attempt - 1))
        assert again["at"] - failed["at"] >= least, f"attempt {attempt + 1} of part {number} came too soon"


def test_what_fails_can_be_seen_while_it_fails(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    provider.fail("part", "error", number=3, status=503, code="SlowDown", headers={"Retry-After": "30"})
    job = stack.talk.submit(five_parts, key="film")["id"]

    def all_but_one() -> bool:
        parts = stack.talk.job(job)["transfers"][0]["parts"]
        return bool(parts["sent"] == 4 and parts["failing"] == 1)

    eventually(all_but_one, "one part fails, the others are sent", 60)
    transfer = stack.talk.job(job)["transfers"][0]
    assert transfer["state"] == "uploading"
    assert transfer["error"]["code"] == "throttled"
    assert transfer["error"]["retryable"] is True
    assert transfer["next_attempt_at"] is not None
    part = stack.talk.parts(job)[3]
    assert (part["state"], part["attempts"], part["error"]["code"]) == ("failing", 1, "throttled")
    assert part["next_attempt_at"] == transfer["next_attempt_at"]
    stack.talk.tell(job, "cancel")
    stack.check_end(job, "cancelled")
    assert provider.sent()[3] == 1
    assert provider.sessions() == []


REFUSED = {"do": "error", "status": 403, "code": "AccessDenied", "times": -1}


def test_a_failed_job_is_retried_once_the_cause_is_mended(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    provider.store.faults.append({"on": "part", "number": 3, **REFUSED})
    job = stack.talk.submit(five_parts, key="film")["id"]
    failed = stack.check_end(job, "failed")
    assert failed["error"]["code"] == "access_denied"
    assert failed["error"]["retryable"] is False
    assert failed["source"]["available_until"] is not None
    assert provider.sessions() == []
    assert not provider.path("film").exists()
    assert stack.spooled() == [f"{job}.data", f"{job}.json"]

    provider.mend()
    again = stack.talk.tell(job, "retry")
    assert (again["run"], again["error"]) == (2, None)
    eventually(lambda: stack.talk.state(job) == "succeeded", "the second run succeeds", 60)
    assert provider.read("film") == five_parts
    assert provider.sessions() == []
    assert [kind for kind, _ in stack.feed(job)].count("end") == 2, "one end for each run"
    eventually(lambda: stack.spooled() == [], "the file is released")


def test_of_two_destinations_only_the_one_that_failed_is_done_again(
    make_stack: MakeStack, provider: Provider, five_parts: bytes
) -> None:
    local = '[destinations.disk]\nbackend = "local"\nroot = "objects"\n'
    stack = make_stack('default = "s3"\n' + provider.table("s3") + local).start()
    provider.store.faults.append({"on": "part", "number": 2, **REFUSED})
    job = stack.talk.submit(five_parts, key="film", destinations="disk,s3")["id"]
    found = stack.check_end(job, "partially_succeeded")
    assert {one["destination"]: one["state"] for one in found["transfers"]} == {"disk": "succeeded", "s3": "failed"}
    stored = stack.directory / "objects" / "film"
    assert stored.read_bytes() == five_parts
    made = stored.stat().st_ino

    provider.mend()
    stack.talk.tell(job, "retry")
    eventually(lambda: stack.talk.state(job) == "succeeded", "the second run succeeds", 60)
    assert provider.read("film") == five_parts
    assert stored.stat().st_ino == made, "what had succeeded was done again"


@pytest.mark.parametrize("do", ["lose_reply", "empty", "error_200"])
def test_an_unclear_answer_to_complete(do: str, stack: Stack, provider: Provider, five_parts: bytes) -> None:
    provider.fail("complete", do)
    job = stack.talk.submit(five_parts, key="film")["id"]
    stack.check_end(job)
    assert provider.read("film") == five_parts
    assert provider.sent() == dict.fromkeys(range(1, 6), 1)
    assert provider.sessions() == []


def test_bytes_that_change_on_the_wire_are_sent_again(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    provider.fail("part", "flip", number=4)
    job = stack.talk.submit(five_parts, key="film")["id"]
    stack.check_end(job)
    assert provider.sent() == {1: 1, 2: 1, 3: 1, 4: 2, 5: 1}
    assert provider.read("film") == five_parts


def test_bytes_that_change_every_time_never_succeed(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    provider.fail("part", "flip", number=4, times=-1)
    job = stack.talk.submit(five_parts, key="film")["id"]
    found = stack.check_end(job, "failed")
    assert found["error"]["code"] == "integrity_failed"
    assert provider.sent()[4] == 3
    assert provider.sessions() == []
    assert not provider.path("film").exists()
