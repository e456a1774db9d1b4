"""Small forms while large bodies stream, against the stack of our origin: how soon each is answered."""

from __future__ import annotations

import os
import time

from benchmarks import load
from benchmarks.figures import MB, Sample, percentile
from benchmarks.scenarios.forms import DRAIN_SECONDS, Either, settle
from benchmarks.sink import Sink

SCENARIO = "Small forms (16 KiB, 32 clients) while 4 bodies of 32 MB stream, 2 processes each"
SIZE, LARGE_SIZE = 16 * 1024, 32 * MB
CLIENTS, STREAMS = 32, 4
WARM_UP = 32
REST_SECONDS = 30.0
"""How long the disk is left alone before. Our origin makes it write some 4 GB, and whoever came next found it twice as
slow (a write 10.8 ms instead of 5.8): p99 of 536 to 742 ms of ours after it, 247 and 262 before (2026-11-26).
"""


def beside(stack: Either, sink: Sink, count: int, rest: float) -> Sample:
    """So many forms, however long that takes: a 99th percentile wants 2,000."""
    time.sleep(rest)
    sink.reset()
    request = load.message(stack.path, os.urandom(SIZE))
    warm = load.drive(stack.port, request, count=WARM_UP)
    run = load.drive_beside(
        stack.port, stack.path, request, count=count, clients=CLIENTS, streams=STREAMS, size=LARGE_SIZE
    )
    if run.refused or warm.refused:
        raise RuntimeError(f"{stack.name} refused {run.refused + warm.refused} of {count} forms")
    settle(stack, sink, warm.accepted + run.accepted)
    sink.wait_quiet(DRAIN_SECONDS)  # the last large bodies go on after their client has left
    return Sample(
        SCENARIO,
        stack.name,
        {
            "forms_per_s": run.accepted / run.seconds,
            "p50_ms": percentile(run.latencies, 50) * 1000,
            "p99_ms": percentile(run.latencies, 99) * 1000,
            "large_mb_per_s": run.streamed / MB / run.seconds,
            "samples": float(run.accepted),
        },
    )
