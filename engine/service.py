"""The engine's face towards the API: everything asynchronous, every error an EngineError, nothing that waits without a
limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import uuid_utils

from backends.config import Configuration
from backends.registry import Destination
from backends.structs import prepare_structs
from engine import arrivals, keys, operations
from engine.access import EVERYTHING, Identity
from engine.adding import Adding
from engine.audit import Audit
from engine.config import Settings
from engine.content_types import HEAD_BYTES
from engine.digests import Digest
from engine.errors import Conflict, EngineError, Invalid, LedgerUnavailable, NotFound
from engine.feed import Event, Feed
from engine.gate import Gate
from engine.hook_views import delivery_view, replayed
from engine.ledger import AsyncLedger
from engine.listing import Query, list_jobs
from engine.minter import Minter
from engine.models import JOB_OVER, JobSpec, Sidecar, SubmitOptions, TransferPlan, dumps
from engine.operations import Operation
from engine.plugins_file import LOOK_SECONDS, PluginsFile
from engine.precedence import Precedence
from engine.receptions import Reception, accept_all
from engine.records import JobRecord
from engine.repeats import Repeats, superseded
from engine.restarts import remember_restart
from engine.settler import Settler
from engine.spans import spans_of
from engine.spool import Spool
from engine.submission import Desk, wanted_digests
from engine.telling import Telling
from engine.tending import Tending
from engine.uploads import Uploads
from engine.views import failures_view, job_view, parts_view

Json = dict[str, Any]

CHECK_SECONDS = 30.0
SMALL_BYTES = 1 << 20  # a body above this is worth a call to Redis before its first byte


class AsyncService:
    """One per API process, made in the process that serves."""

    def __init__(self, settings: Settings) -> None:
        prepare_structs()
        self.settings = settings
        self.plugins = PluginsFile(settings)
        self.desk = Desk(self.plugins.current, settings)
        self._following: asyncio.Task[None] | None = None
        self.spans = spans_of(settings, "bucketline-api")
        self.ledger = AsyncLedger(settings.redis_url)
        self.gate = Gate(self.ledger)
        self.spool = Spool(
            settings.spool, limit=settings.spool_limit, durability=settings.durability, max_size=settings.max_size
        )
        self.audit = Audit(settings.spool, settings.audit_days)
        self.note = self.audit.note
        self.settler = Settler()
        self.precedence = Precedence()
        self.give_way = self.precedence.give_way
        self.repeats = Repeats(self)
        self.minter = Minter(settings.broker_url, settings.node)
        self.feed = Feed(self.ledger)
        self.uploads = Uploads(self)
        self.add_destinations = Adding(self).add
        self._tending = Tending(self)
        self._telling = Telling(self)
        self.counters = self._telling.counters
        self.measured = self._telling.found

    async def start(self) -> None:
        """Opens the spool and starts the minter. Redis may be away: requests then say so."""
        await asyncio.to_thread(self.spool.open)
        self.minter.start()
        self._following = asyncio.create_task(self._follow())
        self._telling.start()

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
        await self.feed.stop()
        await self.uploads.stop()
        await self._telling.stop()
        await asyncio.to_thread(self.minter.stop)
        await self.ledger.close()
        self.spool.close()
        self.audit.close()
        await asyncio.to_thread(self.spans.close)

    @property
    def configuration(self) -> Configuration:
        """The destinations and routes in force."""
        return self.desk.configuration

    async def _follow(self) -> None:
        """Follows plugins.toml: what is submitted after a change goes where it says."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.spool.tidy)
            await self._tending.tend()
            if await asyncio.to_thread(self.plugins.refresh, settled=True):
                self.desk = Desk(self.plugins.current, self.settings)

    # ------------------------------------------------------------------ submitting

    def prepare(self, options: SubmitOptions, *, size: int | None, owner: str, job: str | None = None) -> JobSpec:
        """Everything that can be known to fail is refused here, before the body is read. job: its id, if it has one."""
        return self.desk.prepare(options, size=size, owner=owner, job=job)

    def reach(self, names: Sequence[str]) -> frozenset[str]:
        """The destinations that these names lead to, the members of routes included; unknown names lead nowhere."""
        known = [name for name in names if name in self.configuration.destinations or name in self.configuration.routes]
        return frozenset(self.configuration.expand(known))

    def check_webhook(self, url: str) -> None:
        """Raises Invalid where a job that names this address as its webhook would be refused."""
        self.desk.check_webhook(url)

    def room(self, size: int | None) -> None:
        """Raises SpoolFull when a body of this size (None: of any) would not fit now."""
        self.spool.room_for(size)

    async def receive(self, spec: JobSpec, size: int | None) -> Reception:
        """Begins to receive: the job exists, its file is open."""
        if size is None or size <= SMALL_BYTES:
            incoming = self.spool.receive(spec.id, size, digests=wanted_digests(spec))  # touches no disk yet
        else:
            incoming = await asyncio.to_thread(self.spool.receive, spec.id, size, digests=wanted_digests(spec))
        reception = Reception(self, spec, incoming, size)
        if not self.ledger.answers or (size is not None and size > SMALL_BYTES):
            try:
                await reception.progress()
            except LedgerUnavailable:
                await reception.discard()
                raise
        return reception

    def early(self, spec: JobSpec, plans: Sequence[TransferPlan], size: int, *, lost: bool) -> Operation[bool]:
        """The operation by which the transfers of a file begin while it is being received."""
        return arrivals.early(spec, plans, size, self.settings.lease_seconds, lost)

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Json]:
        """All receptions of a form become jobs, or none."""
        return await accept_all(self, receptions, {})

    async def submit_source(self, spec: JobSpec) -> Json:
        """A job whose bytes are somewhere else."""
        asks = spec.checksum or wanted_digests(spec) or (spec.key is None and keys.needs_content(spec.key_template))
        if asks and spec.source.kind != "url":
            detail = "A source is not read at submit: it can have neither a checksum nor a key made of its content."
            pointer = "/checksum" if spec.checksum else "/key_template"
            raise Invalid(detail, errors=[{"pointer": pointer, "detail": detail}])
        with self.spans.start("accept", spec.traceparent, about={"bucketline.job": spec.id}):
            return await self._accept_source(spec)

    async def _accept_source(self, spec: JobSpec) -> Json:
        if spec.source.distant:
            sidecar = self._unseen_sidecar(spec)
        else:
            sidecar = await asyncio.to_thread(self._path_sidecar, spec)
        if spec.once is not None:
            await self.repeats.bind(spec.once, [spec.id])
        await asyncio.to_thread(self.spool.accept_path, spec.id, dumps(sidecar))
        answer = await self.ledger.run(operations.accept_sidecar(sidecar, self.settings))
        if not answer.made and answer.state == "superseded":
            await asyncio.to_thread(self.spool.release, spec.id)
            raise superseded()
        self.minter.send(answer.tokens)
        return (await self.job(spec.id))[0]

    def _path_sidecar(self, spec: JobSpec) -> Sidecar:
        import os

        path = spec.source.path or ""
        try:
            size = os.stat(path).st_size
            with open(path, "rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError as error:
            raise Invalid(
                f"The file cannot be read: {error.strerror}.", errors=[{"pointer": "/source/path", "detail": "Gone."}]
            ) from error
        digest = Digest.unread(size)
        finished, plans = self.desk.finish(spec, digest, head)
        return Sidecar(spec=finished, digest=digest, accepted_ms=int(time.time() * 1000), transfers=plans)

    def _unseen_sidecar(self, spec: JobSpec) -> Sidecar:
        """What there is to write down before a worker has looked at the source."""
        plans = self.desk.unplanned(spec)
        return Sidecar(spec=spec, digest=Digest.unread(0), accepted_ms=int(time.time() * 1000), transfers=plans)

    # ------------------------------------------------------------------ looking

    async def job(self, job: str, who: Identity = EVERYTHING) -> tuple[Json, int]:
        """The job, and its revision in the ledger. One that `who` may not see does not exist, here and below."""
        record = await self.record(job, who)
        return job_view(record), record.revision

    async def parts(self, job: str, destination: str | None, who: Identity = EVERYTHING) -> Json:
        """The parts of one transfer (the first, when no destination is named), and which attempts failed."""
        record = await self.record(job, who)
        names = [one.fields["destination"] for one in record.transfers]
        if destination is not None and destination not in names:
            raise NotFound(f"This job does not go to {destination!r}; it goes to {', '.join(names) or 'nowhere yet'}.")
        if not names:
            return {"items": [], "failures": []}
        index = names.index(destination) if destination is not None else 0
        found = await self.ledger.run(operations.read_parts(f"{job}/{index}"))
        return {"items": parts_view(found), "failures": failures_view(found)}

    async def jobs(
        self,
        *,
        state: str | None,
        destination: str | None,
        labels: Mapping[str, str],
        q: str | None,
        limit: int,
        cursor: str | None,
        owner: str | None,
    ) -> Json:
        """A page of jobs, newest first."""
        return await list_jobs(self.ledger, Query(state, destination, dict(labels), q, limit, cursor, owner))

    def events(self, job: str | None, last: str | None, owner: str | None = None) -> AsyncIterator[Event]:
        """Live events of one job, or of all; of all jobs of one owner, if one is given."""
        return self.feed.of_all(last, owner) if job is None else self.feed.of_job(job, last)

    async def wait(self, job: str, seconds: float) -> Json:
        """The job when it is satisfied or over, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                async with aclosing(self.feed.of_job(job, None)) as events:  # type: ignore[type-var]
                    async for event in events:
                        if event.event == "end":
                            return dict(event.data)
        except TimeoutError:
            pass
        return (await self.job(job))[0]

    async def record(self, job: str, who: Identity = EVERYTHING) -> JobRecord:
        """The job as the ledger has it."""
        record = (await self.ledger.run(operations.read_jobs([job])))[0]
        if record is None or not who.may_see(job, record.spec.owner, record.spec.token):
            raise NotFound("There is no job with this id; finished jobs are forgotten after their retention.")
        return record

    # ------------------------------------------------------------------ commands

    async def webhooks(self, job: str, who: Identity = EVERYTHING) -> Json:
        """How the deliveries of the job's ends stand."""
        await self.record(job, who)
        found = await self.ledger.run(operations.hooks_of(job))
        return {"items": [delivery_view(one, *found[one]) for one in sorted(found)]}

    async def replay(self, job: str, delivery: str, who: Identity = EVERYTHING) -> Json:
        """Delivers once more, with the same id."""
        await self.record(job, who)
        found = await self.ledger.run(operations.hooks_of(job))
        if delivery not in found:
            raise NotFound(f"This job has no delivery {delivery[:200]!r}.")
        again = replayed(found[delivery][0])
        await self.ledger.run(operations.note_hook(delivery, again, 0))
        return delivery_view(delivery, again, int(time.time() * 1000))

    async def command(self, job: str, action: str, who: Identity = EVERYTHING) -> tuple[Json, bool]:
        """cancel, pause, resume or retry: the job, and whether this call changed something."""
        if who.sees is not None:
            await self.record(job, who)
        if action == "retry":
            await self._before_retry(job)
        verdict, state, tokens = await self.ledger.run(operations.command(job, action))
        if verdict == "missing":
            raise NotFound("There is no job with this id.")
        if verdict == "source_gone":
            raise Conflict("The job's file is no longer kept; submit it again.", code="source_gone")
        if verdict == "conflict":
            raise Conflict(f"A job that is {state} cannot be {_PAST[action]}.")
        self.minter.send(tokens)
        return (await self.job(job))[0], verdict == "done"

    async def _before_retry(self, job: str) -> None:
        """The wish for another run goes to the disk first: it must outlive a Redis that loses it."""
        record = await self.record(job)
        if record.state in ("failed", "partially_succeeded") and record.fields.get("until", "0") != "0":
            await asyncio.to_thread(remember_restart, self.spool, job, int(record.fields["run"]) + 1)

    async def forget(self, job: str, who: Identity = EVERYTHING) -> None:
        """Deletes a finished job's record; its tombstone remembers the deletion."""
        if who.sees is not None:
            await self.record(job, who)
        verdict = await self.ledger.run(operations.forget(job))
        if verdict == "missing":
            raise NotFound("There is no job with this id.")
        if verdict == "conflict":
            raise Conflict("The job is still active; cancel it first.")

    async def audit_lines(self, *, limit: int, key: str | None, job: str | None) -> list[Json]:
        """Who did what, the newest first."""
        return await asyncio.to_thread(self.audit.read, limit=limit, key=key, job=job)

    # ------------------------------------------------------------------ destinations and health

    def destinations(self) -> list[Json]:
        """Destinations and routes as configured, without secrets."""
        known = [self._destination_view(one) for one in self.configuration.destinations.values()]
        routes = [
            {
                "name": name,
                "kind": "route",
                "backend": None,
                "mirror": members,
                "capabilities": None,
                "health": None,
                "default": name == self.configuration.default,
            }
            for name, members in self.configuration.routes.items()
        ]
        return known + routes

    def _destination_view(self, destination: Destination) -> Json:
        import msgspec

        return {
            "name": destination.name,
            "kind": "destination",
            "backend": destination.backend,
            "url": destination.url_for(""),
            "capabilities": msgspec.to_builtins(destination.capabilities),
            "health": None,
            "default": destination.name == self.configuration.default,
        }

    async def destination(self, name: str) -> Json:
        """One destination or route, with the result of its last check."""
        for view in self.destinations():
            if view["name"] == name:
                _, health = await self.ledger.run(operations.noted_checks())
                return {**view, "health": health.get(name)}
        raise NotFound(f"There is no destination or route {name!r}.", code="unknown_destination")

    async def check(self, name: str) -> Json:
        """A real write, read and delete at a destination, by a worker; EngineError `check_timeout` when none answers
        in time.
        """
        view = await self.destination(name)
        if view["kind"] == "route":
            raise Invalid("A route is checked by checking its destinations.")
        request = str(uuid_utils.uuid7())
        self.minter.ask_check(name, request)
        deadline = asyncio.get_running_loop().time() + CHECK_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            result, _ = await self.ledger.run(operations.noted_checks(request))
            if result is not None:
                return {**view, "health": result, "ok": result["ok"]}
            await asyncio.sleep(0.1)
        raise EngineError(
            f"No worker of node {self.settings.node!r} answered within {CHECK_SECONDS:.0f} s.",
            code="check_timeout",
            retryable=True,
        )

    async def stats(self) -> Json:
        """The system in numbers."""
        found = await self.ledger.run(operations.stats())
        usage = self.spool.usage()
        running = await self.ledger.run(operations.page("jobs:running", "", 200))
        records = await self.ledger.run(operations.read_jobs(running)) if running else []
        rate = sum(int(float(one.fields.get("rate") or 0)) for one in records if one)
        return {
            "jobs": found["jobs"],
            "bytes": {"received": found["totals"].get("received", 0), "sent": found["totals"].get("sent", 0)},
            "rates": {"sent": rate},
            "queues": {"active_transfers": found["active"]},
            "spool": {"used": usage.used, "limit": usage.limit},
            "workers": [
                {"name": one["name"], "node": one.get("node"), "threads": one.get("threads")}
                for one in found["workers"]
            ],
        }

    async def ready(self) -> Json:
        """Whether jobs can be accepted and carried: Redis, spool, configuration, workers."""
        checks: dict[str, Json] = {
            "config": {
                "ok": True,
                "detail": self.plugins.fault or f"{len(self.configuration.destinations)} destinations",
            }
        }
        try:
            found = await self.ledger.run(operations.stats())
            checks["redis"] = {"ok": True, "detail": ""}
            count = len(found["workers"])
            checks["workers"] = {
                "ok": count > 0,
                "detail": f"{count} seen" if count else "no worker was seen in the last 15 s",
            }
        except LedgerUnavailable as error:
            checks["redis"] = {"ok": False, "detail": error.detail}
            checks["workers"] = {"ok": False, "detail": "unknown while Redis is away"}
        try:
            self.spool.room_for(None)
            usage = self.spool.usage()
            checks["spool"] = {"ok": True, "detail": f"{usage.used} of {usage.limit} bytes used"}
        except EngineError as error:
            checks["spool"] = {"ok": False, "detail": error.detail}
        return {"ready": all(check["ok"] for check in checks.values()), "checks": checks}


_PAST = {"cancel": "cancelled", "pause": "paused", "resume": "resumed", "retry": "retried"}

__all__ = ["JOB_OVER", "AsyncService"]
