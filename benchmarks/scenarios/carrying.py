"""One large file: into the spool over HTTP, and from the spool to the sink in 16 MiB parts, against the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import processes, wire
from benchmarks.figures import GB, MB, Sample
from benchmarks.peers import senders
from benchmarks.sink import Sink
from benchmarks.stacks import Bare, Bucketline

CARRYING = "1 file, 16 MiB parts: spool to sink"
INGEST = "1 raw body: client to fsynced file"
THROUGH = "1 raw body: client to object in the sink"
ON_A_LINE = "The same, from a client with a line of 250 MB/s"
LINE = 250 * MB
ON_A_FAST_LINE = "The same, from a client with a line of 1,000 MB/s"
FAST_LINE = 1_000 * MB


class JobFailed(Exception):
    """A job of the benchmark did not succeed."""


def succeeded(job: dict[str, Any]) -> dict[str, Any]:
    """The job, if it succeeded. Raises JobFailed with its error."""
    if job["state"] != "succeeded":
        raise JobFailed(f"job {job['id']} ended {job['state']}: {job.get('error')} {job.get('transfers')}")
    return job


def peer(name: str, sink: Sink, file: Path) -> Sample:
    """One upload of a peer, from the same warm file."""
    return Sample(CARRYING, name, senders.send(name, sink, file))


def bare_ingest(bare: Bare, file: Path) -> Sample:
    """One body into the app that only writes and fsyncs."""
    size = file.stat().st_size
    before = processes.cpu_seconds(bare.pids())
    answer = wire.send_file(bare.port, "PUT", "/files/body", file, size)
    used = processes.cpu_seconds(bare.pids()) - before
    if answer.json() != {"size": size}:
        raise RuntimeError(f"the bare app kept {answer.json()} of {size} bytes")
    (bare.root / "files" / "body").unlink()
    return Sample(INGEST, bare.name, {"mb_per_s": size / MB / answer.seconds, "cpu_s_per_gb": used / (size / GB)})


def ours(stack: Bucketline, sink: Sink, file: Path, number: int) -> list[Sample]:
    """One job through the whole of Bucketline, as two samples: until its 202, and from then until it succeeded.

    The second begins before the first lease, so picking the job up, begin, complete and the final check of the object
    are in it; its CPU is that of all of Bucketline's processes.
    """
    sink.reset()
    size = file.stat().st_size
    api, workers = stack.api(), stack.workers()
    for pid in workers:
        processes.forget_peak(pid)
    at_start = processes.cpu_seconds(api)
    answer = wire.send_file(stack.port, "PUT", f"/v1/objects/sink/carry/{number}", file, size)
    received = processes.cpu_seconds(api)
    everything = stack.pids()
    used, used_by_worker = processes.cpu_seconds(everything), processes.cpu_seconds(workers)
    ended, job = wire.events(stack.port, f"/v1/jobs/{answer.json()['id']}/events")
    used = processes.cpu_seconds(everything) - used
    used_by_worker = processes.cpu_seconds(workers) - used_by_worker
    succeeded(job)
    sent = sum(arrival.size for arrival in sink.arrivals())
    if sent < size or sink.stored() != 1:
        raise RuntimeError(f"Bucketline: {sent} of {size} bytes arrived")
    ingest = {"mb_per_s": size / MB / answer.seconds, "cpu_s_per_gb": (received - at_start) / (size / GB)}
    carried = {
        "mb_per_s": size / MB / (ended - answer.at),
        "cpu_s_per_gb": used / (size / GB),
        "peak_mb": max(processes.peak_bytes(pid) for pid in workers) / MB,
        "worker_cpu_s_per_gb": used_by_worker / (size / GB),
    }
    return [Sample(INGEST, stack.name, ingest), Sample(CARRYING, stack.name, carried)]


def through(root: Path, sink: Sink, file: Path, number: int) -> list[Sample]:
    """One job from its first byte until it succeeded, sent while it is received; by a stack of its own that is warm."""
    with Bucketline(root, sink, pipelining=True) as stack:
        _through(stack, sink, file, f"{number}/warm-up", None)
        rates = {THROUGH: None, ON_A_LINE: LINE, ON_A_FAST_LINE: FAST_LINE}
        return [
            Sample(scenario, Bucketline.name, _through(stack, sink, file, f"{number}/{turn}", rate))
            for turn, (scenario, rate) in enumerate(rates.items())
        ]


def _through(stack: Bucketline, sink: Sink, file: Path, key: str, rate: float | None) -> dict[str, float]:
    sink.reset()
    size, everything = file.stat().st_size, stack.pids()
    used = processes.cpu_seconds(everything)
    answer = wire.send_file(stack.port, "PUT", f"/v1/objects/sink/through/{key}", file, size, rate=rate)
    ended, job = wire.events(stack.port, f"/v1/jobs/{answer.json()['id']}/events")
    used = processes.cpu_seconds(everything) - used
    succeeded(job)
    seconds = answer.seconds + ended - answer.at
    return {"mb_per_s": size / MB / seconds, "cpu_s_per_gb": used / (size / GB)}
