"""Containers, a Debian with nothing on it, and a clone with nothing made: `make containers` runs these tests, and so
does CI. They take minutes, root and the network.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents
from tests.containers.machine import Machine, booted, bootstrap, types_before_it_runs
from tests.documents import ROOT

HERE = Path(__file__).parent
REDIS_PASSWORD = "a-password-of-the-tests-0123456789"
REDIS = f"requirepass {REDIS_PASSWORD}\nappendonly yes\nmaxmemory-policy noeviction\n"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "procps", "python3", "python3-venv", "make", "curl", "redis-server")
INSTALLED = "python3 -m venv /root/traced\nexport PIP_FIND_LINKS=/root/bucketline/dist\n. /root/traced/bin/activate\n"
"""Beside the index, the wheel that `make wheel` built: there is no release yet."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(1200))
            if "BUCKETLINE_TEST_CONTAINERS" not in os.environ:
                item.add_marker(pytest.mark.skip(reason="`make containers` runs it"))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A Debian with this checkout in root's directory. What the documents do by the network was typed before it
    started, because it has none but loopback.
    """
    with tempfile.TemporaryDirectory(prefix="bl-machine-", ignore_cleanup_errors=True) as name:
        root = Path(name) / "root"
        bootstrap(root, *PACKAGES)
        made = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "node_modules", "var", "site", "dist")
        shutil.copytree(ROOT, root / "root" / "bucketline", ignore=made)
        with (root / "etc" / "redis" / "redis.conf").open("a") as config:
            config.write(REDIS)
        for text in _with_network():
            types_before_it_runs(root, f"cd /root/bucketline\n{text}")
        with booted(root, Path(name) / "boot.log") as machine:
            yield machine


def _with_network() -> Iterator[str]:
    lines = documents.block("docs/how-to/systemd.md", "run: systemd").splitlines()
    yield "\n".join(lines[: first_without_network(lines)])
    yield documents.block("docs/backends/write-your-own.md", "run: trial")
    install, *_ = documents.block("docs/tracing.md", "run: otel").splitlines()
    yield INSTALLED + install


def first_without_network(lines: list[str]) -> int:
    """Of the block for systemd."""
    (found,) = [number for number, line in enumerate(lines) if line.startswith("useradd ")]
    return found
