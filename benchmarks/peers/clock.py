"""Measures the sending alone: start-up and imports of a peer are not held against it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import NamedTuple


class Call(NamedTuple):
    """What a peer is asked to do: `python -m benchmarks.peers.NAME ENDPOINT FILE BUCKET KEY`."""

    endpoint: str
    file: str
    bucket: str
    key: str


def arguments() -> Call:
    return Call(*sys.argv[1:5])


def report(send: Callable[[], object]) -> None:
    """Send, then print the seconds and the CPU seconds of this process (all its threads) as JSON."""
    started, used = time.monotonic(), time.process_time()
    send()
    print(json.dumps({"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - used}))
