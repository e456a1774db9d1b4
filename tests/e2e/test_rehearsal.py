"""A destination with `faults`: a real upload through all of them ends well, and shows what it cost."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.stack import MakeStack


def test_a_job_gets_through_everything_that_was_asked_for(
    make_stack: MakeStack, five_parts: bytes, tmp_path: Path
) -> None:
    stack = make_stack(
        f'[destinations.media]\nbackend = "local"\nroot = "{tmp_path}/objects"\nlimits = {{ part_size = "1MiB" }}\n'
        "faults = { error_rate = 0.15, lost_rate = 0.15, cut_rate = 0.1, cut_at = 9, corrupt_rate = 0.05, seed = 4 }\n"
    ).start()
    job = stack.talk.submit(five_parts, key="film")["id"]
    found = stack.check_end(job)
    assert found["transfers"][0]["attempts"] > 21 + 2, "more than parts, begin and complete"
    assert (tmp_path / "objects" / "film").read_bytes() == five_parts
    assert [path.name for path in (tmp_path / "objects").iterdir()] == ["film"]
