"""What was added to accepted jobs, beside their sidecars: the lines of `jobs/ID.more`, each a whole sidecar.

Lines are only appended. So nobody who adds has to read first what others write, a sidecar can be replaced meanwhile,
and it does not matter whether the job lies in a pack or its own sidecar is gone already: a job that ended can go on
from its last line alone. A line that a power cut has torn counts for nothing. Lines are bytes here, but for their
`run`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

import msgspec

from engine.disk import Directory, Disk, explain
from engine.layout import Layout
from engine.record_files import read_whole

LOCK_SECONDS = 2.0
"""How long whoever holds a file may take; it is milliseconds, unless that process stands still."""


class _RunOfSidecar(msgspec.Struct):
    run: int = 1


class Appendix:
    """Blocking, and safe to use from many threads and processes. Raises EngineError."""

    def __init__(self, layout: Layout, disk: Disk, directory: Directory) -> None:
        self._layout = layout
        self._disk = disk
        self._directory = directory

    def has(self, job_id: str) -> bool:
        return os.path.exists(self._layout.appendix(job_id))

    def read(self, job_id: str) -> list[bytes]:
        """Its lines, the oldest first; none for nearly every job."""
        return _lines(read_whole(self._layout.appendix(job_id)) or b"")

    def append(self, job_id: str, line: bytes) -> None:
        """When this returns, the line survives a power cut."""
        try:
            with self._held(job_id) as fd:
                self._disk.write(fd, [b"\n", line, b"\n"])  # a torn line must not swallow the next one
                self._disk.sync(fd)
            self._directory.sync()
        except OSError as error:
            raise explain(error, "writing a record") from error

    def remove(self, job_id: str, run: int | None) -> bool:
        """Removes it, or leaves it and answers False when it tells of a run behind `run`. None: whatever it says."""
        path = self._layout.appendix(job_id)
        if not os.path.exists(path):
            return True
        try:
            with self._held(job_id) as fd:
                if run is not None and _last_run(_lines(_content(fd))) > run:
                    return False
                self._disk.unlink(path)
        except OSError as error:
            raise explain(error, "removing a file") from error
        return True

    @contextlib.contextmanager
    def _held(self, job_id: str) -> Iterator[int]:
        """The file, made if need be and locked: what is appended here is not just being removed."""
        path = self._layout.appendix(job_id)
        while True:
            fd = self._open(path)
            try:
                _lock(fd)
                if os.fstat(fd).st_nlink:
                    yield fd
                    return
            finally:
                self._disk.close(fd)

    def _open(self, path: str) -> int:
        try:
            return self._disk.reopen(path)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # somebody else was quicker
                self._disk.close(self._disk.create(path))
            return self._disk.reopen(path)


def _lock(fd: int) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "another process holds it") from None
            time.sleep(0.01)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line and _run_of(line)]


def _last_run(lines: list[bytes]) -> int:
    return max(map(_run_of, lines), default=0)


def _run_of(line: bytes) -> int:
    """0 for a line that is torn."""
    try:
        return msgspec.json.decode(line, type=_RunOfSidecar).run
    except msgspec.MsgspecError:
        return 0
