"""Runs one peer once against the sink, whole process and sending alone both measured."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from benchmarks import processes
from benchmarks.environment import REGION, environment
from benchmarks.figures import GB, MB
from benchmarks.sink import BUCKET, Sink

PYTHON_PEERS = {
    "s3fs put_file": "benchmarks.peers.s3fs_put",
    "boto3 upload_file": "benchmarks.peers.boto3_upload",
    "obstore put": "benchmarks.peers.obstore_put",
}
RCLONE = "rclone copyto"
NAMES = (*PYTHON_PEERS, RCLONE)


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if not found:
        raise RuntimeError("rclone is missing: it comes with the extra `bench`")
    return found


def _rclone_command(sink: Sink, file: Path, key: str) -> list[str]:
    """The payload unsigned, no directory looked at, no bucket made: the fastest way that it has."""
    return [
        _rclone(),
        "copyto",
        str(file),
        f":s3:{BUCKET}/{key}",
        "--s3-provider=Other",
        f"--s3-endpoint={sink.url}",
        f"--s3-region={REGION}",
        "--s3-env-auth",
        "--s3-force-path-style",
        "--s3-chunk-size=16Mi",
        "--s3-upload-cutoff=16Mi",
        "--s3-upload-concurrency=8",
        "--s3-use-unsigned-payload=true",
        "--s3-disable-checksum",
        "--s3-no-check-bucket",
        "--no-traverse",
        "--retries=1",
        "--low-level-retries=1",
    ]


def send(name: str, sink: Sink, file: Path) -> dict[str, float]:
    """The figures of one upload. Raises RuntimeError when the object did not arrive at its full size.

    rclone cannot be asked what its sending alone cost: its time counts from its first call at the sink, its CPU from
    its start.
    """
    sink.reset()
    key = f"peer/{name.split()[0]}"
    size = file.stat().st_size
    if name == RCLONE:
        run, reported = processes.run(_rclone_command(sink, file, key), environment()), {}
        used = run.cpu_seconds
    else:
        command = [sys.executable, "-m", PYTHON_PEERS[name], sink.url, str(file), BUCKET, key]
        run = processes.run(command, environment())
        reported = json.loads(run.output)
        used = reported["cpu_seconds"]
    arrivals = sink.arrivals()
    seconds = run.ended_at - min(arrival.at for arrival in arrivals) if name == RCLONE else reported["seconds"]
    arrived = sum(arrival.size for arrival in arrivals if arrival.operation in ("part", "put"))
    if arrived < size or sink.stored() != 1:
        raise RuntimeError(f"{name}: {arrived} of {size} bytes arrived")
    return {"mb_per_s": size / MB / seconds, "cpu_s_per_gb": used / (size / GB), "peak_mb": run.peak_bytes / MB}
