"""One worker process in a test: its real runtime over a real Valkey, a spool on disk and stores in memory.

The ledger's clock and the worker's are one, and move only when told to. Tokens are worked one at a time, by Dramatiq's
own code, without its threads.
"""

from __future__ import annotations

import queue
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import uuid_utils
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.worker import _WorkerThread

from backends import memory
from backends.config import load
from engine import operations
from engine.actors import declare
from engine.broker import WakingBroker
from engine.config import Settings, next_database
from engine.endings import lay_to_rest
from engine.errors import LedgerUnavailable
from engine.middleware import Leasing, Progress, Retries, Spanning
from engine.models import Sidecar, SubmitOptions, dumps
from engine.operations import Operation
from engine.reconcile import Report, reconcile
from engine.records import Token
from engine.retry import Policy
from engine.runtime import Runtime
from engine.spool import Spool
from engine.submission import Desk
from engine.tokens import message_of, queue_of, send
from engine.tombstones import Tombstones
from tests.engine.books import Books
from tests.engine.spooling import packed_in
from tests.simulation.servers import ValkeyServer

T = TypeVar("T")

KIB = 1024
PART = 64 * KIB
PLUGINS = """
default = "media"

[destinations.media]
backend = "memory"
space   = "media-{space}"
limits  = {{ part_size = "64KiB", concurrency = 2 }}

[destinations.archive]
backend = "memory"
space   = "archive-{space}"
limits  = {{ part_size = "64KiB", concurrency = 2 }}
"""


class Moody(Books):
    """A ledger that is away for the next calls: `outage` says for how many, `before` is called at each."""

    outage = 0
    before: Callable[[], None] = staticmethod(lambda: None)

    def run(self, operation: Operation[T]) -> T:
        if self.outage:
            self.outage -= 1
            self.before()
            raise LedgerUnavailable("Redis is away.")
        return super().run(operation)

    def insist(self, operation: Operation[T], *, stopped: Callable[[], bool], pause_seconds: float = 0) -> T:
        return super().insist(operation, stopped=stopped, pause_seconds=0)

    def persistence(self) -> list[str]:
        return []


