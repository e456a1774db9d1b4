"""The arithmetic, the tables and the store of the benchmark; what it measures is not tested here."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.figures import Results, Sample, median, percentile, ratio, readable, table
from benchmarks.sink import PACKAGES, Sink, installed
from benchmarks.stores import page
from benchmarks.stores.targets import TARGETS
from benchmarks.targets import Target
from tests.servers import needs


@pytest.mark.parametrize(
    ("values", "middle"),
    [([3.0], 3.0), ([5.0, 1.0, 3.0], 3.0), ([4.0, 1.0, 3.0, 2.0], 2.5), ([1.0, 1.0, 100.0], 1.0)],
)
def test_the_median_is_the_middle_of_the_sorted_values(values: list[float], middle: float) -> None:
    assert median(values) == middle


def test_nothing_has_neither_a_median_nor_a_percentile() -> None:
    with pytest.raises(ValueError, match="at least one"):
        median([])
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 50)


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(number) for number in range(200, 0, -1)]

    assert percentile(values, 50) == 100
    assert percentile(values, 99) == 198
    assert percentile(values, 100) == 200
    assert percentile(values, 0) == 1
    assert percentile([7.0], 99) == 7


def test_a_ratio_needs_both_sides() -> None:
    assert ratio(6, 3) == 2
    assert ratio(None, 3) is None
    assert ratio(6, None) is None
    assert ratio(6, 0) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.0421, "0.042"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (999.6, "1,000"),
        (1234567, "1,234,567"),
    ],
)
def test_numbers_are_shown_with_the_digits_that_matter(value: float | None, text: str) -> None:
    assert readable(value) == text


def test_a_table_is_markdown_that_also_reads_as_text() -> None:
    text = table(["peer", "MB/s"], [["s3fs", "400"], ["Bucketline", "1,900"]])

    assert text.splitlines() == [
        "| peer       |  MB/s |",
        "| ---------- | ----: |",
        "| s3fs       |   400 |",
        "| Bucketline | 1,900 |",
    ]


def _results() -> Results:
    results = Results()
    for ours, theirs in ((900.0, 400.0), (1000.0, 500.0), (950.0, 450.0)):
        results.add(Sample("carry", "Bucketline", {"mb_per_s": ours}))
        results.add(Sample("carry", "s3fs", {"mb_per_s": theirs}))
    return results


def _times_s3fs(bound: float, *, least: bool = True) -> Target:
    def measure(results: Results) -> float | None:
        return ratio(results.median("carry", "Bucketline", "mb_per_s"), results.median("carry", "s3fs", "mb_per_s"))

    return Target("throughput, × s3fs", measure, bound, least, "×")


def test_a_target_compares_the_medians_of_all_rounds() -> None:
    results = _results()

    assert _times_s3fs(2).row(results) == ["throughput, × s3fs", "2.11 ×", "≥ 2 ×", "pass"]
    assert _times_s3fs(3).row(results) == ["throughput, × s3fs", "2.11 ×", "≥ 3 ×", "**FAIL**"]
    assert _times_s3fs(2, least=False).holds(results) is False


def test_a_target_that_was_not_measured_neither_passes_nor_fails() -> None:
    assert _times_s3fs(2).holds(Results()) is None
    assert _times_s3fs(2).row(Results())[-1] == "not measured"


def test_the_report_shows_targets_and_every_scenario_with_its_spread() -> None:
    conditions = report.Conditions("2026-11-23", 1024, 3, "2 cores", {"boto3": "1.43"}, 600.0)

    text = report.markdown(_results(), conditions, [_times_s3fs(2)])
    data = json.loads(report.as_json(_results(), conditions, [_times_s3fs(2)]))

    assert "| throughput, × s3fs |   2.11 × | ≥ 2 × |    pass |" in text
    assert "## carry" in text
    assert "| Bucketline | 950 (900–1,000) |" in text
    assert data["targets"][0]["holds"] is True
    assert len(data["samples"]) == 6


# -- each store beside its library -------------------------------------------------------------------------------------


def _stores() -> Results:
    results = Results()
    for used, peers in ((0.3, 0.9), (0.4, 0.8), (0.2, 1.0)):
        results.add(Sample("azure on Azurite", "Bucketline", {"cpu_s_per_gb": used}))
        results.add(Sample("azure on Azurite", "adlfs put_file", {"cpu_s_per_gb": peers}))
    files = "fsspec: FTP, pyftpdlib"
    results.add(Sample(files, "Bucketline", {"sent_s": 1.1, "seconds": 2.2}))
    results.add(Sample(files, "put_file", {"sent_s": 1.0, "seconds": 1.0}))
    results.add(Sample(files, "put_file, read back", {"sent_s": 1.0, "seconds": 2.0}))
    return results


def test_a_native_store_is_measured_by_cpu_and_a_generic_one_by_time_with_and_without_reading_back() -> None:
    measured = {target.claim: target.row(_stores())[1:] for target in TARGETS if target.holds(_stores()) is not None}

    assert measured == {
        "azure on Azurite: CPU per GB, × its library": ["0.333 ×", "≤ 0.5 ×", "pass"],
        "fsspec: FTP, pyftpdlib: time until sent, × put_file": ["1.10 ×", "≤ 1.15 ×", "pass"],
        "fsspec: FTP, pyftpdlib: time in all, × put_file and reading back": ["1.10 ×", "≤ 1.15 ×", "pass"],
    }


def test_the_page_says_how_it_was_made_and_shows_only_what_was_measured() -> None:
    conditions = report.Conditions("2026-11-25", 256, 5, "2 cores", {"adlfs": "2026.8"}, 60.0)

    text = page.markdown(_stores(), conditions)

    assert "make bench-stores" in text
    assert "## azure on Azurite" in text
    assert "## fsspec: FTP, pyftpdlib" in text
    assert re.search(r"\| fsspec: FTP, pyftpdlib \| +2\.20 × \|", text)
    assert "Samba" not in text
    assert json.loads(page.as_json(_stores(), conditions))["conditions"]["rounds"] == 5


def test_the_store_serves_as_many_requests_as_a_long_run_makes(tmp_path: Path) -> None:
    """All on one connection, so by one process of nginx: it is what remembers too much, if anything does."""
    needs(installed() is not None, f"the benchmark's store ({' '.join(PACKAGES)})")
    asked = b"PUT /bench HTTP/1.1\r\nhost: sink\r\ncontent-length: 0\r\n\r\n" * 500
    with (
        Sink(tmp_path) as store,
        socket.create_connection(("127.0.0.1", store.port), timeout=30) as connection,
        connection.makefile("rb") as answers,
    ):
        for _ in range(40):
            connection.sendall(asked)
            for _ in range(500):
                lines = list(iter(answers.readline, b"\r\n"))
                assert lines[0] == b"HTTP/1.1 200 OK\r\n"
                assert b"Content-Length: 0\r\n" in lines
