"""How soon an idle system begins: from the answer to the client to the first byte at the store."""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks import wire
from benchmarks.figures import Sample, percentile
from benchmarks.sink import Sink
from benchmarks.stacks import Bucketline

SCENARIO = "Idle system picks a job up: submit answered to first byte at the store"
SIZE = 64 * 1024


def ours(stack: Bucketline, sink: Sink, file: Path, samples: int) -> Sample:
    """So many small files, each sent when the one before it is stored and the system is idle again.

    The sink's clock ticks in milliseconds, and a byte that came before the answer did counts as 0.
    """
    sink.reset()
    rhythm = random.Random(1)
    answered: dict[str, float] = {}
    for number in range(samples):
        answer = wire.send_file(stack.port, "PUT", f"/v1/objects/sink/pick/{number}", file, SIZE)
        answered[f"pick/{number}"] = answer.at
        sink.wait_stored(number + 1, 30)
        time.sleep(rhythm.uniform(0.02, 0.08))
    first: dict[str, float] = {}
    for arrival in sink.arrivals():
        if arrival.operation == "head":  # a look at what is there is not yet the file
            continue
        first[arrival.key] = min(arrival.at, first.get(arrival.key, arrival.at))
    waits = [max(first[key] - at, 0) * 1000 for key, at in answered.items()]
    return Sample(
        SCENARIO,
        stack.name,
        {"p50_ms": percentile(waits, 50), "p99_ms": percentile(waits, 99), "samples": float(len(waits))},
    )
