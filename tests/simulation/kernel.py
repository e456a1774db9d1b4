"""Virtual time: many processes of blocking code, one running at any moment, switched only where the seed says.

The engine's code is ordinary blocking code, so each of its threads is a greenlet here. Whatever waits (an effect's
latency, a sleep, an empty queue) gives way to whoever is next in virtual time; nothing else does, and the operating
system has no say in it. Two runs of one seed therefore do exactly the same, however busy the machine is.
"""

from __future__ import annotations

import heapq
import random
import traceback
from collections.abc import Callable

from greenlet import getcurrent, greenlet

SECOND = 1_000_000


class Crashed(BaseException):
    """This process is dead (kill -9): unwinds its threads, and every further effect raises it again."""


class Violation(Exception):
    """An invariant does not hold."""


class Process:
    """A process of the simulated system: crashes as a whole, and can be frozen as by SIGSTOP."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.alive = True
        self.frozen_until = 0
        self.effects_left: int | None = None
        """After how many effects the process crashes; None: not by itself."""
        self.fibers: set[Fiber] = set()
        self.on_crash: Callable[[], None] = lambda: None

    def crash(self) -> None:
        """kill -9: the threads never come back from what they wait for."""
        if not self.alive:
            return
        self.kernel.trace(f"{self.name} crashes")
        self.alive = False
        self.frozen_until = 0
        for fiber in sorted(self.fibers, key=lambda fiber: fiber.number):
            self.kernel.wake(fiber)
        self.on_crash()

    def freeze(self, seconds: float) -> None:
        self.kernel.trace(f"{self.name} is frozen for {seconds:.1f} s")
        self.frozen_until = self.kernel.now_us + int(seconds * SECOND)

    def count_effect(self) -> None:
        """One more effect of this process is about to happen; perhaps it is the one it does not live to see."""
        if not self.alive:
            raise Crashed
        if self.effects_left is not None:
            self.effects_left -= 1
            if self.effects_left <= 0:
                self.crash()
                raise Crashed


class Fiber:
    """One thread of a process."""

    def __init__(self, number: int, process: Process, body: Callable[[], None], name: str) -> None:
        self.number = number
        self.process = process
        self.name = name
        self.parked = False
        self.turn = 0
        """Grows with every scheduling, so that an older entry of the agenda counts no more."""
        self.stack = greenlet(body)


class Kernel:
    """The clock, the agenda, and the only source of chance."""

    def __init__(self, seed: int, start_us: int = 1_795_420_000 * SECOND) -> None:
        self.random = random.Random(seed)
        self.now_us = self.started_us = start_us
        self.failure: BaseException | None = None
        self.current: Fiber
        self.log: list[str] | None = None
        self._agenda: list[tuple[int, int, Fiber | Callable[[], None], int]] = []
        self._count = 0
        self._over = False
        self._hub = getcurrent()
        self._outside = self.current = Fiber(0, Process(self, "outside"), lambda: None, "outside")
        self._fibers: set[Fiber] = set()

    # -- time

    @property
    def seconds(self) -> float:
        return self.now_us / SECOND

    def at(self, delay_seconds: float, event: Callable[[], None]) -> None:
        """Call `event` after a delay; it belongs to no process and must not wait."""
        self._push(self.now_us + int(delay_seconds * SECOND), event, 0)

    def sleep(self, seconds: float) -> None:
        """The current fiber goes on later. Raises Crashed when its process died meanwhile."""
        fiber = self.current
        if not fiber.process.alive:
            raise Crashed
        fiber.turn += 1
        self._push(self.now_us + int(seconds * SECOND), fiber, fiber.turn)
        self._hub.switch()
        if not fiber.process.alive:
            raise Crashed

    def park(self) -> None:
        """The current fiber waits until somebody wakes it."""
        fiber = self.current
        if not fiber.process.alive:
            raise Crashed
        fiber.parked = True
        fiber.turn += 1
        self._hub.switch()
        if not fiber.process.alive:
            raise Crashed

    def wake(self, fiber: Fiber, delay_seconds: float = 0.0) -> None:
        fiber.parked = False
        fiber.turn += 1
        self._push(self.now_us + int(delay_seconds * SECOND), fiber, fiber.turn)

    # -- running

    def spawn(self, process: Process, body: Callable[[], None], name: str) -> Fiber:
        """A new thread of `process`; an exception that leaves `body` fails the whole run."""
        self._count += 1
        fiber = Fiber(self._count, process, lambda: self._live(fiber, body), f"{process.name}/{name}")
        process.fibers.add(fiber)
        self._fibers.add(fiber)
        self.wake(fiber)
        return fiber

    def run(self, seconds: float) -> None:
        """Let virtual time pass; raises what failed."""
        end = self.now_us + int(seconds * SECOND)
        while self.failure is None and self._agenda and self._agenda[0][0] <= end:
            self._step()
        self.now_us = max(self.now_us, end)
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Unwind every thread that is left."""
        self._over = True
        for fiber in sorted(self._fibers, key=lambda fiber: fiber.number):
            fiber.process.alive = False
            self._resume(fiber)

    def fail(self, error: BaseException) -> None:
        """End the run here; the first failure counts."""
        if self.failure is None and not self._over:
            self.failure = error

    def trace(self, line: str) -> None:
        if self.log is not None:
            where = self.current.name if self.current is not self._outside else "world"
            self.log.append(f"{(self.now_us - self.started_us) / SECOND:10.3f}  {where:<22} {line}")

    # -- behind the curtain

    def _push(self, when_us: int, event: Fiber | Callable[[], None], turn: int) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (when_us, self._count, event, turn))

    def _live(self, fiber: Fiber, body: Callable[[], None]) -> None:
        try:
            if fiber.process.alive:
                body()
        except Crashed:
            pass
        except BaseException as error:
            if self.log is not None:
                self.log.append(traceback.format_exc())
            self.fail(error)
        fiber.turn += 1
        fiber.process.fibers.discard(fiber)
        self._fibers.discard(fiber)

    def _resume(self, fiber: Fiber) -> None:
        """Let this thread run until it waits again, or ends."""
        self.current = fiber
        fiber.stack.switch()
        self.current = self._outside

    def _step(self) -> None:
        """What is next."""
        when, _, event, turn = heapq.heappop(self._agenda)
        self.now_us = max(self.now_us, when)
        if not isinstance(event, Fiber):
            try:
                event()
            except BaseException as error:
                self.fail(error)
        elif turn != event.turn:
            pass  # scheduled anew since
        elif event.process.frozen_until > self.now_us:
            self._push(event.process.frozen_until, event, turn)
        else:
            self._resume(event)
