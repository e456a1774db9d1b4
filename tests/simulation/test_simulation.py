"""Random schedules of crashes, duplicates, delays, rollbacks and faults: in all of them the invariants hold.

A failing seed is replayed, with everything that happened, by `python -m tests.simulation SEED`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from redis import Redis

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.search import failure_of, failures_of, first_caught
from tests.simulation.servers import Patch, ValkeyServer

TWIN_SCHEDULES, TWIN_BATCH = 10_000, 500
VALKEY_SCHEDULES, VALKEY_BATCH = 500, 50
MUTANT_BUDGET = 1_000

#: Seeds that once broke something, each with what it was.
KEPT = {
    53: "an object renamed by on_conflict was made twice: its key was on record nowhere when the answer was lost",
    74: "cancel while a begin was lost with its worker: its session stayed open",
    97: "a stored object was found again, and the sessions of earlier attempts were not closed",
    142: "a forgotten job came back with the next worker",
    370: "cancel while the answer of a begin was lost: its session stayed open",
    3177: "a lost session was taken for lost work, because one look at the object failed",
    9817: "a transfer that takes the whole file in one call began again while the file was still being received",
    10221: "the session of a complete that was refused, our object being there already, stayed open",
    17879: "a corrupt object was taken for the right one: nobody had read its source whole, so its size was enough",
    23404: "the same, when the object was found again behind a lost session",
    105810: "Redis was emptied while it was being reconciled",
}


def told(failures: Mapping[int, str]) -> str:
    return "\n".join(f"python -m tests.simulation {seed}   # {failure}" for seed, failure in failures.items())


@pytest.mark.parametrize("first", range(1, TWIN_SCHEDULES, TWIN_BATCH))
def test_no_schedule_breaks_an_invariant(first: int) -> None:
    failures = failures_of(range(first, first + TWIN_BATCH))
    assert not failures, told(failures)


@pytest.mark.parametrize("first", range(1_000_001, 1_000_001 + VALKEY_SCHEDULES, VALKEY_BATCH))
def test_no_schedule_breaks_an_invariant_on_a_real_valkey(real: Redis, first: int) -> None:
    def server(patches: Mapping[str, Patch]) -> ValkeyServer:
        return ValkeyServer(real, patches)

    failures = failures_of(range(first, first + VALKEY_BATCH), server=server)
    assert not failures, told(failures)


@pytest.mark.parametrize("seed", KEPT, ids=lambda seed: str(seed))
def test_what_once_failed_stays_mended(seed: int) -> None:
    assert failure_of(seed) is None, KEPT[seed]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(mutant: Mutant) -> None:
    assert first_caught(mutant, range(mutant.since, mutant.since + MUTANT_BUDGET)) is not None


def test_a_seed_replays_exactly() -> None:
    first: list[str] = []
    second: list[str] = []
    failure_of(7, trace=first)
    failure_of(8)
    failure_of(7, trace=second)
    assert first == second
