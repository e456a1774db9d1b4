"""The engine's face towards the API: everything asynchronous, every error an EngineError, nothing that waits without a
limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from backends.config import Configuration
from backends.structs import prepare_structs
from engine import arrivals, deliveries, operations
from engine.accepting import accept_all
from engine.access import EVERYTHING, Identity
from engine.adding import Adding
from engine.announced import wanted_digests
from engine.audit import Audit
from engine.config import Settings
from engine.destinations import Destinations
from engine.errors import Conflict, NotFound
from engine.feed import Event, Feed
from engine.gate import Gate
from engine.health import Health
from engine.hook_views import delivery_view, replayed
from engine.incoming import Incoming
from engine.keeping import Keeping
from engine.ledger import AsyncLedger
from engine.listing import Query, list_jobs
from engine.minter import Minter
from engine.models import JobSpec, SubmitOptions, TransferPlan
from engine.operations import Operation
from engine.plugins_file import LOOK_SECONDS, PluginsFile
from engine.precedence import Precedence
from engine.receptions import Reception
from engine.records import JobRecord
from engine.repeats import Repeats
from engine.restarts import remember_restart
from engine.settler import Settler
from engine.sourcing import submit_source
from engine.spans import spans_of
from engine.spool import Spool
from engine.submission import Desk
from engine.telling import Telling
from engine.tending import Tending
from engine.uploads import Uploads
from engine.views import failures_view, job_view, parts_view

Json = dict[str, Any]

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
        self.keeping = Keeping()
        self.feed = Feed(self.ledger)
        self.uploads = Uploads(self)
        self.add_destinations = Adding(self).add
        self.destinations = Destinations(self)
        self.health = Health(self)
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
        await self.keeping.stop()
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

    def check_webhook(self, url: str) -> None:
        """Raises Invalid where a job that names this address as its webhook would be refused."""
        self.desk.check_webhook(url)

    def room(self, size: int | None) -> None:
        """Raises SpoolFull when a body of this size (None: of any) would not fit now."""
        self.spool.room_for(size)

    async def receive(self, spec: JobSpec, size: int | None) -> Reception:
        """Begins to receive: the job exists, its file is open."""
        reception = Reception(self, spec, await self._incoming(spec, size), size)
        if not self.ledger.answers or (size is not None and size > SMALL_BYTES):
            try:
                await reception.progress()
            except BaseException:
                # Cancelled, too: nobody has it yet who would discard it, and it would keep itself alive for ever.
                await self.keeping.finish(reception.discard())
                raise
        return reception

    async def _incoming(self, spec: JobSpec, size: int | None) -> Incoming:
        def begin() -> Incoming:
            return self.spool.receive(spec.id, size, digests=wanted_digests(spec))

        if size is None or size <= SMALL_BYTES:
            return begin()  # touches no disk yet
        return await self.keeping.make(begin, Incoming.discard)

    def early(self, spec: JobSpec, plans: Sequence[TransferPlan], size: int, *, lost: bool) -> Operation[bool]:
        """The operation by which the transfers of a file begin while it is being received."""
        return arrivals.early(spec, plans, size, self.settings.lease_seconds, lost)

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Json]:
        """All receptions of a request become jobs, or none. From the answer on nothing loses the files."""
        return await accept_all(self, receptions)

    async def submit_source(self, spec: JobSpec) -> Json:
        """A job whose bytes are somewhere else."""
        return await submit_source(self, spec)

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
        return {"items": parts_view(found, int(record.fields["run"])), "failures": failures_view(found)}

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
        """A page of jobs, newest first. A route's name asks for the jobs that go to all of its destinations."""
        names = None if destination is None else self.destinations.reach([destination]) or frozenset({destination})
        return await list_jobs(self.ledger, Query(state, names, dict(labels), q, limit, cursor, owner))

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
        found = await self.ledger.run(deliveries.hooks_of(job))
        return {"items": [delivery_view(one, *found[one]) for one in sorted(found)]}

    async def replay(self, job: str, delivery: str, who: Identity = EVERYTHING) -> Json:
        """Delivers once more, with the same id."""
        await self.record(job, who)
        found = await self.ledger.run(deliveries.hooks_of(job))
        if delivery not in found:
            raise NotFound(f"This job has no delivery {delivery[:200]!r}.")
        again = replayed(found[delivery][0])
        await self.ledger.run(deliveries.note_hook(delivery, again, 0))
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


_PAST = {"cancel": "cancelled", "pause": "paused", "resume": "resumed", "retry": "retried"}
