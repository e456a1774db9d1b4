"""Fixtures of the end-to-end tests: stacks of real processes, and a strict provider with gates."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path / "s3") as server:
        yield server


@pytest.fixture
def make_stack() -> Iterator[MakeStack]:
    """Makes stacks from the text of a plugins.toml; they end with the test, checked."""
    with ExitStack() as ending:
        yield lambda plugins, **environ: ending.enter_context(Stack(plugins, **environ))


@pytest.fixture
def stack(make_stack: MakeStack, provider: Provider) -> Stack:
    """A running Bucketline with one worker and the provider as its only destination."""
    return make_stack('default = "s3"\n' + provider.table("s3")).start()


@pytest.fixture(scope="session")
def five_parts() -> bytes:
    """Four parts of 5 MiB, and a short one."""
    return random.Random(5).randbytes(4 * (5 << 20) + 12_345)
