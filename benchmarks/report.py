"""The run's results as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.figures import Results, median, readable, table
from benchmarks.targets import TARGETS, Target

HEADS = {
    "mb_per_s": "MB/s",
    "large_mb_per_s": "large bodies MB/s",
    "cpu_s_per_gb": "CPU-s/GB",
    "worker_cpu_s_per_gb": "of it the worker",
    "peak_mb": "peak MB",
    "parts_per_s": "parts/s",
    "redis_kib": "Redis KiB",
    "commands_per_part": "commands/part",
    "cpu_ms_per_part": "CPU ms/part",
    "pss_mb": "PSS MB",
    "cpu_percent_of_a_core": "CPU % of a core",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "forms_per_s": "forms/s",
    "files_per_s": "files/s",
    "answered_s": "answered after s",
    "stored_s_later": "stored s later",
    "sent_s": "sent after s",
    "seconds": "complete after s",
}


@dataclass(frozen=True)
class Conditions:
    """What the run was made with."""

    date: str
    size_mib: int
    rounds: int
    machine: str
    versions: dict[str, str]
    seconds: float


def markdown(results: Results, conditions: Conditions, targets: Sequence[Target] = TARGETS) -> str:
    """The whole report: targets first, then the medians of every scenario with their spread."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(conditions.versions.items()))
    sections = [
        "# Benchmark: Bucketline beside its peers",
        f"{conditions.date}. {conditions.machine}. A file of {conditions.size_mib:,} MiB, {conditions.rounds} rounds, "
        f"interleaved; medians, in brackets the smallest and the largest; {conditions.seconds:,.0f} s in all. CPU is "
        f"the sender's alone, never the sink's. {versions}.",
        "## Targets",
        table(["target", "measured", "bound", "verdict"], [target.row(results) for target in targets]),
    ]
    sections += [part for scenario in results.scenarios() for part in (f"## {scenario}", medians(results, scenario))]
    return "\n\n".join(sections) + "\n"


def medians(results: Results, scenario: str) -> str:
    """One scenario: a row for each subject, a column for each figure."""
    names = results.names(scenario)
    rows = [
        [subject, *(_spread(results.values(scenario, subject, name)) for name in names)]
        for subject in results.subjects(scenario)
    ]
    return table(["", *(HEADS.get(name, name) for name in names)], rows)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return readable(values[0])
    ordered = sorted(values)
    middle = median(ordered)
    return f"{readable(middle)} ({readable(ordered[0])}–{readable(ordered[-1])})"


def as_json(results: Results, conditions: Conditions, targets: Sequence[Target] = TARGETS) -> str:
    """Every sample of every round, the conditions and the verdicts."""
    verdicts = [
        {"claim": target.claim, "value": target.measure(results), "bound": target.bound, "holds": target.holds(results)}
        for target in targets
    ]
    samples = [asdict(sample) for sample in results.samples]
    return json.dumps({"conditions": asdict(conditions), "targets": verdicts, "samples": samples}, indent=1) + "\n"
