"""The API process and the people before it: submissions that may be cut, commands at any moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine import additions, arrivals, operations
from engine.digests import Digest
from engine.errors import EngineError, LedgerUnavailable
from engine.models import JobSpec, Sidecar, SubmitOptions, TransferPlan, dumps
from engine.receptions import RECEPTION_SECONDS
from engine.records import Token
from engine.restarts import remember_restart
from engine.submission import Desk
from engine.tokens import send
from tests.simulation.kernel import Process
from tests.simulation.servers import Broker, Door
from tests.simulation.staging import Spool, digest_of

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass
class Case:
    """One submitted file, and what its client was told."""

    id: str
    data: bytes
    options: SubmitOptions
    spec: JobSpec | None = None
    plans: list[TransferPlan] = field(default_factory=list)
    accepted: bool = False
    refused: bool = False
    wishes: list[tuple[float, str]] = field(default_factory=list)
    """What its client adds after it was accepted: so many seconds later, that destination."""
    added: set[str] = field(default_factory=set)
    """Where it goes, too, as its client was told later."""
    distant: bool = False
    """It is an object on the shelf, and only named."""


class Api:
    """The API process: does in order what `engine.service` does when it receives, accepts and is commanded."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.process = Process(world.kernel, name)
        self.door = Door(world.redises, self.process)
        self.broker: Any = Broker(world.redises, self.process)
        self.spool: Any = Spool(world.disk, self.process)
        self.desk = Desk(world.configuration_for(self.process), world.settings, lambda: world.kernel.seconds)

    def submit(self, case: Case) -> None:
        """Receive a file and make it a job; the client may leave midway."""
        kernel = self.world.kernel
        try:
            spec = self.desk.prepare(case.options, size=None if case.distant else len(case.data), owner="", job=case.id)
            case.spec = spec
            if case.distant:
                self._accept_distant(case, spec)
                return
            self.spool.begin_reception(spec.id)
            early = self._sent_early(case, spec) if self.world.early else None
            if early is not None:
                spec = early
                wanted = self._receive_in_pieces(case, spec)
            else:
                wanted = kernel.random.random() >= 0.5 or self._receive_slowly(case, spec)
            if not wanted:
                self._discard(spec.id)
                return
            self._accept(case, spec, early=early is not None)
        except LedgerUnavailable:
            kernel.trace(f"submission {case.id} is answered with 503")
        finally:
            case.refused = not case.accepted
        for seconds, name in case.wishes if case.accepted else ():
            kernel.sleep(seconds)
            self.add(case, name)

    def _receive_slowly(self, case: Case, spec: JobSpec) -> bool:
        """A body that takes its time shows as `receiving`; false when the client leaves, or the job is cancelled."""
        kernel = self.world.kernel
        kernel.sleep(kernel.random.random())
        self.door.run(arrivals.receive(spec, len(case.data), RECEPTION_SECONDS))
        kernel.sleep(kernel.random.random() * 2)
        state = self.door.run(arrivals.received(spec.id, len(case.data), RECEPTION_SECONDS)).state
        return state not in ("cancelling", "cancelled") and kernel.random.random() > 0.1

    def _sent_early(self, case: Case, spec: JobSpec) -> JobSpec | None:
        """A file whose parts go while the rest of it comes; None when it is not of that kind."""
        found = self.desk.planning.early(spec, len(case.data), b"")
        if found is None:
            return None
        case.spec, case.plans = found
        self.door.run(arrivals.receive(found[0], len(case.data), RECEPTION_SECONDS))
        self.spool.receive(case.id, b"")
        self._begin_early(case, lost=False)
        return found[0]

    def _begin_early(self, case: Case, *, lost: bool) -> None:
        assert case.spec is not None
        lease = self.world.settings.lease_seconds
        self.door.run(arrivals.early(case.spec, case.plans, len(case.data), lease, lost))

    def _receive_in_pieces(self, case: Case, spec: JobSpec) -> bool:
        """False when the client leaves, or the job is cancelled. It may be slower than the ledger is patient."""
        random = self.world.kernel.random
        for piece in range(1, 4):
            self.world.kernel.sleep(random.random() * 4 if random.random() < 0.95 else RECEPTION_SECONDS * 2)
            here = len(case.data) * piece // 3
            self.spool.receive(spec.id, case.data[:here])
            try:
                heard = self.door.run(arrivals.received(spec.id, here, RECEPTION_SECONDS, here))
                if heard.state in ("cancelling", "cancelled"):
                    return False
                if not heard.state:
                    self.door.run(arrivals.receive(spec, len(case.data), RECEPTION_SECONDS))
                    self._begin_early(case, lost=True)
                self._mint(heard.tokens)
            except LedgerUnavailable:
                continue
            if random.random() < 0.1:
                return False
        self.world.kernel.sleep(random.random() * 5)  # the file is made durable
        return random.random() > 0.1

    def _accept(self, case: Case, spec: JobSpec, *, early: bool = False) -> None:
        digest = digest_of(case.data)
        spec, plans = self.desk.planning.finish(spec, digest, b"")
        case.spec, case.plans = spec, plans
        settings = self.world.settings
        now = int(time.time() * 1000)
        sidecar = Sidecar(spec=spec, digest=digest, accepted_ms=now, transfers=plans, early=early)
        self.spool.commit(spec.id, case.data, dumps(sidecar))
        answer = self.door.run(
            operations.accept(
                spec,
                plans,
                size=len(case.data),
                crc32c=digest.crc32c_base64,
                sha256="",
                keep_seconds=settings.keep_failed_seconds,
                lease_seconds=settings.lease_seconds,
                early=early,
            )
        )
        if not answer.made and answer.state in ("cancelling", "cancelled"):
            self.spool.take_back(spec.id)
            return
        case.accepted = True
        self.world.kernel.trace(f"submission {case.id} is answered with 202")
        self._mint(answer.tokens)

    def _accept_distant(self, case: Case, spec: JobSpec) -> None:
        case.plans = self.desk.planning.unplanned(spec)
        now = int(time.time() * 1000)
        sidecar = Sidecar(spec=spec, digest=Digest.unread(0), accepted_ms=now, transfers=case.plans)
        self.spool.accept_path(spec.id, dumps(sidecar))
        answer = self.door.run(operations.accept_sidecar(sidecar, self.world.settings))
        case.accepted = True
        self.world.kernel.trace(f"submission {case.id} is answered with 202; nobody has seen it")
        self._mint(answer.tokens)

    def _discard(self, job: str) -> None:
        self.spool.remove_incoming(job)
        self.door.run(arrivals.discard(job))

    def command(self, job: str, action: str) -> None:
        """A user's command; what it answers is not waited for by anybody."""
        try:
            if action == "forget":
                self.door.run(operations.forget(job))
                return
            if action == "retry":
                record = self.door.run(operations.read_jobs([job]))[0]
                if record is None or record.state not in ("failed", "partially_succeeded"):
                    return
                if record.fields.get("until", "0") != "0":
                    remember_restart(self.spool, job, int(record.fields["run"]) + 1)
            verdict, _, tokens = self.door.run(operations.command(job, action))
            self.world.kernel.trace(f"{action} of {job}: {verdict}")
            self._mint(tokens)
        except EngineError as error:
            self.world.kernel.trace(f"{action} of {job} is refused: {error}")

    def add(self, case: Case, name: str) -> None:
        """Add a destination, in the order of `engine.adding`."""
        try:
            record = self.door.run(operations.read_jobs([case.id]))[0]
            if record is None:
                return
            additions.check_open(record)
            if additions.new_destinations(self.desk, record, [name]):
                additions.check_source(record)
                plans = self.desk.planning.plans_for(record.spec, [name], int(record.fields["size"]))
                if name not in [plan.destination for plan in case.plans]:
                    case.plans = [*case.plans, *plans]
                wish = additions.wish_of(record, plans, int(time.time() * 1000))
                if record.spec.source.spooled and self.spool.read_sidecar(case.id) is None:
                    raise additions.gone()
                self.spool.appendix.append(case.id, dumps(wish))
                operation = additions.add(wish, self.world.settings.lease_seconds)
                verdict, _, tokens = self.door.run(operation)
                self.world.kernel.trace(f"adding {name} to {case.id}: {verdict}")
                self._mint(tokens)
                if verdict not in ("done", "already"):
                    return
            case.added.add(name)
        except EngineError as error:
            self.world.kernel.trace(f"adding {name} to {case.id} is refused: {error}")

    def _mint(self, tokens: list[Token]) -> None:
        try:
            send(self.broker, tokens, self.world.settings.node)
        except OSError:
            self.world.kernel.trace("tokens of an acceptance are dropped")
