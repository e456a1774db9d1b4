"""A source that is not in the spool: a file below an allowed root, which stays where its owner put it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backends.body import OpenFileBody, copy
from engine.errors import EngineError, SourceCorrupt
from engine.named_files import opened


class PathSource:
    """Nobody has read the file when it is submitted: its size, time of change and inode pin what was accepted."""

    def __init__(self, path: Path, size: int, mtime_ns: int, inode: int) -> None:
        self.path = path
        self.crc32c: int | None = None
        self._pinned = (size, mtime_ns, inode)

    def body(self, offset: int, size: int) -> OpenFileBody:
        """A range with its CRC32C, for which it is read. Raises EngineError `source_gone`, or SourceCorrupt
        `source_changed`.
        """
        with self._opened() as file:
            return OpenFileBody(file, self.path.name, offset, size, self._sum(file, offset, size))

    def read_through(self) -> int:
        """The CRC32C of the whole file. Raises like `body`."""
        with self._opened() as file:
            self.crc32c = self._sum(file, 0, self._pinned[0])
        return self.crc32c

    def intact(self, offset: int, size: int) -> bool:
        """Whether the file is still the one that was submitted, as far as its pins tell."""
        try:
            self.check()
        except EngineError:
            return False
        return True

    def check(self) -> None:
        """Raises unless the file is still the one that was submitted."""
        with self._opened():
            pass

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """What is at the path, opened once: the pins are those of the very file that is read."""
        try:
            with opened(self.path) as file:
                self._compare(file)
                yield file
        except OSError as error:
            raise EngineError(
                f"The source {self.path.name} cannot be read: {error.strerror}.", code="source_gone"
            ) from error

    def _sum(self, file: int, offset: int, size: int) -> int:
        try:
            return copy(OpenFileBody(file, self.path.name, offset, size), lambda block: None)
        finally:
            self._compare(file)  # a file that is written to, or cut, while we read

    def _compare(self, file: int) -> None:
        found = os.fstat(file)
        if (found.st_size, found.st_mtime_ns, found.st_ino) != self._pinned:
            raise SourceCorrupt(f"The source {self.path.name} changed after it was submitted.", code="source_changed")
