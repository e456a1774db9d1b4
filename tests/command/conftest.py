"""Fixtures for the command: a fake server, and running the command in this process or in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from bucketline.cli import main
from tests.clients import connect as connect
from tests.command.fake import FakeServer


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer().start()
    monkeypatch.setenv("BUCKETLINE_URL", fake.url)
    yield fake
    fake.stop()


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """Runs the command in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words: Any) -> Outcome:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return Outcome(code, *capfd.readouterr())

    yield run
    # Services log to the stderr of this very test.
    structlog.reset_defaults()


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Outcome]:
    """Runs the command as a user does: a process of its own, in an empty directory."""

    def run(*words: Any, cwd: Path = tmp_path, **environ: str) -> Outcome:
        command = [sys.executable, "-m", "bucketline", *map(str, words)]
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
