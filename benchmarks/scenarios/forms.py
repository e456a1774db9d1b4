"""Forms with one file, against the stack of our origin: how many are accepted, how soon they are stored."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks import load, wire
from benchmarks.figures import MB, Sample, percentile
from benchmarks.sink import Sink
from benchmarks.stacks import Bucketline, Origin

ACCEPTED = "Accepted forms (16 KiB file, 8 clients)"
STORED = "Small files end to end (16 KiB, form to store)"
LARGE = "One form with 100 MB"
SIZE = 16 * 1024
LARGE_SIZE = 100 * MB
WARM_UP = 16
DRAIN_SECONDS = 60.0

Either = Bucketline | Origin


def settle(stack: Either, sink: Sink, accepted: int) -> None:
    """Let Bucketline store what it accepted; drop the origin's backlog, and let its last job end."""
    if isinstance(stack, Origin):
        stack.forget_queue()
        time.sleep(1.0)
    else:
        sink.wait_stored(accepted, DRAIN_SECONDS)


def accepted(stack: Either, sink: Sink, seconds: float) -> Sample:
    """Forms accepted per second while the workers work them off as fast as they can."""
    sink.reset()
    request = load.message(stack.path, os.urandom(SIZE))
    warm = load.drive(stack.port, request, count=WARM_UP)
    run = load.drive(stack.port, request, seconds=seconds)
    if run.refused or warm.refused:
        raise RuntimeError(f"{stack.name} refused {run.refused + warm.refused} forms")
    settle(stack, sink, warm.accepted + run.accepted)
    return Sample(
        ACCEPTED,
        stack.name,
        {
            "forms_per_s": run.accepted / run.seconds,
            "p50_ms": percentile(run.latencies, 50) * 1000,
            "p99_ms": percentile(run.latencies, 99) * 1000,
        },
    )


def stored(stack: Either, sink: Sink, count: int) -> Sample:
    """Files stored per second, from the first form sent to the last file's arrival."""
    sink.reset()
    begun = time.time()
    run = load.drive(stack.port, load.message(stack.path, os.urandom(SIZE)), count=count)
    if run.refused:
        raise RuntimeError(f"{stack.name} refused {run.refused} of {count} forms")
    sink.wait_stored(count, DRAIN_SECONDS)
    last = max(arrival.at for arrival in sink.arrivals())
    return Sample(STORED, stack.name, {"files_per_s": count / (last - begun), "files": float(count)})


def large(stack: Either, sink: Sink, file: Path) -> Sample:
    """When a form of 100 MB is answered, and how much later its object is in the store."""
    sink.reset()
    headers, before, after = wire.form("large.bin", LARGE_SIZE)
    answer = wire.send_file(
        stack.port, "POST", stack.path, file, LARGE_SIZE, before=before, after=after, headers=headers
    )
    sink.wait_stored(1, DRAIN_SECONDS)
    last = max(arrival.at for arrival in sink.arrivals() if arrival.operation in ("complete", "put"))
    return Sample(LARGE, stack.name, {"answered_s": answer.seconds, "stored_s_later": max(last - answer.at, 0.0)})
