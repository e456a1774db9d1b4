"""The table of everything that /metrics shows: names, kinds, labels, and who can say how much it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from backends.errors import BY_CODE, BackendError
from engine.errors import TITLES
from engine.models import JOB_OVER

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]
Found = dict[str, dict[Labels, float]]
"""Samples by the name of their measure. Those of a histogram have one label more: an upper bound, or 'sum'."""


class Measure(NamedTuple):
    """One family of samples. `counted`: by processes, and added up in the ledger; others are asked for at a scrape."""

    name: str
    kind: Kind
    about: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Amounts by name, and by what the ledger knows that it had this batch already."""

    process: str
    number: int
    amounts: dict[str, float]


REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
PART_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OVERFLOW = "+Inf"
SUM = "sum"
OUTCOMES = frozenset({"ok", "given_back", "other", BackendError.code, *TITLES, *BY_CODE})
"""How an attempt can end: the codes of docs/problems.md, and three words more. A backend's own codes are `other`."""
DECISIONS = ("retry", "restart", "fail", "give_up")
DELIVERED = ("delivered", "retry", "failed", "disabled")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

MEASURES = {
    one.name: one
    for one in (
        Measure("bucketline_build_info", "gauge", "1, with the version that answers.", ("version",)),
        Measure("bucketline_redis_up", "gauge", "Whether Redis answered this scrape; if not, much is missing from it."),
        Measure("bucketline_jobs", "gauge", "Jobs that are remembered.", ("state",)),
        Measure("bucketline_jobs_ended_total", "counter", "Ends of jobs; each run has its own.", ("state",)),
        Measure("bucketline_received_bytes_total", "counter", "Bytes of accepted files."),
        Measure("bucketline_sent_bytes_total", "counter", "Bytes stored, for each destination of a file."),
        Measure("bucketline_active_transfers", "gauge", "Transfers that are not over."),
        Measure("bucketline_queue_messages", "gauge", "Tokens that wait for a worker.", ("queue",)),
        Measure("bucketline_workers", "gauge", "Worker processes seen within 15 s.", ("node",)),
        Measure("bucketline_worker_threads", "gauge", "Parts that those can send at once.", ("node",)),
        Measure("bucketline_spool_used_bytes", "gauge", "What the spool of the answering machine holds."),
        Measure("bucketline_spool_limit_bytes", "gauge", "What it may hold."),
        Measure("bucketline_spool_free_bytes", "gauge", "What more it takes: its disk may have less than its limit."),
        Measure(
            "bucketline_http_requests_total", "counter", "Requests answered; status 0: the client left before.",
            ("method", "route", "status"), counted=True,
        ),
        Measure(
            "bucketline_http_request_seconds", "histogram", "From the request's first line to the answer's last byte.",
            ("method", "route"), REQUEST_BUCKETS, counted=True,
        ),
        Measure(
            "bucketline_part_attempts_total", "counter", "Attempts to send a part, or a small file whole.",
            ("destination", "outcome"), counted=True,
        ),
        Measure(
            "bucketline_step_attempts_total", "counter", "Attempts at the steps before and behind the parts.",
            ("destination", "step", "outcome"), counted=True,
        ),
        Measure(
            "bucketline_part_seconds", "histogram", "Time of the attempts that stored a part.",
            ("destination",), PART_BUCKETS, counted=True,
        ),
        Measure(
            "bucketline_part_bytes_total", "counter", "Bytes of the parts that were stored.",
            ("destination",), counted=True,
        ),
        Measure(
            "bucketline_failures_total", "counter", "What was decided after failed attempts.",
            ("destination", "decision"), counted=True,
        ),
        Measure(
            "bucketline_deliveries_total", "counter", "Tries to tell of an end of a job.",
            ("kind", "outcome"), counted=True,
        ),
    )
}  # fmt: skip


def bound_of(measure: Measure, value: float) -> str:
    """The bucket that a value falls into, by its upper bound."""
    return next((str(bound) for bound in measure.buckets if value <= bound), OVERFLOW)


def read_counts(counts: Mapping[str, str], destinations: Iterable[str]) -> Found:
    """What the ledger has added up, as far as this version knows it and plugins.toml still has the destination."""
    known = frozenset(destinations)
    found = _zeros(known)
    for name, value in counts.items():
        family, *labels = name.split("\t")
        measure = MEASURES.get(family)
        if measure is None or not measure.counted:
            continue
        if len(labels) != len(measure.labels) + (measure.kind == "histogram"):
            continue
        if "destination" in measure.labels and labels[measure.labels.index("destination")] not in known:
            continue
        found.setdefault(family, {})[tuple(labels)] = float(value)
    return found


def _zeros(destinations: Iterable[str]) -> Found:
    """What has not happened yet, and is watched: Prometheus sees no increase in a series that begins with its first."""
    return {
        "bucketline_part_attempts_total": {(name, "ok"): 0 for name in destinations},
        "bucketline_failures_total": {(name, word): 0 for name in destinations for word in DECISIONS},
        "bucketline_deliveries_total": {(kind, outcome): 0 for kind in ("webhook", "actor") for outcome in DELIVERED},
    }


def read_totals(totals: Mapping[str, int]) -> Found:
    """What the scripts of the ledger count themselves."""
    return {
        "bucketline_received_bytes_total": {(): totals.get("received", 0)},
        "bucketline_sent_bytes_total": {(): totals.get("sent", 0)},
        "bucketline_jobs_ended_total": {(state,): totals.get(f"ended:{state}", 0) for state in sorted(JOB_OVER)},
    }
