"""What processes count: in batches, each of which counts once, whatever is lost on the way."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import written
from engine import notices
from engine.counters import Counters
from engine.errors import LedgerUnavailable
from engine.measures import MEASURES, OUTCOMES, OVERFLOW, REQUEST_BUCKETS, Batch, bound_of, read_counts, read_totals
from engine.telling import tell
from tests.engine.books import Books

HELD: Any = SimpleNamespace(destination="media", step="part")


def test_a_batch_is_offered_until_it_was_told() -> None:
    counters = Counters()
    assert counters.batch() is None
    counters.delivery("webhook", "delivered")
    first = counters.batch()
    counters.delivery("webhook", "delivered")
    assert first is not None and counters.batch() is first

    counters.told(first)
    second = counters.batch()
    assert second is not None and second.number == first.number + 1
    assert first.amounts == second.amounts == {"bucketline_deliveries_total\twebhook\tdelivered": 1}
    counters.told(second)
    assert counters.batch() is None


def test_the_ledger_adds_up_and_knows_a_batch_again(books: Books) -> None:
    batch = Batch("a", 1, {"x\ty": 1.5, "z": 2})
    assert books.run(notices.count(batch))
    assert not books.run(notices.count(batch))
    assert books.run(notices.count(Batch("b", 1, {"z": 3})))
    assert books.run(notices.count(Batch("a", 2, {"z": 1_000_000_000_000_000})))

    assert {name: float(value) for name, value in books.run(notices.counts()).items()} == {
        "x\ty": 1.5, "z": 1_000_000_000_000_005,
    }  # fmt: skip


class Forgetful:
    """A ledger that takes a batch, or not, and whose answer is lost."""

    def __init__(self, books: Books, moods: list[str]) -> None:
        self.books, self.moods = books, moods

    def run(self, operation: Any) -> Any:
        mood = self.moods.pop(0) if self.moods else "well"
        if mood != "away":
            self.books.run(operation)
        if mood != "well":
            raise LedgerUnavailable("Redis is away.")


@given(moods=st.lists(st.sampled_from(["well", "away", "answer lost"]), max_size=12))
def test_whatever_is_lost_every_attempt_counts_once(moods: list[str]) -> None:
    counted: dict[tuple[str, int], dict[str, float]] = {}
    ledger = Forgetful(Memory(counted), list(moods))  # type: ignore[arg-type]
    runtime: Any = SimpleNamespace(counters=Counters(), ledger=ledger)
    for _ in range(12):
        runtime.counters.done(HELD, 0.2, 7)
        tell(runtime)
    while runtime.counters.batch() is not None:
        tell(runtime)

    total = sum(batch["bucketline_part_bytes_total\tmedia"] for batch in counted.values())
    assert total == 12 * 7


class Memory:
    """What count.lua does: by process and number, once."""

    def __init__(self, counted: dict[tuple[str, int], dict[str, float]]) -> None:
        self.counted = counted

    def run(self, operation: Any) -> None:
        process, number, *words = operation.args
        self.counted.setdefault((process, number), dict(zip(words[::2], words[1::2], strict=True)))


@pytest.mark.parametrize(
    ("step", "code", "decision", "names"),
    [
        ("part", "throttled", "retry", {"part_attempts_total\tmedia\tthrottled", "failures_total\tmedia\tretry"}),
        ("whole", "my_own_code", "fail", {"part_attempts_total\tmedia\tother", "failures_total\tmedia\tfail"}),
        (
            "begin",
            "timed_out",
            "retry",
            {"step_attempts_total\tmedia\tbegin\ttimed_out", "failures_total\tmedia\tretry"},
        ),
        ("part", "unexpected", "snooze", {"part_attempts_total\tmedia\tgiven_back"}),
    ],
)
def test_outcomes_are_of_a_closed_set(step: str, code: str, decision: str, names: set[str]) -> None:
    counters = Counters()
    counters.failed(SimpleNamespace(destination="media", step=step), code, decision)  # type: ignore[arg-type]
    batch = counters.batch()

    assert batch is not None and {name.removeprefix("bucketline_") for name in batch.amounts} == names
    assert {"ok", "throttled", "unexpected", "source_corrupt"} <= OUTCOMES


def test_only_what_this_version_and_plugins_toml_know_is_shown() -> None:
    counts = {
        "bucketline_part_bytes_total\tmedia": "7",
        "bucketline_part_bytes_total\tgone": "7",
        "bucketline_part_bytes_total": "7",
        "bucketline_jobs\tqueued": "7",
        "bucketline_of_another_version\tmedia": "7",
    }
    found = read_counts(counts, ["media"])
    assert found["bucketline_part_bytes_total"] == {("media",): 7.0}
    assert found["bucketline_part_attempts_total"] == {("media", "ok"): 0}
    assert {name for name, samples in found.items() if any(samples.values())} == {"bucketline_part_bytes_total"}
    assert read_totals({})["bucketline_sent_bytes_total"] == {(): 0}


@given(values=st.lists(st.floats(0, 1000), min_size=1, max_size=20))
def test_a_histogram_is_what_prometheus_makes_of_it(values: list[float]) -> None:
    counters = Counters()
    for value in values:
        counters.observe("bucketline_http_request_seconds", "GET", "/livez", value=value)
    batch = counters.batch()
    assert batch is not None
    text = written(read_counts({name: repr(amount) for name, amount in batch.amounts.items()}, [])).decode()

    (family,) = [one for one in text_string_to_metric_families(text) if one.type == "histogram"]
    buckets = {one.labels["le"]: one.value for one in family.samples if one.name.endswith("_bucket")}
    assert list(buckets) == [*map(str, REQUEST_BUCKETS), OVERFLOW]
    assert {le: sum(value <= float(le) for value in values) for le in buckets} == buckets
    assert [one.value for one in family.samples if one.name.endswith("_count")] == [len(values)]
    assert all(a <= b for a, b in pairwise(buckets.values()))
    assert [one.value for one in family.samples if one.name.endswith("_sum")] == [pytest.approx(sum(values))]


def test_names_are_by_prometheus_conventions() -> None:
    for measure in MEASURES.values():
        assert measure.name.startswith("bucketline_") and measure.about.endswith(".")
        assert (measure.kind == "counter") == measure.name.endswith("_total")
        assert (measure.kind == "histogram") == bool(measure.buckets) == measure.name.endswith("_seconds")
        assert list(measure.buckets) == sorted(measure.buckets)
        assert bound_of(measure, 1e9) == OVERFLOW
