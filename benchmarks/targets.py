"""What Bucketline must reach: each target computed from the medians of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import MB, Results, ratio, readable
from benchmarks.peers import senders
from benchmarks.scenarios import carrying, forms, idle, latency, manyparts, pickup
from benchmarks.stacks import Bare, Bucketline, Origin

OURS = Bucketline.name
FEW, MANY = 1_000, 10_000


@dataclass(frozen=True)
class Target:
    """A claim, the figure that decides it (None: not measured), and its bound: at least or at most."""

    claim: str
    measure: Callable[[Results], float | None]
    bound: float
    least: bool
    unit: str = ""

    def holds(self, results: Results) -> bool | None:
        """Whether it is reached, or None when it was not measured."""
        value = self.measure(results)
        if value is None:
            return None
        return value >= self.bound if self.least else value <= self.bound

    def row(self, results: Results) -> list[str]:
        """What the table says: claim, figure, bound, verdict."""
        unit = f" {self.unit}" if self.unit else ""
        holds = self.holds(results)
        verdict = "not measured" if holds is None else "pass" if holds else "**FAIL**"
        sign = "≥" if self.least else "≤"
        value = self.measure(results)
        measured = f"{readable(value)}{unit}" if value is not None else "–"
        return [self.claim, measured, f"{sign} {self.bound:g}{unit}", verdict]


def _own(scenario: str, figure: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(scenario, OURS, figure)


def _against(scenario: str, figure: str, other: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results.median(scenario, OURS, figure), results.median(scenario, other, figure))


def _parts(figure: str, parts: int) -> Callable[[Results], float | None]:
    return lambda results: results.median(manyparts.SCENARIO, f"{OURS}, {parts:,} parts", figure)


def _growth(figure: str) -> Callable[[Results], float | None]:
    """How far a cost per part differs between few and many parts, in percent of the cost with few."""

    def measure(results: Results) -> float | None:
        change = ratio(_parts(figure, MANY)(results), _parts(figure, FEW)(results))
        return None if change is None else abs(change - 1) * 100

    return measure


def _slower_half(results: Results) -> float | None:
    """How many times the slower of receiving and carrying both together take, when they overlap."""
    halves = [results.median(name, OURS, "mb_per_s") for name in (carrying.INGEST, carrying.CARRYING)]
    slower = min((half for half in halves if half is not None), default=None)
    return ratio(slower, results.median(carrying.THROUGH, OURS, "mb_per_s"))


def _line(results: Results) -> float | None:
    return ratio(carrying.LINE / MB, results.median(carrying.ON_A_LINE, OURS, "mb_per_s"))


def _fast_line(results: Results) -> float | None:
    """Beside the slowest of the line, receiving and carrying."""
    halves = [results.median(name, OURS, "mb_per_s") for name in (carrying.INGEST, carrying.CARRYING)]
    slowest = min([carrying.FAST_LINE / MB, *(half for half in halves if half is not None)])
    return ratio(slowest, results.median(carrying.ON_A_FAST_LINE, OURS, "mb_per_s"))


CLOUD = "No cloud library in the API process"


def _carried(figure: str, other: str) -> Callable[[Results], float | None]:
    return _against(carrying.CARRYING, figure, other)


def _beside(figure: str) -> Callable[[Results], float | None]:
    return _against(latency.SCENARIO, figure, Origin.name)


TARGETS = (
    Target("Spool to sink: throughput, × s3fs", _carried("mb_per_s", "s3fs put_file"), 2, True, "×"),
    Target("Spool to sink: throughput, × boto3", _carried("mb_per_s", "boto3 upload_file"), 2, True, "×"),
    Target("Spool to sink: throughput, × obstore", _carried("mb_per_s", "obstore put"), 1, True, "×"),
    Target("Spool to sink: throughput, × rclone", _carried("mb_per_s", senders.RCLONE), 1, True, "×"),
    Target("Spool to sink: CPU per GB, × s3fs", _carried("cpu_s_per_gb", "s3fs put_file"), 0.3, False, "×"),
    Target("Spool to sink: worker's peak memory", _own(carrying.CARRYING, "peak_mb"), 120, False, "MB"),
    Target("Ingest: throughput, × bare app", _against(carrying.INGEST, "mb_per_s", Bare.name), 0.8, True, "×"),
    Target("Client to sink, × the time of the slower half", _slower_half, 1.4, False, "×"),
    Target("The same on a line of 250 MB/s, × the time of the line", _line, 1.4, False, "×"),
    Target("The same on a line of 1,000 MB/s, × the slowest of line and halves", _fast_line, 1.4, False, "×"),
    Target("10,000 parts: Redis memory", _parts("redis_kib", MANY), 1024, False, "KiB"),
    Target("Redis commands per part, 10,000 against 1,000 parts", _growth("commands_per_part"), 10, False, "%"),
    Target("CPU per part, 10,000 against 1,000 parts", _growth("cpu_ms_per_part"), 25, False, "%"),
    Target("Idle: memory of the stack (PSS)", _own(idle.SCENARIO, "pss_mb"), 200, False, "MB"),
    Target("Idle: CPU of the stack, of a core", _own(idle.SCENARIO, "cpu_percent_of_a_core"), 2, False, "%"),
    Target(CLOUD, _own(CLOUD, "libraries"), 0, False),
    Target("Pick-up of a job, p50", _own(pickup.SCENARIO, "p50_ms"), 20, False, "ms"),
    Target("Pick-up of a job, p99", _own(pickup.SCENARIO, "p99_ms"), 80, False, "ms"),
    Target("Accepted forms, × origin", _against(forms.ACCEPTED, "forms_per_s", Origin.name), 3, True, "×"),
    Target("Small files end to end, × origin", _against(forms.STORED, "files_per_s", Origin.name), 30, True, "×"),
    Target("Small forms beside large bodies: p99, × origin", _beside("p99_ms"), 0.25, False, "×"),
    Target("Small forms beside large bodies: rate, × origin", _beside("forms_per_s"), 4, True, "×"),
)
