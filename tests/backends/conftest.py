"""Writes what the conformance suite said of every store into a page, when asked: `make conformance-table`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import conformance

#: (test file, parameter of its tests) -> how the page calls that store; what is not named here is no store of its own.
STORES = {
    ("test_memory", ""): "memory",
    ("test_local", ""): "local",
    ("test_s3", "strict"): "s3: strict server of ours",
    ("test_s3", "rclone"): "s3: rclone",
    ("test_s3", "moto"): "s3: moto",
    ("test_s3", "ministack"): "s3: ministack",
    ("test_gcs", "strict-xml"): "gcs, xml: strict server of ours",
    ("test_gcs", "strict-compose"): "gcs, compose: strict server of ours",
    ("test_gcs", "fake"): "gcs, compose: fake-gcs-server",
    ("test_gcs", "emulator"): "gcs, compose: gcp-storage-emulator",
    ("test_azure", ""): "azure: Azurite",
    ("test_generic", "sftp"): "fsspec: OpenSSH by paramiko",
    ("test_generic", "sshfs"): "fsspec: OpenSSH by sshfs",
    ("test_generic", "smb"): "fsspec: Samba",
    ("test_generic", "ftp"): "fsspec: pyftpdlib",
    ("test_generic", "wsgidav"): "fsspec: wsgidav",
    ("test_generic", "rclone-webdav"): "fsspec: rclone's WebDAV",
    ("test_generic", "file"): "fsspec: a directory",
    ("test_generic", "memory"): "fsspec: memory://",
}
HEAD = """# What the conformance suite says

Written by `make conformance-table`, which runs the suite against every store below; not by hand. ● passed, ✗ failed, a
number: skipped, for the reason under the tables. Parts of exactly `max_part` were sent to destinations that narrow it
to 1 MiB, or to the smallest part where that is larger.
"""


class Results:
    """Collects the outcome of each check at each store."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], str] = {}
        self._reasons: list[str] = []

    def note(self, report: pytest.TestReport) -> None:
        found = re.fullmatch(r".*/(test_\w+)\.py::(test_\w+)(?:\[(.*)\])?", report.nodeid)
        if found is None or found[2] not in conformance.tests() or (found[1], found[3] or "") not in STORES:
            return
        place = found[2], STORES[found[1], found[3] or ""]
        if report.failed:
            self._outcomes[place] = "✗"
        elif report.skipped:
            reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            if reason not in self._reasons:
                self._reasons.append(reason)
            self._outcomes[place] = str(self._reasons.index(reason) + 1)
        elif report.when == "call":
            self._outcomes.setdefault(place, "●")

    def page(self) -> str:
        lines = [HEAD, "| store | passed | skipped | failed |", "|---|---:|---:|---:|"]
        seen = [name for name in STORES.values() if any(store == name for _, store in self._outcomes)]
        for name in seen:
            marks = [mark for (_, store), mark in self._outcomes.items() if store == name]
            skipped = sum(mark.isdigit() for mark in marks)
            lines.append(f"| {name} | {marks.count('●')} | {skipped} | {marks.count('✗')} |")
        for group in ("memory local s3", "gcs azure", "fsspec"):
            lines += ["", *self._table([name for name in seen if name.split(":")[0].split(",")[0] in group.split()])]
        lines += ["", "## Why checks were skipped", ""]
        lines += [f"{number}. {reason}" for number, reason in enumerate(self._reasons, 1)]
        return "\n".join(lines) + "\n"

    def _table(self, stores: list[str]) -> Iterator[str]:
        yield f"| check | {' | '.join(stores)} |"
        yield "|---|" + ":-:|" * len(stores)
        for check in conformance.tests():
            row = [self._outcomes.get((check, store), "") for store in stores]
            yield f"| {check.removeprefix('test_').replace('_', ' ')} | {' | '.join(row)} |"


_results = Results()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _results.note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = os.environ.get("CONFORMANCE_TABLE")
    if target and not hasattr(session.config, "workerinput"):
        Path(target).write_text(_results.page())
