"""`bucketline jobs`: what is there, how one gets on, and telling it what to do."""

import json
from collections.abc import Callable

import pytest

from tests.command.conftest import Outcome
from tests.command.fake import FakeServer, job_json, transfer_json

Command = Callable[..., Outcome]
ONE, TWO = "01940c9e-0000-7000-8000-000000000001", "01940c9e-0000-7000-8000-000000000002"


@pytest.fixture(autouse=True)
def two_jobs(server: FakeServer) -> None:
    error = {"code": "throttled", "title": "Slow down", "detail": "part 3 was refused with SlowDown", "retryable": True}
    transfer = transfer_json(
        state="uploading", sent=50, attempts=5, error=error, next_attempt_at="2026-11-23T07:50:00Z"
    )
    server.jobs = {
        ONE: job_json(ONE, 100, state="running", sent=50, rate=1024.0, eta_seconds=3, transfers=[transfer]),
        TWO: job_json(TWO, 100, state="succeeded", name="b\x1b[31m.bin"),
    }


def test_a_table_of_jobs(command: Command) -> None:
    done = command("jobs")
    heading, one, two = done.out.splitlines()
    assert heading.split() == ["ID", "STATE", "SIZE", "DONE", "AGE", "NAME", "TO", "WHY"]
    assert one.split()[:6] == [ONE, "running", "100", "B", "50", "%"]
    assert one.split()[-1] == "throttled"
    assert two.startswith(TWO)
    assert (done.code, done.err) == (0, "")


def test_names_from_outside_cannot_write_to_the_terminal(command: Command) -> None:
    assert "\x1b" not in command("jobs").out
    assert "\x1b" not in command("jobs", TWO).out


def test_only_jobs_in_a_state(command: Command) -> None:
    assert len(command("jobs", "--state", "running").out.splitlines()) == 2
    assert "no jobs in state failed" in command("jobs", "--state", "failed").err


def test_json_is_one_job_per_line(command: Command) -> None:
    assert [json.loads(line)["id"] for line in command("jobs", "--json").out.splitlines()] == [ONE, TWO]
    assert json.loads(command("jobs", ONE, "--json").out)["state"] == "running"


def test_one_job_with_its_trouble_and_what_happens_next(command: Command) -> None:
    done = command("jobs", ONE)
    assert done.code == 0
    assert f"job {ONE}: running" in done.out
    assert "1.0 KiB/s, 3 s left" in done.out
    assert "→ archive: uploading, 0 of 4 parts, 5 attempts" in done.out
    assert "part 3 was refused with SlowDown (next attempt at 2026-11-23T07:50:00Z)" in done.out


def failure(attempt: int, **changed: object) -> dict[str, object]:
    known = {"at": "2026-11-23T07:49:00.000Z", "run": 1, "step": "part", "part": 3, "attempt": attempt}
    why = {"code": "throttled", "title": "Slow down", "detail": "not \x1b[31mso fast", "retryable": True}
    return {**known, **why, **changed}


def test_one_job_with_its_earlier_attempts(command: Command, server: FakeServer) -> None:
    server.failures = {"archive": [failure(number) for number in range(1, 8)] + [failure(1, step="begin", part=None)]}
    why = "Slow down: not \N{REPLACEMENT CHARACTER}[31mso fast"
    lines = command("jobs", ONE).out.splitlines()
    begin = lines.index("    earlier attempts that failed; 3 more by --json:")
    assert lines[begin + 1 :] == [
        *(f"      2026-11-23T07:49:00.000Z part 3, attempt {number}: {why}" for number in range(4, 8)),
        f"      2026-11-23T07:49:00.000Z begin, attempt 1: {why}",
    ]
    found = json.loads(command("jobs", ONE, "--json").out)
    assert found["transfers"][0]["failures"] == server.failures["archive"]
    assert json.loads(command("jobs", TWO, "--json").out)["transfers"][0]["failures"] == server.failures["archive"]


def test_a_run_is_told_where_there_are_several(command: Command, server: FakeServer) -> None:
    server.failures = {"archive": [failure(1)]}
    server.jobs[ONE]["run"] = 2
    assert "07:49:00.000Z run 1, part 3, attempt 1: Slow down" in command("jobs", ONE).out


