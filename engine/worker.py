"""A worker process: Dramatiq's worker, our threads beside it, and a clean way out."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from backends.structs import prepare_structs
from engine import heap, leases
from engine.config import Settings, host_name
from engine.disk import Disk
from engine.endings import Undertaker
from engine.errors import LedgerUnavailable, problem_of
from engine.ledger import Ledger, why_away
from engine.plugins_file import LOOK_SECONDS, PluginsFile
from engine.retry import GivenBack, Policy
from engine.runtime import Runtime
from engine.spans import spans_of
from engine.spool import Spool
from engine.tombstones import Tombstones

if TYPE_CHECKING:
    from dramatiq import Worker

    from engine.broker import WakingBroker

log = structlog.get_logger("bucketline.worker")

LAST_SECONDS = 0.7  # for what was interrupted
GRACE_SECONDS = 8.0  # below the ten seconds after which container runtimes kill
IDLE_POLL_MS = 1000


def runtime_of(settings: Settings) -> Runtime:
    """The parts of a worker, connected lazily."""
    spool = Spool(
        settings.spool, limit=settings.spool_limit, durability=settings.durability, max_size=settings.max_size
    )
    spool.open()
    plugins = PluginsFile(settings)
    policy = Policy(
        attempts=settings.retry_attempts,
        base_seconds=settings.retry_base_seconds,
        budget_seconds=settings.retry_budget_seconds,
    )
    tombstones = Tombstones(settings.spool / "ended", disk=Disk(durable=settings.durability == "fsync"))
    ledger = Ledger(settings.redis_url)
    return Runtime(
        settings=settings,
        configuration=plugins.current,
        plugins=plugins,
        ledger=ledger,
        spool=spool,
        policy=policy,
        tombstones=tombstones,
        undertaker=Undertaker(ledger, spool, tombstones, settings.node),
        spans=spans_of(settings, "bucketline-worker"),
    )


def own_name() -> str:
    """No other worker process has it: in containers all are process 1, and may share the host's name and the node's."""
    return f"{host_name()}:{os.getpid()}:{secrets.token_hex(2)}"


def run(settings: Settings, *, name: str | None = None) -> int:
    """Works until SIGTERM or SIGINT. Then running parts get a few seconds to finish; what is not done is given back.
    Answers 0.
    """
    os.environ.setdefault(
        "dramatiq_restart_delay", "1000"
    )  # read when dramatiq is imported: consumers come back a second after Redis
    from dramatiq import Worker

    from engine.actors import declare
    from engine.broker import WakingBroker
    from engine.middleware import Leasing, Progress, Retries, Spanning
    from engine.middleware.leasing import renew_forever
    from engine.middleware.progress import flush_forever
    from engine.sweeper import Sweeper
    from engine.telling import count_forever, tell
    from engine.webhooks import Courier

    logging.getLogger("dramatiq.worker.WorkerThread").setLevel(
        logging.ERROR
    )  # it warns of every token that finds nothing to do
    prepare_structs()
    runtime = runtime_of(settings)
    broker = WakingBroker(settings.broker_url, [kind(runtime) for kind in (Leasing, Spanning, Retries, Progress)])
    declare(broker, runtime)
    for warning in _warnings(runtime):
        log.warning(warning)

    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    look = threading.Event()
    signal.signal(signal.SIGHUP, lambda number, frame: look.set())

    worker = Worker(broker, worker_threads=settings.threads, worker_timeout=IDLE_POLL_MS)
    sweeper = Sweeper(runtime, broker, name or own_name())
    heap.give_back()
    broker.listen()
    worker.start()
    runtime.undertaker.start()
    for target in (
        lambda: renew_forever(runtime),
        lambda: flush_forever(runtime),
        lambda: count_forever(runtime),
        lambda: _follow(runtime, look),
        sweeper.forever,
        Courier(runtime).forever,
    ):
        threading.Thread(target=target, daemon=True).start()
    log.info("working", node=settings.node, threads=settings.threads)
    stop.wait()
    _drain(runtime, broker, worker)
    runtime.undertaker.stop()
    tell(runtime)
    broker.close()
    runtime.close()
    return 0


def _follow(runtime: Runtime, look: threading.Event) -> None:
    """Follows plugins.toml; the body of one thread. `look`: somebody says that it was changed (SIGHUP)."""
    while not runtime.stopping.is_set():
        told = look.wait(LOOK_SECONDS)
        look.clear()
        runtime.refresh(settled=not told)
        runtime.close_retired()


def _warnings(runtime: Runtime) -> list[str]:
    try:
        return runtime.ledger.persistence()
    except Exception as error:
        return [f"Redis could not be asked about its persistence ({why_away(error)}); waiting for it."]


def _drain(runtime: Runtime, broker: WakingBroker, worker: Worker) -> None:
    """No new work; running steps get their time, then they are given back without costing an attempt."""
    runtime.stopping.set()
    for thread in worker.workers:  # at once: `stop`, in a thread of its own, may be late on a busy machine
        thread.stop()
    log.info("leaving: running parts are finished or given back")
    stopper = threading.Thread(target=lambda: worker.stop(timeout=int(GRACE_SECONDS * 1000)), daemon=True)
    stopper.start()
    stuck = not _finished(runtime, GRACE_SECONDS)
    if stuck:
        runtime.interrupted.set()
        if not _finished(runtime, LAST_SECONDS):
            _give_back(runtime, broker)
    stopper.join(LAST_SECONDS if stuck else GRACE_SECONDS)
    runtime.interrupted.set()


def _finished(runtime: Runtime, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while runtime.errands and time.monotonic() < deadline:
        time.sleep(0.02)
    return not runtime.errands


def _give_back(runtime: Runtime, broker: WakingBroker) -> None:
    """Steps that hang in a call on their provider end with this process; nobody need wait for their leases."""
    from engine.reports import report  # brings Dramatiq along, which the API does without

    for errand in list(runtime.errands.values()):
        held = errand.lease
        try:
            report(runtime, broker, held, leases.fail(held, "snooze", problem_of(GivenBack()), 0))
        except LedgerUnavailable:
            log.warning("could not give back a step", **held.names)
