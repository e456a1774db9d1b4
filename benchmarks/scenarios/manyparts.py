"""A transfer of thousands of small parts to the memory backend: what each part costs Redis and the worker."""

from __future__ import annotations

import time
from pathlib import Path

import redis

from benchmarks import processes, wire
from benchmarks.figures import Sample
from benchmarks.scenarios.carrying import succeeded
from benchmarks.stacks import Bucketline

PART = 64 * 1024
SCENARIO = "Parts of 64 KiB to the memory backend"
POLL_SECONDS = 0.25
# What this module itself asks of Redis, and what clients say when they connect.
NOT_COUNTED = ("scan", "memory", "info", "ping", "hello", "client", "select", "auth", "command")


class Redis:
    """The stack's Redis, looked at from outside: all its databases together."""

    def __init__(self, url: str) -> None:
        first = redis.Redis.from_url(url)
        databases = [int(name.removeprefix("db")) for name in first.info("keyspace")]
        self._clients = [redis.Redis.from_url(url, db=number) for number in sorted({0, 1, *databases})]
        first.close()

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def keys(self) -> set[tuple[int, bytes]]:
        return {(index, key) for index, client in enumerate(self._clients) for key in client.scan_iter(count=1000)}

    def size(self, keys: set[tuple[int, bytes]]) -> int:
        """The bytes that these keys take, counted in full; a key that is gone counts nothing."""
        return sum(int(self._clients[index].memory_usage(key, samples=0) or 0) for index, key in keys)

    def commands(self) -> int:
        """Commands executed so far, those inside scripts among them."""
        stats = self._clients[0].info("commandstats")
        return sum(
            figures["calls"]
            for name, figures in stats.items()
            if name.removeprefix("cmdstat_").split("|")[0] not in NOT_COUNTED
        )


def ours(stack: Bucketline, file: Path, parts: int) -> Sample:
    """One transfer of so many parts, from its 202 until it succeeded."""
    workers = stack.workers()
    ledger = Redis(stack.ledger_url())
    try:
        known = ledger.keys()
        path = f"/v1/objects/memory/parts/{parts}-{time.monotonic_ns()}"
        answer = wire.send_file(stack.port, "PUT", path, file, parts * PART)
        commands, used, begun = ledger.commands(), processes.cpu_seconds(workers), time.monotonic()
        peak = 0
        job = answer.json()
        while job["state"] in ("queued", "running"):
            peak = max(peak, ledger.size(ledger.keys() - known))
            time.sleep(POLL_SECONDS)
            job = wire.request(stack.port, "GET", f"/v1/jobs/{job['id']}").json()
        seconds = time.monotonic() - begun
        peak = max(peak, ledger.size(ledger.keys() - known))
        commands, used = ledger.commands() - commands, processes.cpu_seconds(workers) - used
    finally:
        ledger.close()
    succeeded(job)
    return Sample(
        SCENARIO,
        f"{stack.name}, {parts:,} parts",
        {
            "parts_per_s": parts / seconds,
            "redis_kib": peak / 1024,
            "commands_per_part": commands / parts,
            "cpu_ms_per_part": used * 1000 / parts,
        },
    )
