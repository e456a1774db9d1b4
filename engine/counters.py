"""What one process counts, and gives to the ledger in batches: a call a second at most, however much there is to count.

The ledger adds up, so nothing goes backward when a process starts again. A batch that is sent twice counts once.
"""

from __future__ import annotations

import secrets
import threading

from engine.measures import MEASURES, OUTCOMES, SUM, Batch, bound_of
from engine.records import Lease

TELL_SECONDS = 1.0
CARRIERS = ("part", "whole")
"""The steps that carry bytes."""


class Counters:
    """Safe for threads. Adding never waits for anything but another addition."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._amounts: dict[str, float] = {}
        self._batch: Batch | None = None
        self._number = 0

    def add(self, measure: str, *labels: str, amount: float = 1) -> None:
        """Counts so much more."""
        self._add("\t".join((measure, *labels)), amount)

    def observe(self, measure: str, *labels: str, value: float) -> None:
        """One more value of a histogram."""
        name = "\t".join((measure, *labels))
        self._add(f"{name}\t{bound_of(MEASURES[measure], value)}", 1)
        self._add(f"{name}\t{SUM}", value)

    def batch(self) -> Batch | None:
        """What is to be told now. The same one again, until it was `told`."""
        with self._lock:
            if self._batch is None and self._amounts:
                self._number += 1
                self._batch, self._amounts = Batch(self._process, self._number, self._amounts), {}
            return self._batch

    def told(self, batch: Batch) -> None:
        """The ledger has it."""
        with self._lock:
            if self._batch is batch:
                self._batch = None

    def _add(self, name: str, amount: float) -> None:
        with self._lock:
            self._amounts[name] = self._amounts.get(name, 0) + amount

    # ------------------------------------------------------------------ what is counted

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """An API process has answered."""
        self.add("bucketline_http_requests_total", method, route, str(status))
        self.observe("bucketline_http_request_seconds", method, route, value=seconds)

    def done(self, held: Lease, seconds: float, size: int) -> None:
        """A worker has done a step; `size` is what the part has."""
        self._attempt(held, "ok")
        if held.step in CARRIERS:
            self.observe("bucketline_part_seconds", held.destination, value=seconds)
            self.add("bucketline_part_bytes_total", held.destination, amount=size)

    def failed(self, held: Lease, code: str, decision: str) -> None:
        """A worker could not do a step; one that is given back is no failure."""
        if decision == "snooze":
            self._attempt(held, "given_back")
        else:
            self._attempt(held, code if code in OUTCOMES else "other")
            self.add("bucketline_failures_total", held.destination, decision)

    def delivery(self, kind: str, outcome: str) -> None:
        """A webhook or an actor was told of a job's end, or not."""
        self.add("bucketline_deliveries_total", kind, outcome)

    def _attempt(self, held: Lease, outcome: str) -> None:
        if held.step in CARRIERS:
            self.add("bucketline_part_attempts_total", held.destination, outcome)
        else:
            self.add("bucketline_step_attempts_total", held.destination, held.step, outcome)
