"""The demonstration that a new user sees first: it sends, shows, compares, and cleans up behind itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bucketline import demo
from bucketline.results import Job
from tests.command.fake import job_json, transfer_json


def run(directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "bucketline.demo", "--size", str(20 << 20), *words]
    environ = {**os.environ, "TMPDIR": str(directory), "BUCKETLINE_REDIS_URL": "redis://127.0.0.1:9"}
    return subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=110, check=False)


def test_it_arrives_is_compared_and_nothing_is_left(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("byte-identical") == 4
    assert "holiday.mp4: 20.0 MiB, answered after" in done.stdout
    assert "hello.txt: 23 B" in done.stdout
    assert "s3://acme-archive/" in done.stdout
    assert "Everything arrived." in done.stdout
    assert "holiday.mp4 → archive" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_can_be_looked_at(tmp_path: Path) -> None:
    done = run(tmp_path, "--keep", "here")
    assert done.returncode == 0, done.stdout + done.stderr
    sent = (tmp_path / "here" / "holiday.mp4").read_bytes()
    for root in ("objects", "buckets/acme-archive"):
        (stored,) = (tmp_path / "here" / root).rglob("holiday.mp4")
        assert stored.read_bytes() == sent


def test_a_changed_byte_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, stored = tmp_path / "sent", tmp_path / "stored"
    source.write_bytes(b"as sent")
    stored.write_bytes(b"as sunt")
    shown = demo.Demo(tmp_path, 7, kept=True, roots={"archive": tmp_path})
    job = Job.read(job_json("1", 7, state="succeeded", key="stored", transfers=[transfer_json(state="succeeded")]))
    copies = [shown._look(source, job, job.transfers[0])]
    assert shown._tell([demo.Sent(source, 0.1, 0.2, job, copies)]) == 1
    assert "NOT what was sent" in capsys.readouterr().out


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(demo.Failure, match="are needed"):
        demo.Demo(tmp_path, 1 << 60, kept=False).run()
    assert list(tmp_path.iterdir()) == []
