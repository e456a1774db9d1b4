"""One simulated world: everything in it, and everything that happens to it, is drawn from one seed."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import structlog

import engine.endings
import engine.ledger
import engine.reconcile
import engine.sweeper
from backends.base import Backend, Capabilities, Properties
from backends.config import Configuration
from backends.registry import Destination
from backends.signing_secrets import Secrets
from backends.user_actors import UserActor
from engine.config import Settings
from engine.models import SubmitOptions
from engine.retry import Policy
from tests.simulation import people
from tests.simulation.kernel import Kernel, Process, Violation
from tests.simulation.people import Api, Case
from tests.simulation.provider import Habits, Provider, Trouble, client_for
from tests.simulation.servers import Patch, Redises, Server, TwinServer, Weather
from tests.simulation.staging import Disk
from tests.simulation.watch import Watch
from tests.simulation.workers import Worker

PATIENCE_SECONDS = 1800.0
SHELF = "shelf"
KEYS = ("a.bin", "b.bin", "c.bin")
NO_PATCHES: Mapping[str, Patch] = {}


class _Options(msgspec.Struct):
    name: str = ""


class _Plugin:
    """Hands out the clients of one simulated process."""

    name: ClassVar[str] = "simulated"
    Options: ClassVar[type[msgspec.Struct]] = _Options
    secrets: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, provider: Provider, process: Process) -> None:
        self.provider = provider
        self.process = process

    def capabilities(self, options: Any) -> Capabilities:
        return self.provider.capabilities

    def url(self, options: Any, key: str) -> str:
        return f"simulated://{options.name}/{key}"

    def build(self, options: Any) -> Backend:
        return client_for(self.provider, self.process)


class World:
    """Workers, an API, Redis, providers and a disk; `run` lets them live until all is at rest."""

    def __init__(
        self,
        seed: int,
        *,
        server: Callable[[Mapping[str, Patch]], Server] = TwinServer,
        patches: Mapping[str, Patch] = NO_PATCHES,
        sweeps: bool = True,
    ) -> None:
        self.seed = seed
        self.sweeps = sweeps
        self.kernel = Kernel(seed)
        self.random = self.kernel.random
        self.disk = Disk()
        self.redises = Redises(self.kernel, server(patches))
        self.watch = Watch(self)
        self.redises.after = self.watch.after
        self.settings = self._settings()
        self.policy = Policy(attempts=3, base_seconds=0.5, cap_seconds=5.0, budget_seconds=8.0)
        self.providers = {name: self._provider(name) for name in ("one", "two")[: self._draw(1, 1, 2)]}
        # Not drawn for every world: what the seeds on record stand for must stay.
        self.shelf = Provider(self.kernel, SHELF, Habits()) if seed % 13 == 4 else None
        """Where jobs find what they only name."""
        self.early = seed % 5 == 2
        """Whether files are sent while they come."""
        self.plan: dict[str, tuple[int, int]] = {
            name: (self._draw(4, 8, 16), self._draw(1, 2, 3)) for name in self.providers
        }
        self.cases: dict[str, Case] = {}
        self.forgotten: set[str] = set()
        self.workers: list[Worker] = []
        self.apis = self.born = 0
        self.faults_end = 3.0 + self.random.random() * 27
        self.calm = self.rotten = self.turned_back = False

    # -- drawing a world

    def _draw(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def _settings(self) -> Settings:
        return Settings(
            data=Path("/nowhere"),
            spool=Path("/nowhere"),
            node="n",
            lease_seconds=self._draw(4, 8, 30),
            keep_failed_seconds=self._draw(20, 600),
            threads=self._draw(1, 2, 3),
        )

    def _often(self) -> bool:
        return self.random.random() < 0.8

    def _provider(self, name: str) -> Provider:
        habits = Habits(
            metadata=self._often(),
            part_checksums=self._often(),
            whole_checksum=self._often(),
            completes_twice=not self._often(),
            in_order=self.seed % 7 == 3,  # not drawn: what the seeds on record stand for must stay
            abilities=frozenset(
                ability
                for ability in ("PutsWhole", "ListsParts", "ListsSessions", "ReadsRanges", "DeletesObjects")
                if self._often()
            ),
        )
        provider = Provider(self.kernel, name, habits)
        provider.sent = self.watch.sent
        return provider

    def configuration_for(self, process: Process) -> Configuration:
        """plugins.toml, as one process has read it: its backends are that process's own."""
        destinations = {
            name: Destination(
                name=name,
                plugin=_Plugin(provider, process),
                options=_Options(name),
                capabilities=provider.capabilities,
                part_size=self.plan[name][0],
                concurrency=self.plan[name][1],
            )
            for name, provider in self.providers.items()
        }
        if self.shelf is not None:
            options, capabilities = _Options(SHELF), self.shelf.capabilities
            destinations[SHELF] = Destination(SHELF, _Plugin(self.shelf, process), options, capabilities)
        secrets = Secrets((b"a secret of 24 bytes ...",))
        actors = {"theirs": UserActor("theirs", "told")}
        return Configuration(default="one", destinations=destinations, routes={}, webhooks=secrets, actors=actors)

    # -- living

    def run(self) -> None:
        """Live through the faults, then until everything is at rest; raises Violation."""
        with virtual_time(self.kernel):
            try:
                for provider in self.providers.values():
                    self.kernel.trace(f"{provider.name}: {provider.habits}")
                self._populate()
                self._afflict()
                self._suffer()
                self._calm_down()
                self._come_to_rest()
            finally:
                self.kernel.close()

    def _suffer(self) -> None:
        """The time of the faults; it ends early when there is nothing left that they could hit."""
        end = self.kernel.seconds + self.faults_end
        while self.kernel.seconds < end:
            self.kernel.run(2.0)
            submitted = all(case.accepted or case.refused for case in self.cases.values())
            if submitted and self.random.random() < 0.2 and not self.watch.at_rest():
                return

    def _populate(self) -> None:
        api = self._new_api()
        for _ in range(self._draw(1, 2, 3)):
            self.workers.append(self._new_worker())
        for number in range(self._draw(1, 1, 2, 3)):
            self._submission(api, number)
        for _ in range(self._draw(0, 0, 1, 2, 3)):
            self._command()
        if self.seed % 11 == 5:  # not drawn for every world: what the seeds on record stand for must stay
            for case in self.cases.values():
                self._addition(case)

    def _later(self, delay_seconds: float, event: Callable[[], None]) -> None:
        """Something that happens only while there are faults."""
        self.kernel.at(delay_seconds, lambda: None if self.calm else event())

    def _submission(self, api: list[Api], number: int) -> None:
        case = Case(
            id=f"00000000-0000-7000-8000-{number:012d}",
            data=self.random.randbytes(self._draw(0, 3, 8, 17, 30, 47)),
            options=SubmitOptions(
                key=self._draw(*KEYS),
                destinations=sorted(self.providers)[: self._draw(1, 2)],
                on_conflict=self._draw("replace", "replace", "replace", "fail", "rename", "skip_same"),
                webhook="https://hooks.example/" if number % 2 else None,
                on_success="theirs" if number % 3 == 0 else None,
                on_failure="theirs" if number % 4 < 2 else None,
            ),
        )
        self.cases[case.id] = case
        if self.shelf is not None and self.random.random() < 0.7:
            case.distant = True
            case.options.source = {"destination": SHELF, "key": case.id}
            self.shelf.put_whole(case.id, case.data, properties=Properties())
        when = self.random.random() * self._draw(0.1, 5)
        self.kernel.at(when, lambda: self._in_api(api, lambda door: door.submit(case), "submission"))

    def _command(self) -> None:
        job = self._draw(*self.cases)
        action = self._draw("cancel", "cancel", "pause", "resume", "retry", "retry", "forget")
        when = self.random.random() * self.faults_end
        if action == "pause":
            self._later(when + self.random.random() * 20, lambda: self._ask(job, "resume"))
        self._later(when, lambda: self._ask(job, action))

    def _addition(self, case: Case) -> None:
        case.wishes = [(self.random.random() * self._draw(0.05, 0.3, 2), self._draw(*self.providers)) for _ in "12"]
        for _ in range(self._draw(0, 2, 4)):
            name, when = self._draw(*self.providers), self.random.random() * self._draw(2, 5, self.faults_end)
            self._later(when, self._adding(case, name))

    def _adding(self, case: Case, name: str) -> Callable[[], None]:
        return lambda: self._in_api(self._current_api, lambda door: door.add(case, name), "addition")

    def _ask(self, job: str, action: str) -> None:
        if action == "forget":
            if not self.cases[job].accepted:
                return  # who cancels and forgets what is still being sent has to stop sending it, too
            self.forgotten.add(job)
        self._in_api(self._current_api, lambda door: door.command(job, action), action)

    def _in_api(self, api: list[Api], body: Callable[[Api], None], name: str) -> None:
        if api[0].process.alive:
            self.kernel.spawn(api[0].process, lambda: body(api[0]), name)

    def _new_api(self) -> list[Api]:
        self.apis += 1
        self._current_api = [Api(self, f"api{self.apis}")]
        return self._current_api

    def _new_worker(self) -> Worker:
        self.born += 1
        worker = Worker(self, f"w{self.born}")
        if not self.calm and self.random.random() < 0.6:
            worker.process.effects_left = self.random.randint(1, self._draw(30, 150, 400))
        worker.after_crash = lambda: self._replace(worker)
        worker.start()
        return worker

    def _replace(self, worker: Worker) -> None:
        """The supervisor starts a dead child again."""

        def start() -> None:
            if worker in self.workers:
                self.workers[self.workers.index(worker)] = self._new_worker()

        self.kernel.at(0.2 + self.random.random() * 5, start)

    # -- what goes wrong

    def _afflict(self) -> None:
        chance = self.random.random
        rare: Callable[[float], float] = lambda most: self._draw(0.0, 0.0, most / 5, most)  # noqa: E731
        self.redises.weather = Weather(
            request_lost=rare(0.05),
            answer_lost=rare(0.1),
            token_lost=rare(0.3),
            token_doubled=rare(0.3),
            token_late=rare(0.3),
        )
        for provider in self.providers.values():
            provider.trouble = provider.had = Trouble(
                refused=rare(0.2),
                unanswered=rare(0.2),
                late=rare(0.5),
                corrupt=rare(0.1),
                slow=rare(0.1),
                session_killed=rare(0.02),
            )
            if chance() < 0.2:
                provider.put_whole(self._draw(*KEYS), b"somebody else's", properties=Properties())
        if self.shelf is not None:
            self.shelf.trouble = self.shelf.had = Trouble(refused=rare(0.3), unanswered=rare(0.3), slow=rare(0.1))
        for _ in range(self._draw(0, 0, 1, 2)):
            self._later(chance() * self.faults_end, self._freeze)
        for _ in range(self._draw(0, 0, 1)):
            self._later(chance() * self.faults_end, self._outage)
        for _ in range(self._draw(0, 0, 0, 1, 2)):
            self._later(chance() * self.faults_end, self._turn_back)
        if chance() < 0.1:
            self._later(chance() * self.faults_end, self._kill_api)
        if chance() < 0.05:
            self._later(chance() * self.faults_end, self._rot)

    def _freeze(self) -> None:
        worker = self._draw(*self.workers)
        if worker.process.alive:
            worker.process.freeze(self.settings.lease_seconds * (0.5 + 2 * self.random.random()))

    def _outage(self) -> None:
        self.kernel.trace("Redis is away")
        self.redises.down_until = self.kernel.now_us + int(self.random.random() * 20_000_000)

    def _turn_back(self) -> None:
        """Redis comes back with an older state, or with none."""
        if self.random.random() < 0.3:
            self._fall(None)
            return
        saved, queue = self.redises.server.save(), list(self.redises.queue)
        self._later(self.random.random() * self._draw(1, 5, 20), lambda: self._fall((saved, queue)))

    def _fall(self, earlier: tuple[object, list[Any]] | None) -> None:
        self.kernel.trace("Redis is emptied" if earlier is None else "Redis comes back with an older state")
        if earlier is None:
            self.redises.server.wipe()
            self.redises.queue.clear()
        else:
            self.turned_back = True
            self.redises.server.load(earlier[0])
            self.redises.queue[:] = earlier[1]
        self.redises.down_until = self.kernel.now_us + int(self.random.random() * 2_000_000)
        self.watch.rolled_back()

    def _kill_api(self) -> None:
        self._current_api[0].process.crash()
        self._new_api()

    def _rot(self) -> None:
        """A staged file changes on the disk after it was accepted."""
        for job, data in self.disk.data.items():
            if data and self.cases[job].accepted:
                self.kernel.trace(f"the staged file of {job} rots")
                self.rotten = True
                self.disk.data[job] = bytes([data[0] ^ 255]) + data[1:]
                return

    # -- rest

    def _calm_down(self) -> None:
        """From here on everything works."""
        self.kernel.trace("the faults stop")
        self.calm = True
        self.redises.weather = Weather()
        self.redises.down_until = 0
        for provider in self.providers.values():
            provider.trouble = Trouble()
        if self.shelf is not None:
            self.shelf.trouble = Trouble()
        for worker in self.workers:
            worker.process.effects_left = None

    def _come_to_rest(self) -> None:
        """Wait until nothing is left to do; the requests still under way must not change that afterwards."""
        self._wait_patiently()
        if self.random.random() < 0.15:
            self.kernel.run(25.0)
            self._wait_patiently()

    def _wait_patiently(self) -> None:
        deadline = self.kernel.seconds + PATIENCE_SECONDS
        faults = ["nothing was looked at yet"]
        while faults and self.kernel.seconds < deadline:
            self.kernel.run(1.5)
            faults = self.watch.at_rest()
        if faults:
            raise Violation("; ".join(faults))