def test_watching_ends_with_the_job_and_tells_how(command: Command, server: FakeServer) -> None:
    failed = job_json(ONE, 100, state="failed", transfers=[transfer_json(state="failed")])
    server.scripts = [[("1-0", "snapshot", server.jobs[ONE]), ("2-0", "end", failed)]]
    done = command("jobs", ONE, "--watch")
    assert done.code == 1
    assert "holiday.mp4 → archive: failed" in done.out
    assert command("jobs", TWO, "--watch").code == 0


def test_watching_all_jobs_tells_each_change(
    command: Command, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketline.following.RECONNECT_SECONDS", 0.01)
    states = ["queued", "running", "running", "succeeded"]
    server.scripts = [[(f"{n}-0", "progress", {"id": ONE, "state": s, "sent": n}) for n, s in enumerate(states)]]
    server.scripts.append([("9-0", "state", "not an object")])
    with pytest.raises(Exception, match="object"):
        command("jobs", "--watch")


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_commands(command: Command, server: FakeServer, verb: str) -> None:
    done = command("jobs", verb, ONE)
    assert done.code == 0
    assert done.out.startswith(ONE)
    assert server.commands == [(ONE, verb)]


def test_jobs_without_trouble_have_no_column_for_it(command: Command, server: FakeServer) -> None:
    del server.jobs[ONE]
    assert command("jobs").out.splitlines()[0].split()[-1] == "TO"


def test_forgetting_jobs_that_are_over(command: Command, server: FakeServer) -> None:
    done = command("jobs", "forget", TWO, ONE)
    assert done.code == 1 and "a running job is not over" in done.err
    assert done.out == f"{TWO} forgotten\n"
    assert list(server.jobs) == [ONE]

    server.jobs[ONE]["state"] = "failed"
    assert json.loads(command("jobs", "forget", ONE, "--json").out) == {"id": ONE, "forgotten": True}


def test_adding_destinations(command: Command, server: FakeServer) -> None:
    done = command("jobs", "add-destination", ONE, "second", "everywhere")
    assert done.code == 0
    assert done.out.startswith(f"{ONE} running, to ")
    assert done.out.rstrip().endswith("second, everywhere")
    assert server.commands == [(ONE, "add second everywhere")]
    assert json.loads(command("jobs", "add-destination", ONE, "third", "--json").out)["id"] == ONE


def test_adding_to_a_job_whose_file_is_gone_is_exit_code_1(command: Command) -> None:
    done = command("jobs", "add-destination", TWO, "second")
    assert done.code == 1
    assert "the file is no longer kept" in done.err


def test_a_command_that_the_state_forbids_is_exit_code_1(command: Command) -> None:
    done = command("jobs", "pause", TWO)
    assert done.code == 1
    assert "a succeeded job cannot pause" in done.err


def test_several_jobs_are_commanded_even_when_one_refuses(command: Command, server: FakeServer) -> None:
    done = command("jobs", "cancel", TWO, ONE)
    assert done.code == 1
    assert server.commands == [(TWO, "cancel"), (ONE, "cancel")]


def test_a_job_that_does_not_exist_is_exit_code_1(command: Command) -> None:
    done = command("jobs", "01940c9e-0000-7000-8000-00000000dead")
    assert done.code == 1
    assert "there is no job" in done.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cansel", ONE], "did you mean cancel?"),
        (["pose"], "did you mean pause?"),
        (["cancel"], "takes the ids of jobs"),
        (["add-destination", ONE], "the id of a job, and the names of destinations"),
        (["add-destnation", ONE, "second"], "did you mean add-destination?"),
        (["--limit", "0"], "at least 1"),
        (["--wach"], "did you mean --watch?"),
    ],
)
def test_a_users_mistake_is_exit_code_2(command: Command, words: list[str], expected: str) -> None:
    done = command("jobs", *words)
    assert done.code == 2
    assert expected in done.err


def test_without_a_server_it_is_exit_code_69(command: Command) -> None:
    assert command("jobs", "--url", "http://127.0.0.1:9").code == 69
