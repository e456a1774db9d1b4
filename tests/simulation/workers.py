"""A worker process of the simulation: the engine's own middleware, driver, sweeper and reconciliation, over fakes.

Only Dramatiq's consumer loop is written again, and events and clocks are replaced by virtual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dramatiq import Message
from dramatiq.middleware import SkipMessage

from engine import leases
from engine.driver import perform
from engine.endings import lay_to_rest
from engine.errors import EngineError, LedgerUnavailable
from engine.middleware import Leasing, Progress, Retries
from engine.middleware.leasing import renew_forever
from engine.middleware.progress import FLUSH_SECONDS
from engine.runtime import Errand, Runtime, current
from engine.sweeper import Sweeper
from tests.simulation.kernel import Fiber, Process
from tests.simulation.servers import Broker, Door
from tests.simulation.staging import Spool, Tombstones

if TYPE_CHECKING:
    from tests.simulation.world import World

REDELIVERY_SECONDS = 20.0


class Event:
    """threading.Event in virtual time."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float) -> bool:
        self.process.count_effect()
        if not self._set:
            self.process.kernel.sleep(timeout)
        return self._set


class Owed(set[str]):
    """Jobs whose progress is to be told; wakes who tells it."""

    fiber: Fiber | None = None

    def add(self, job: str) -> None:
        super().add(job)
        if self.fiber is not None and self.fiber.parked:
            self.fiber.process.kernel.wake(self.fiber)


class Undertaker:
    """`engine.endings.Undertaker`, with a virtual thread."""

    def __init__(self, world: World, runtime: Any) -> None:
        self.world = world
        self.runtime = runtime
        self.waiting: list[str] = []
        self.fiber: Fiber | None = None

    def take(self, job: str) -> None:
        self.waiting.append(job)
        if self.fiber is not None and self.fiber.parked:
            self.world.kernel.wake(self.fiber)

    def work(self) -> None:
        self.fiber = self.world.kernel.current
        while True:
            if not self.waiting:
                self.world.kernel.park()
            jobs, self.waiting = list(dict.fromkeys(self.waiting)), []
            try:
                lay_to_rest(
                    self.runtime.ledger, self.runtime.spool, self.runtime.tombstones, self.world.settings.node, jobs
                )
            except EngineError as error:
                self.world.kernel.trace(f"not laid to rest: {error}")


class Worker:
    """One worker process with its threads."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.process = process = Process(world.kernel, name)
        self.broker: Any = Broker(world.redises, process)
        self.owed = Owed()
        self.in_hand: dict[int, Message[Any]] = {}
        event: Any = lambda: Event(process)  # noqa: E731
        spool: Any = Spool(world.disk, process)
        tombstones: Any = Tombstones(world.disk, process)
        undertaker: Any = Undertaker(world, self)
        self.runtime = Runtime(
            settings=world.settings,
            configuration=world.configuration_for(process),
            ledger=Door(world.redises, process),
            spool=spool,
            policy=world.policy,
            tombstones=tombstones,
            undertaker=undertaker,
            monotonic=lambda: world.kernel.seconds,
            jitter=world.kernel.random.random,
            fence=lambda: f"{world.kernel.random.getrandbits(64):016x}",
            stopping=event(),
            interrupted=event(),
            owed=self.owed,
        )
        undertaker.runtime = self.runtime
        self.undertaker = undertaker
        self.middleware: list[Any] = [Leasing(self.runtime), Retries(self.runtime), Progress(self.runtime)]
        self.sweeper = Sweeper(self.runtime, self.broker, name)
        process.on_crash = self._lose
        self.after_crash: Callable[[], None] = lambda: None

    def start(self) -> None:
        kernel = self.world.kernel
        for number in range(self.world.settings.threads):
            kernel.spawn(self.process, self._consume, f"{number}")
        kernel.spawn(self.process, lambda: renew_forever(self.runtime), "renewals")
        kernel.spawn(self.process, self._flush, "flushes")
        kernel.spawn(self.process, self.undertaker.work, "endings")
        if self.world.sweeps:
            kernel.spawn(self.process, self.sweeper.forever, "sweeper")

    # -- Dramatiq's part

    def _consume(self) -> None:
        me = self.world.kernel.current.number
        while not self.runtime.stopping.is_set():
            message = self.world.redises.take()
            self.in_hand[me] = message
            self._process(message)
            self.process.count_effect()
            self.in_hand.pop(me, None)

    def _process(self, message: Message[Any]) -> None:
        proxy: Any = message
        try:
            for one in self.middleware:
                one.before_process_message(self.broker, proxy)
        except SkipMessage:
            return
        error: BaseException | None = None
        errand: Errand | None = current.get()
        try:
            if errand is not None:
                errand.outcome = perform(self.runtime, errand)
        except Exception as failure:
            error = failure
        except BaseException as failure:
            if not self.process.alive:
                raise
            error = failure
        for one in reversed(self.middleware):
            one.after_process_message(self.broker, proxy, exception=error)

    def _lose(self) -> None:
        """Messages that were not acknowledged come back when the broker notices; or not."""
        redises = self.world.redises
        for message in self.in_hand.values():
            if self.world.kernel.random.random() < 0.8:
                self.world.kernel.at(REDELIVERY_SECONDS, self._again(message))
        self.in_hand.clear()
        redises.waiting = [fiber for fiber in redises.waiting if fiber.process is not self.process]
        self.after_crash()

    def _again(self, message: Message[Any]) -> Callable[[], None]:
        return lambda: self.world.redises.put(message)

    def _flush(self) -> None:
        """`flush_forever`, but without waking up for nothing."""
        self.owed.fiber = self.world.kernel.current
        while True:
            if not self.runtime.owed:
                self.world.kernel.park()
            self.runtime.interrupted.wait(FLUSH_SECONDS)
            if self.runtime.owed:
                jobs = set(self.runtime.owed)
                self.runtime.owed.clear()
                try:
                    self.runtime.ledger.run(leases.flush(sorted(jobs)))
                except LedgerUnavailable:
                    self.runtime.owed |= jobs
