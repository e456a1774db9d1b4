"""Measures one upload in a process of its own, the same way whoever sends: start-up and connecting are not counted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What a sender is asked to do: `python -m benchmarks.stores.SENDER '{…}' FILE KEY`."""

    settings: dict[str, Any]
    file: str
    key: str


class Times(NamedTuple):
    """Seconds, and CPU seconds of all threads of this process, since the clock was made."""

    seconds: float
    cpu_seconds: float


class Clock:
    def __init__(self) -> None:
        self._started, self._used = time.monotonic(), time.process_time()

    def read(self) -> Times:
        return Times(time.monotonic() - self._started, time.process_time() - self._used)


def call() -> Call:
    return Call(json.loads(sys.argv[1]), *sys.argv[2:4])


def report(send: Callable[[], object], finish: Callable[[], object] | None = None) -> None:
    """Send, then finish (make it visible, look at it), and print what both cost as JSON. `sent_seconds` is null where
    all is one call that does more than send.
    """
    clock, sent = Clock(), None
    send()
    if finish is not None:
        sent = clock.read().seconds
        finish()
    done = clock.read()
    print(json.dumps({"seconds": done.seconds, "cpu_seconds": done.cpu_seconds, "sent_seconds": sent}))
