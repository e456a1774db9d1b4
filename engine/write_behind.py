"""Writes long files to the disk while they are still being received, so that accepting them finds little left to do.

On a disk of 1.6 GB/s, a file of 512 MiB was durable after 0.30 s instead of 0.43 s (2026-11). Without it the kernel
collects up to a fifth of the memory in dirty pages, and then stops whoever writes next: the event loop.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

from engine.disk import Disk

STEP = 16 << 20
"""A reception asks for it each time it has written so many bytes."""


class WriteBehind:
    """One thread, begun when it is first needed. The call it makes may wait for the disk's queue."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._thread: ThreadPoolExecutor | None = None

    def begin(self, fd: int) -> Future[None] | None:
        """Start writing what the file holds; None when nothing is to be made durable. `fd` may be closed meanwhile."""
        if not self._disk.durable:
            return None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool-write-behind")
        return self._thread.submit(self._write, os.dup(fd))

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _write(self, fd: int) -> None:
        try:
            self._disk.start_sync(fd)
        finally:
            os.close(fd)
