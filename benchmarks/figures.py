"""Samples of one run, and what is computed from them: pure arithmetic, no clock and no processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MIB = 1 << 20
GIB = 1 << 30
MB = 1_000_000
GB = 1_000_000_000


@dataclass(frozen=True)
class Sample:
    """What one round of one scenario measured about one subject: figures by name, the unit at the name's end."""

    scenario: str
    subject: str
    figures: dict[str, float]


def median(values: Iterable[float]) -> float:
    """The middle value; the mean of the two middle ones when their number is even. Raises ValueError without any."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a median needs at least one value")
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


@dataclass
class Results:
    """All samples of a run, looked up by scenario, subject and figure."""

    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    def values(self, scenario: str, subject: str, figure: str) -> list[float]:
        """Every round's value, in the order measured; empty when it was not measured."""
        return [
            sample.figures[figure]
            for sample in self.samples
            if sample.scenario == scenario and sample.subject == subject and figure in sample.figures
        ]

    def median(self, scenario: str, subject: str, figure: str) -> float | None:
        """The median over the rounds, or None when it was not measured."""
        values = self.values(scenario, subject, figure)
        return median(values) if values else None

    def subjects(self, scenario: str) -> list[str]:
        """Who took part in a scenario, in the order of first appearance."""
        return list(dict.fromkeys(sample.subject for sample in self.samples if sample.scenario == scenario))

    def scenarios(self) -> list[str]:
        """What was measured, in the order of first appearance."""
        return list(dict.fromkeys(sample.scenario for sample in self.samples))

    def names(self, scenario: str) -> list[str]:
        """The figures of a scenario, in the order of first appearance."""
        chosen = (sample for sample in self.samples if sample.scenario == scenario)
        return list(dict.fromkeys(name for sample in chosen for name in sample.figures))


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Their quotient, or None when one of them is missing or the denominator is zero."""
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def readable(value: float | None) -> str:
    """A number as a table shows it: three significant digits, thousands separated, a dash when not measured."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, figures to the right, padded so that it also reads as text."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([line(lines[0]), "| " + " | ".join(rule) + " |", *(line(row) for row in lines[1:])])
