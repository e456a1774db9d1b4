"""What failed and was made good is still known at the end: by the API, the clients and the command."""

from __future__ import annotations

import json
from pathlib import Path

from bucketline import Client
from tests.clients import Awaited
from tests.e2e.stack import MakeStack

MIB = 1 << 20


def order(folder: Path, number: int, error: str) -> None:
    """The next time part 2 is sent it fails."""
    (folder / f"{number}.json").write_text(json.dumps({"part": 2, "error": error}))


def test_a_part_that_failed_twice_is_told_of_behind_the_end(make_stack: MakeStack, tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    order(folder, 1, "throttled")
    order(folder, 2, "timed_out")
    stack = make_stack(
        f'default = "media"\n[destinations.media]\nbackend = "local"\nroot = "{tmp_path}/objects"\n'
        f'limits = {{ part_size = "1MiB" }}\nfaults = {{ orders = "{folder}" }}\n'
        f'[destinations.calm]\nbackend = "local"\nroot = "{tmp_path}/calm"\n'
    ).start()
    job = stack.talk.submit(bytes(3 * MIB), key="film", destinations="media,calm")["id"]
    stack.check_end(job)

    failures = stack.talk.http.get(f"/v1/jobs/{job}/parts").json()["failures"]
    assert [(one["step"], one["part"], one["attempt"], one["code"], one["run"]) for one in failures] == [
        ("part", 2, 1, "throttled", 1),
        ("part", 2, 2, "timed_out", 1),
    ]
    assert failures[0]["at"] < failures[1]["at"]
    assert all("This failure was ordered" in one["detail"] and one["retryable"] for one in failures)
    for kind in (Client, Awaited):
        with kind(stack.talk.url) as client:
            assert [one.code for one in client.failures(job)] == ["throttled", "timed_out"]
            assert client.failures(job, "calm") == []

    shown = stack.run("jobs", "jobs", job, "--url", stack.talk.url)
    assert shown.wait() == 0
    lines = [line.strip() for line in shown.said().splitlines()]
    at = lines.index("earlier attempts that failed:")
    assert lines[at + 1].startswith(f"{failures[0]['at']} part 2, attempt 1: The provider asked us to slow down: This")
    assert lines[at + 2].startswith(f"{failures[1]['at']} part 2, attempt 2: ")
    assert not any("attempt" in line for line in lines[at + 3 :] if not line.startswith("→")), "nothing of the other"

    stack.talk.http.delete(f"/v1/jobs/{job}")
    assert stack.keys("*:failed") == []
