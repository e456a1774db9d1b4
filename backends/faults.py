"""Faults in plugins.toml: each says where it is, what is wrong, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import msgspec


class Fault(msgspec.Struct, frozen=True):
    where: str
    """For example `plugins.toml: [destinations.archive] endpoint_url`."""
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" + (f" ({self.hint})" if self.hint else "")


class ConfigurationError(Exception):
    """The file cannot be used. It prints as one line per fault, and never holds the value of a secret."""

    def __init__(self, faults: list[Fault], files: tuple[Path, ...] = ()) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults
        self.files = files
        """Files beside plugins.toml that it names: the cure may be in one of them."""


class FaultList:
    """Collects the faults of one file, so that all of them can be mended at once."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.found: list[Fault] = []

    def add(self, place: str, problem: str, hint: str = "") -> None:
        """Record a fault; `place` is a table and key, such as `[destinations.archive] endpoint_url`, or empty."""
        self.found.append(Fault(f"{self._file}: {place}".rstrip(": "), problem, hint))

    def add_unknown(self, place: str, what: str, word: str, known: Iterable[str]) -> None:
        """Record that `word` is no known `what`, with the nearest word that is."""
        self.add(place, f"unknown {what} {word!r}", suggestion(word, known))

    def raise_if_any(self, files: Iterable[Path] = ()) -> None:
        if self.found:
            raise ConfigurationError(self.found, tuple(files))


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that `word` was probably meant to be."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the nearest known one, or all of them."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {near!r}?"
    return f"known: {', '.join(names)}" if names else ""
