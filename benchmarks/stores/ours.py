"""One upload by a backend of ours, used as a worker uses it: begin, parts from a file in threads, complete; or in one
call, where all of it is one part.

The settings: `backend` and `options` as in plugins.toml, `part_size` and `threads`. What the backend's capabilities
forbid (more than one part, more than one at a time) is not done.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec

from backends import parts, registry
from backends.base import Backend, Capabilities, ObjectInfo, Properties, PutsWhole, Receipt
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c
from benchmarks.stores import clock

WARM = "warm-up"


def built(settings: dict[str, Any]) -> Backend:
    """The backend that a destination with these keys has."""
    plugin = registry.plugin(settings["backend"])
    return plugin.build(msgspec.convert(settings["options"], plugin.Options))


class Upload:
    """One file on its way. Its parts and their CRC32Cs are known before the clock runs, as they are to a worker."""

    def __init__(self, backend: Backend, call: clock.Call) -> None:
        capabilities: Capabilities = backend.capabilities
        self._backend, self._key, self._file = backend, call.key, Path(call.file)
        self._size = self._file.stat().st_size
        self._part_size = call.settings["part_size"] if capabilities.max_parts > 1 else self._size
        self._bodies = [self._body(number) for number in range(1, parts.count(self._size, self._part_size) + 1)]
        threads = call.settings["threads"] if capabilities.parallel_parts else 1
        self._pool = ThreadPoolExecutor(min(threads, len(self._bodies)))
        self._connect(min(threads, len(self._bodies)))
        self._receipts: list[Receipt] = []
        self.whole = len(self._bodies) == 1 and isinstance(backend, PutsWhole)

    def store(self) -> None:
        """Everything in one call."""
        assert isinstance(self._backend, PutsWhole)
        _expect(self._backend.put_whole(self._key, self._bodies[0], properties=Properties()), self._size)

    def send(self) -> None:
        """Open the upload and send all parts."""
        self._session = self._backend.begin(
            self._key, size=self._size, part_size=self._part_size, properties=Properties()
        )
        self._receipts = list(self._pool.map(self._put, range(1, len(self._bodies) + 1)))

    def finish(self) -> None:
        """Make the object visible."""
        _expect(self._backend.complete(self._session, self._receipts), self._size)

    def _put(self, number: int) -> Receipt:
        return self._backend.put_part(self._session, number, self._bodies[number - 1])

    def _body(self, number: int) -> FileBody:
        offset = (number - 1) * self._part_size
        size = parts.size_of(number, self._size, self._part_size)
        crc = 0
        with self._file.open("rb") as source:
            source.seek(offset)
            for begin in range(0, size, 1 << 20):
                crc = crc32c(source.read(min(1 << 20, size - begin)), crc)
        return FileBody(self._file, offset, size, crc)

    def _connect(self, threads: int) -> None:
        """A worker's threads live long, and so do their connections: each stores something small first."""
        together = Barrier(threads)

        def warm_up(number: int) -> None:
            together.wait(60)
            session = self._backend.begin(f"{WARM}-{number}", size=1, part_size=1 << 24, properties=Properties())
            self._backend.complete(session, [self._backend.put_part(session, 1, BytesBody(b"x"))])

        list(self._pool.map(warm_up, range(threads)))


def _expect(info: ObjectInfo, size: int) -> None:
    if info.size != size:
        raise RuntimeError(f"{info.size} of {size} bytes were stored")


def main() -> None:
    call = clock.call()
    upload = Upload(built(call.settings), call)
    if upload.whole:
        clock.report(upload.store)
    else:
        clock.report(upload.send, upload.finish)


if __name__ == "__main__":
    main()