class _Clock(ModuleType):
    """The `time` module as the engine's modules see it during a run."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("time")
        self.kernel = kernel

    def time(self) -> float:
        return self.kernel.seconds

    def monotonic(self) -> float:
        return self.kernel.seconds

    def sleep(self, seconds: float) -> None:
        self.kernel.current.process.count_effect()
        self.kernel.sleep(seconds)


@contextlib.contextmanager
def virtual_time(kernel: Kernel) -> Iterator[None]:
    """Replaces the clock of every engine module that looks at one, and sends the log into the trace."""
    modules: list[Any] = [engine.endings, engine.ledger, engine.reconcile, engine.sweeper, people]
    before = [module.time for module in modules]
    clock = _Clock(kernel)
    logging = structlog.get_config()

    def write(logger: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        if level == "exception" or event.get("exc_info"):
            reason = traceback.format_exc()
            kernel.trace(reason)
            kernel.fail(
                Violation(f"the engine did not expect: {event.get('event')}: {reason.strip().splitlines()[-1]}")
            )
        kernel.trace(" ".join(f"{key}={value}" for key, value in event.items()))
        raise structlog.DropEvent

    structlog.configure(processors=[write], cache_logger_on_first_use=False)
    for module in modules:
        module.time = clock
    try:
        yield
    finally:
        for module, original in zip(modules, before, strict=True):
            module.time = original
        structlog.configure(**logging)
