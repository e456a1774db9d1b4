"""A pack while it is written: one fsync serves everything that was appended before it began."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence

from engine.disk import Directory, Disk


class PackWriter:
    """Many threads append; whoever finds that nobody syncs does it, for all who wait."""

    def __init__(self, fd: int, disk: Disk, directory: Directory) -> None:
        self.end = 0
        self._fd = fd
        self._disk = disk
        self._directory = directory
        self._named = False  # whether its name is certain
        self._changed = threading.Condition()
        self._appended = self._synced = self._waiting = 0
        self._syncing = self._retired = False
        self._failure: OSError | None = None
        self._used_at = time.monotonic()

    def append(self, buffers: Sequence[bytes]) -> int | None:
        """The record's number, which must be given to `settle`; None when this pack has ended meanwhile."""
        with self._changed:
            if self._retired:
                return None
            try:
                self._disk.write(self._fd, buffers)
            except OSError:
                with contextlib.suppress(OSError):
                    self._disk.truncate(self._fd, self.end)
                raise
            self.end += sum(map(len, buffers))
            self._appended += 1
            self._waiting += 1
            self._used_at = time.monotonic()
            return self._appended

    def settle(self, number: int) -> None:
        """Wait until that record is on the disk. Raises OSError; after one, nothing here is asked again."""
        with self._changed:
            try:
                while self._synced < number:
                    if self._failure is not None:
                        raise OSError(self._failure.errno, self._failure.strerror)
                    if self._syncing:
                        self._changed.wait()
                    else:
                        self._sync()
            finally:
                self._waiting -= 1
                self._close_if_over()

    def retire(self, idle_seconds: float) -> bool:
        """No more records: it is closed, and with that unlocked, when nobody waits for it."""
        with self._changed:
            busy = self._waiting or time.monotonic() - self._used_at < idle_seconds
            if idle_seconds and busy:
                return False
            self._retired = True
            self._close_if_over()
            return True

    def _sync(self) -> None:
        self._syncing, upto = True, self._appended
        self._changed.release()
        failure = None
        try:
            self._disk.sync(self._fd)
            if not self._named:
                self._directory.sync()
        except OSError as error:
            failure = error
        finally:
            self._changed.acquire()
        self._syncing = False
        if failure is None:
            self._synced, self._named = upto, True
        else:
            self._failure = failure
        self._changed.notify_all()

    def _close_if_over(self) -> None:
        if self._retired and not self._waiting and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
