"""What failed and was made good is still known at the end: by the API, the clients and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bucketline import Client
from tests import documents
from tests.clients import Awaited
from tests.e2e.sessions import shape
from tests.e2e.stack import MakeStack

MIB = 1 << 20


def order(folder: Path, number: int, error: str) -> None:
    """The next time part 2 is sent it fails."""
    (folder / f"{number}.json").write_text(json.dumps({"part": 2, "error": error}))


def picture(lines: list[str] | str) -> list[str]:
    """Without what differs: besides the usual, where it goes and what the store said."""
    found = shape(lines.splitlines() if isinstance(lines, str) else lines)
    found = [re.sub(r"(attempt \d+: [^:]+): .*", r"\1: WHY", line) for line in found]
    return [re.sub(r"→ \w+|\w+://\S+", "PLACE", line) for line in found]


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
    told = shown.said().splitlines()
    begin = next(at for at, line in enumerate(told) if line.startswith("  → media"))
    assert picture(told[begin : begin + 5]) == picture(documents.block("docs/command.md", "pane: failed attempts"))
    assert [line.split()[0] for line in told[begin + 3 : begin + 5]] == [one["at"] for one in failures]
    assert sum("attempt " in line for line in told) == 2, "nothing of the other"

    stack.talk.http.delete(f"/v1/jobs/{job}")
    assert stack.keys("*:failed") == []