class Graves:
    """An undertaker that works when told to."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def take(self, job: str) -> None:
        self.taken.append(job)

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Rig:
    """Made by the fixture `rig`; everything of it is public, to be looked at and meddled with."""

    def __init__(self, client: Any, redis_url: str, root: Path, plugins: str = PLUGINS) -> None:
        space = uuid.uuid4().hex
        self.plugins = root / "plugins.toml"
        self.plugins.write_text(plugins.format(space=space))
        self.space = memory.space(f"media-{space}")
        self.archive = memory.space(f"archive-{space}")
        self.settings = Settings(
            data=root, spool=root / "spool", node="n1", redis_url=redis_url, broker_url=next_database(redis_url),
            config_path=self.plugins, durability="cache", threads=2, keep_failed_seconds=600,
        )  # fmt: skip
        self.books = Moody(ValkeyServer(client, {}))
        self.spool = Spool(self.settings.spool, durability="cache")
        self.spool.open()
        self.tombstones = Tombstones(self.settings.spool / "ended", clock=lambda: self.books.now_ms / 1000)
        self.graves = Graves()
        self.runtime = Runtime(
            settings=self.settings, configuration=load(self.plugins, {}), ledger=self.books, spool=self.spool,
            policy=Policy(attempts=2, base_seconds=2, budget_seconds=0), tombstones=self.tombstones,
            undertaker=self.graves, monotonic=lambda: self.books.now_ms / 1000, jitter=lambda: 0.0,
        )  # fmt: skip
        self.broker = WakingBroker(
            self.settings.broker_url, [kind(self.runtime) for kind in (Leasing, Spanning, Retries, Progress)]
        )
        declare(self.broker, self.runtime)
        self.desk = Desk(self.runtime.configuration, self.settings, clock=lambda: self.books.now_ms / 1000)
        consumer = SimpleNamespace(post_process_message=lambda message: None)
        lanes = {queue_of(lane, "n1"): consumer for lane in ("small", "parts", "high", "low")}
        self.thread = _WorkerThread(broker=self.broker, consumers=lanes, work_queue=queue.Queue(), worker_timeout=1)

    def close(self) -> None:
        self.runtime.close()
        self.broker.close()
        self.spool.close()
        self.tombstones.close()

    # -- jobs

    def stage(self, data: bytes, **options: Any) -> Sidecar:
        """A file in the spool, durably, of which the ledger knows nothing."""
        spec = self.desk.prepare(SubmitOptions(**options), size=len(data), owner="", job=str(uuid_utils.uuid7()))
        incoming = self.spool.receive(spec.id, len(data))
        incoming.write(data)
        digest = incoming.digest()
        spec, plans = self.desk.planning.finish(spec, digest, b"")
        sidecar = Sidecar(spec=spec, digest=digest, accepted_ms=self.books.now_ms, transfers=plans)
        incoming.commit(dumps(sidecar))
        return sidecar

    def reconcile(self, *, full: bool = True) -> Report:
        """The spool is compared with the ledger."""
        return reconcile(self.books, self.spool, self.tombstones, self.settings, full=full)

    def files(self) -> list[str]:
        """What lies in the spool for accepted jobs."""
        packed = [f"{job}.packed" for job in packed_in(self.spool)]
        return sorted([*packed, *(path.name for path in (self.settings.spool / "jobs").iterdir())])

    def submit(self, data: bytes, **options: Any) -> str:
        """An accepted job; its tokens are in the queue."""
        sidecar = self.stage(data, **options)
        answer = self.books.run(
            operations.accept(
                sidecar.spec, sidecar.transfers, size=len(data), crc32c=sidecar.digest.crc32c_base64, sha256="",
                keep_seconds=self.settings.keep_failed_seconds, lease_seconds=self.settings.lease_seconds,
            )
        )  # fmt: skip
        send(self.broker, answer.tokens, "n1")
        return sidecar.spec.id

    def job(self, job: str) -> dict[str, str]:
        return dict(self.books.server.fields(f"job:{job}"))

    def state(self, job: str) -> str:
        return self.job(job).get("state", "")

    def transfer(self, job: str, number: int = 0) -> dict[str, str]:
        return dict(self.books.server.fields(f"t:{job}/{number}"))

    # -- tokens

    def queued(self, lane: str) -> int:
        return self.broker.waiting(queue_of(lane, "n1"))

    def take(self) -> MessageProxy | None:
        """The next token of the queue, as a consumer would take it."""
        for lane in ("small", "parts"):
            found = self.broker.do_fetch(queue_of(lane, "n1"), 1)  # type: ignore[no-untyped-call]
            if found:
                return MessageProxy(Message.decode(found[0]))
        return None

    def work(self, transfer: str, mint: int = 1, lane: str = "small") -> MessageProxy:
        """One token is worked, whether it is in the queue or not."""
        message = MessageProxy(message_of(Token(transfer, mint, lane), "n1"))
        self.process(message)
        return message

    def process(self, message: MessageProxy) -> None:
        self.thread.work_queue.put(message)
        self.thread.work_queue.get()
        self.thread.process_message(message)

    def work_all(self, most: int = 100) -> int:
        """Everything in the queue is worked, and what comes of it. Answers how many tokens that took."""
        for count in range(most):
            message = self.take()
            if message is None:
                return count
            self.process(message)
        raise AssertionError(f"after {most} tokens there are still some")

    def bury(self) -> int:
        """The undertaker does his work."""
        jobs, self.graves.taken = self.graves.taken, []
        return lay_to_rest(self.books, self.spool, self.tombstones, "n1", jobs) if jobs else 0


class Tapped:
    """A backend with somebody at the wire: `taps` are called before a verb's call, with its arguments."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.calls: list[str] = []
        self.taps: dict[str, Callable[..., None]] = {}
        # Set here, and not by `__getattr__`: from Python 3.12 on, a protocol's `isinstance` does not ask that.
        for name in dir(backend):
            if not name.startswith("_"):
                found = getattr(backend, name)
                setattr(self, name, self._at_the_wire(name) if callable(found) else found)

    def _at_the_wire(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if name in self.taps:
                self.taps[name](*args)
            return getattr(self.backend, name)(*args, **kwargs)

        return call


def tap(rig: Rig, destination: str = "media") -> Tapped:
    """Puts somebody at the wire of a destination."""
    store = rig.runtime.store(destination)
    tapped = Tapped(store.backend)
    store.backend = tapped  # type: ignore[assignment]
    return tapped
