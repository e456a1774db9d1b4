"""A whole upload as the content of what is to become a job (`receptions.Content`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from engine.content_types import HEAD_BYTES
from engine.digests import Digest, Digester
from engine.disk import explain
from engine.partials import BATCH, Partials


class Adopted:
    """Made by whoever holds the upload's file. Blocking."""

    def __init__(self, partials: Partials, job_id: str, size: int, digests: Collection[str]) -> None:
        self.job_id = job_id
        self.received = size
        self.head = b""
        self._partials = partials
        self._layout = partials.layout
        self._disk = partials.disk
        self._digests = digests
        self._committed = False

    @property
    def readable(self) -> int:
        return self.received

    def digest(self) -> Digest:
        """By reading the file once: it may have come through many processes."""
        return self.digest_again(self._digests)

    def digest_again(self, algorithms: Collection[str]) -> Digest:
        digester = Digester(self.received, algorithms)
        try:
            with open(self._layout.partial(self.job_id), "rb", buffering=0) as file:
                self.head = os.pread(file.fileno(), HEAD_BYTES, 0)
                while data := file.read(BATCH):
                    digester.update(data)
        except OSError as error:
            raise explain(error, "reading the file back") from error
        return digester.digest()

    def commit(self, sidecar: bytes) -> None:
        """The sidecar first, which does not count without its data; renaming the data is what decides."""
        temporary = self._layout.temporary(self.job_id)
        try:
            fd = self._disk.create(temporary)
            try:
                self._disk.write(fd, [sidecar])
                self._disk.sync(fd)
            finally:
                self._disk.close(fd)
            self._disk.rename(temporary, self._layout.sidecar(self.job_id))
            self._partials.jobs.sync()
            self._disk.rename(self._layout.partial(self.job_id), self._layout.data(self.job_id))
            self._committed = True
            self._partials.jobs.sync()
            self._partials.directory.sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._disk.unlink(temporary)
            raise explain(error, "accepting the file") from error

    def discard(self) -> None:
        """Take back what `commit` did. The bytes of an upload that is not accepted stay: its owner decides."""
        if not self._committed:
            return
        self._committed = False
        with contextlib.suppress(OSError):
            self._disk.unlink(self._layout.sidecar(self.job_id))
            self._disk.unlink(self._layout.data(self.job_id))
            self._partials.jobs.sync()
        self._partials.space.remove(self.received)
