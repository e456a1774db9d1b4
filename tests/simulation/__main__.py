"""Replays one seed with its trace, or looks through many: `python -m tests.simulation SEED [--count N]`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.mutants import SOUND, named
from tests.simulation.search import failure_of


def main() -> int:
    """0 when every schedule held all invariants."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1, help="look through so many seeds, without traces")
    parser.add_argument("--mutant", default="", help="plant this bug first (see mutants.py)")
    chosen = parser.parse_args()
    mutant = named(chosen.mutant) if chosen.mutant else SOUND
    started, failures = time.perf_counter(), 0
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        lines: list[str] | None = [] if chosen.count == 1 else None
        failure = failure_of(seed, mutant=mutant, trace=lines)
        print(*(lines or ()), sep="\n", end="\n" if lines else "")
        if failure is not None:
            failures += 1
            print(f"seed {seed}: {failure}")
    if chosen.count > 1:
        rate = chosen.count / (time.perf_counter() - started)
        print(f"{chosen.count} schedules, {failures} violations, {rate:.0f} schedules per second", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
