"""Looks for schedules that break an invariant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tests.simulation.kernel import Violation
from tests.simulation.mutants import SOUND, Mutant
from tests.simulation.servers import Patch, Server, TwinServer
from tests.simulation.world import World

MakeServer = Callable[[Mapping[str, Patch]], Server]


def failure_of(
    seed: int, *, mutant: Mutant = SOUND, server: MakeServer = TwinServer, trace: list[str] | None = None
) -> str | None:
    """What the schedule of this seed breaks, or None. `trace` is filled with everything that happened."""
    world = World(seed, server=server, patches=mutant.scripts, sweeps=mutant.sweeps)
    world.kernel.log = trace
    with mutant.planted():
        try:
            world.run()
        except Violation as violation:
            return str(violation)
    return None


def failures_of(seeds: Iterable[int], *, server: MakeServer = TwinServer) -> dict[int, str]:
    """The seeds whose schedules break something, with what they break."""
    found = {seed: failure_of(seed, server=server) for seed in seeds}
    return {seed: failure for seed, failure in found.items() if failure is not None}


def first_caught(mutant: Mutant, seeds: Iterable[int]) -> int | None:
    """The first seed that breaks something because of the mutant: without it, the same schedule is fine."""
    for seed in seeds:
        if failure_of(seed, mutant=mutant) is not None and failure_of(seed) is None:
            return seed
    return None
