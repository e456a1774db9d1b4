"""Sends a file by one of our backends as workers do: parts of the engine's plan, eight at once, checksums known.

`python -m benchmarks.stores.ours CONFIG FILE KEY`; the destination is called `store`.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backends.base import Properties, Receipt
from backends.body import FileBody, copy
from backends.config import load
from benchmarks.peers import clock
from engine.submission import plan_for

AT_ONCE = 8


def main() -> None:
    config, file, key = sys.argv[1:4]
    destination = load(Path(config)).destinations["store"]
    path, size = Path(file), Path(file).stat().st_size
    part_size = plan_for(destination, size).part_size
    bodies = [FileBody(path, begin, min(part_size, size - begin)) for begin in range(0, size, part_size)]
    for body in bodies:  # they are summed when they are received, before any worker sees them
        body.crc32c = copy(body, lambda block: None)
    backend = destination.build()
    backend.stat(key)  # the peer is connected before its clock starts, too
    at_once = AT_ONCE if destination.capabilities.parallel_parts else 1

    def send() -> None:
        session = backend.begin(key, size=size, part_size=part_size, properties=Properties())

        def put(number: int) -> Receipt:
            return backend.put_part(session, number, bodies[number - 1])

        with ThreadPoolExecutor(at_once) as pool:
            receipts = list(pool.map(put, range(1, len(bodies) + 1)))
        backend.complete(session, receipts)

    clock.report(send)
    found = backend.stat(key)
    assert found is not None and found.size == size, "it did not arrive"
    backend.close()


if __name__ == "__main__":
    main()
