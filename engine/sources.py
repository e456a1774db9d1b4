"""A source that is not in the spool: a file below an allowed root, which stays where its owner put it."""

from __future__ import annotations

import os
from pathlib import Path

from backends.body import FileBody, copy
from engine.errors import EngineError, SourceCorrupt


class PathSource:
    """Nobody has read the file when it is submitted: its size, time of change and inode pin what was accepted."""

    def __init__(self, path: Path, size: int, mtime_ns: int, inode: int) -> None:
        self.path = path
        self.crc32c: int | None = None
        self._pinned = (size, mtime_ns, inode)

    def body(self, offset: int, size: int) -> FileBody:
        """A range with its CRC32C, for which it is read. Raises EngineError `source_gone`, or SourceCorrupt
        `source_changed`.
        """
        self.check()
        return FileBody(self.path, offset, size, copy(FileBody(self.path, offset, size), lambda block: None))

    def read_through(self) -> int:
        """The CRC32C of the whole file. Raises like `body`."""
        whole = FileBody(self.path, 0, self._pinned[0])
        self.check()
        self.crc32c = copy(whole, lambda block: None)
        self.check()
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
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise EngineError(
                f"The source {self.path.name} cannot be read: {error.strerror}.", code="source_gone"
            ) from error
        if (found.st_size, found.st_mtime_ns, found.st_ino) != self._pinned:
            raise SourceCorrupt(f"The source {self.path.name} changed after it was submitted.", code="source_changed")
