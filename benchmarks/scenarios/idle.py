"""Stacks that have nothing to do: their memory and their CPU."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks import processes
from benchmarks.figures import MB, Sample
from benchmarks.stacks import Stack

SCENARIO = "Idle"
SETTLE_SECONDS = 5.0


def idle(stacks: Sequence[Stack], seconds: float) -> list[Sample]:
    """All the stacks at once, some seconds after their start, since an idle stack does not disturb another."""
    time.sleep(SETTLE_SECONDS)
    before = {stack.name: (processes.cpu_seconds(stack.pids()), time.monotonic()) for stack in stacks}
    time.sleep(seconds)
    samples = []
    for stack in stacks:
        used, begun = before[stack.name]
        cpu = (processes.cpu_seconds(stack.pids()) - used) / (time.monotonic() - begun) * 100
        figures = {"pss_mb": processes.pss_bytes(stack.pids()) / MB, "cpu_percent_of_a_core": cpu}
        samples.append(Sample(SCENARIO, stack.name, figures))
    return samples


def after_work(stack: Stack) -> Sample:
    """The memory of a stack at the end of the run, with everything it has ever loaded."""
    return Sample(f"{SCENARIO}, after the run", stack.name, {"pss_mb": processes.pss_bytes(stack.pids()) / MB})
