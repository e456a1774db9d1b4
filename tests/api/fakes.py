"""A small engine in memory with the manners of the real one: it keeps bytes, states, revisions and events."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec

from engine.access import EVERYTHING, Grant, Identity
from engine.counters import Counters
from engine.errors import ChecksumMismatch, Conflict, Invalid, LedgerUnavailable, NotFound, SpoolFull
from engine.measures import Found
from engine.models import JOB_OVER, JobSpec, Once, Source, SubmitOptions
from engine.once import Answered
from engine.spans import Spans

Json = dict[str, Any]
COMMANDS = {
    "cancel": ({"receiving", "queued", "running", "paused"}, "cancelling"),
    "pause": ({"queued", "running"}, "paused"),
    "resume": ({"paused"}, "queued"),
    "retry": ({"failed", "partially_succeeded"}, "queued"),
}


@dataclass(frozen=True)
class FakeEvent:
    id: str
    event: str
    data: Any


@dataclass
class FakeJob:
    spec: JobSpec
    state: str = "receiving"
    content: bytes = b""
    revision: int = 1
    events: list[FakeEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def document(self) -> Json:
        return {
            "id": self.spec.id,
            "state": self.state,
            "run": 1,
            "name": self.spec.name,
            "key": self.spec.key,
            "content_type": self.spec.content_type,
            "metadata": self.spec.metadata,
            "labels": self.spec.labels,
            "size": len(self.content),
            "received": len(self.content),
            "satisfied_at": "2026-11-23T00:00:00Z" if self.state == "succeeded" else None,
            "transfers": [{"destination": name, "state": "pending"} for name in self.spec.destinations],
            "links": {"self": f"/v1/jobs/{self.spec.id}"},
        }


class FakeReception:
    def __init__(self, service: FakeService, job: FakeJob) -> None:
        self._service = service
        self.job = job
        self._data = bytearray()
        self.ended = ""

    def write(self, chunk: bytes | memoryview) -> None:
        assert not self.ended, "written after its end"
        if self._service.full_after is not None and len(self._data) + len(chunk) > self._service.full_after:
            raise SpoolFull("The spool disk is full.")
        self._data += chunk

    @property
    def spec(self) -> JobSpec:
        return self.job.spec

    has_more = False

    async def progress(self) -> None:
        self._service.told.append(len(self._data))

    def revise(self, options: SubmitOptions) -> None:
        fresh = self._service.prepare(options, size=len(self._data), owner=self.job.spec.owner)
        self.job.spec = msgspec.structs.replace(fresh, id=self.job.spec.id, token=self.job.spec.token)

    def check(self) -> None:
        algorithm, _, value = (self.job.spec.checksum or "").partition(":")
        if algorithm == "sha256" and hashlib.sha256(self._data).hexdigest() != value:
            raise ChecksumMismatch("The bytes have another sha256.")

    async def discard(self) -> None:
        self.ended = self.ended or "discarded"
        self._service.jobs_by_id.pop(self.job.spec.id, None)


@dataclass(frozen=True)
class FakeAdmitted:
    refused: str = ""
    requests: int = 1
    bytes: int = 0
    jobs: int = 0
    now_ms: int = 86_400_000 * 20_000 + 18_000


@dataclass(frozen=True)
class FakeMinted:
    id: str
    text: str
    expires_ms: int


class FakeGate:
    """Knows the callers that a test puts into `known`, and counts for itself what they use."""

    def __init__(self, service: FakeService) -> None:
        self._service = service
        self.known: dict[str, Identity] = {}
        self.asked: list[str] = []
        self.used: dict[str, int] = {}
        self.left: list[tuple[list[str], int, int]] = []
        self.answer = FakeAdmitted()

    async def identify(self, text: str) -> Identity | None:
        self.asked.append(text)
        self._service._reach()
        return self.known.get(text)

    def entry(self) -> str:
        return str(uuid4())

    async def admit(self, who: Identity, *, entry: str, charge: int | None, again: bool) -> FakeAdmitted:
        if self.answer.refused:
            return self.answer
        if entry and who.uploads is not None:
            if self.used.get(who.token, 0) >= who.uploads:
                return FakeAdmitted("uploads")
            self.used[who.token] = self.used.get(who.token, 0) + 1
        return self.answer

    async def leave(
        self, who: Identity, entries: Sequence[str], *, charged: int, used: int, at_ms: int, lost: str = ""
    ) -> None:
        self._service._reach()
        self.left.append((list(entries), charged, used))
        made = [one for one in entries if one in self._service.jobs_by_id]
        if who.token in self.used:
            self.used[who.token] -= len(entries) - len(made)

    async def mint(self, who: Identity, grant: Grant, *, uploads: int | None, life_seconds: int) -> FakeMinted | None:
        text = f"blt_{len(self.known):016x}_{'t' * 43}"
        token = text[4:20]
        self.known[text] = Identity(
            key=who.key, grants=(*who.grants, grant), quotas=who.quotas, token=token, uploads=uploads
        )
        return FakeMinted(token, text, life_seconds * 1000)

    async def revoke(self, who: Identity, token: str) -> bool:
        mine = [text for text, one in self.known.items() if one.token == token and who.sees in (None, one.key)]
        for text in mine:
            del self.known[text]
        return bool(mine)


class FakeRepeats:
    """Idempotency-Keys in memory, without leases: `held` and `done` by name."""

    renew_seconds = 60.0

    def __init__(self, service: FakeService) -> None:
        self._service = service
        self.held: dict[str, Once] = {}
        self.done: dict[str, Answered] = {}

    async def claim(self, name: str, fingerprint: str) -> Once | Answered:
        self._service._reach()
        if name not in self.held:
            self.held[name] = Once(name, fingerprint, "fence")
            return self.held[name]
        if self.held[name].fingerprint != fingerprint:
            raise Invalid("This was another request.", code="idempotency_mismatch")
        made = [job for job, one in self._service.jobs_by_id.items() if one.spec.once and one.spec.once.name == name]
        if name not in self.done and not any(self._service.jobs_by_id[job].content for job in made):
            raise Conflict("It is still running.", code="idempotency_busy", retryable=True, retry_after=7)
        return self.done.get(name) or Answered(0, "", b"", made)

    async def renew(self, held: Once) -> bool:
        return True

    async def answer(self, held: Once, status: int, location: str, body: bytes) -> None:
        self._service._reach()
        self.done[held.name] = Answered(status, location, body, [])

    async def release(self, held: Once) -> None:
        self.held.pop(held.name, None)


class FakeDestinations:
    """All that have names, and a route to them all."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def reach(self, names: Sequence[str]) -> frozenset[str]:
        routes = {"everywhere": self.names}
        return frozenset(one for name in names for one in routes.get(name, [name]) if one in self.names)

    async def all(self) -> list[Json]:
        return [await self.one(name) for name in self.names]

    async def one(self, name: str) -> Json:
        if name not in self.names:
            raise Invalid(f"There is no destination {name!r}.", code="unknown_destination")
        return {"name": name, "kind": "destination", "backend": "memory", "health": None}

    async def check(self, name: str) -> Json:
        return {**await self.one(name), "ok": True}


class FakeHealth:
    def __init__(self, service: FakeService) -> None:
        self._service = service

    async def stats(self) -> Json:
        return {"jobs": {"queued": len(self._service.jobs_by_id)}}

    async def ready(self) -> Json:
        return {"ready": self._service.is_ready, "checks": {"redis": {"ok": self._service.is_ready, "detail": ""}}}


class FakeService:
    """`full_after` limits each reception, `room_left` the spool; `away` makes the ledger unreachable, `lost_at_accept`
    loses its answer there, which waits while `go_on` is not set."""

    def __init__(self, destinations: Sequence[str] = ("media", "archive")) -> None:
        self.names = list(destinations)
        self.counters = Counters()
        self.spans = Spans()
        self.gate = FakeGate(self)
        self.repeats = FakeRepeats(self)
        self.destinations = FakeDestinations(self.names)
        self.health = FakeHealth(self)
        self.notes: list[Json] = []
        self.jobs_by_id: dict[str, FakeJob] = {}
        self.receptions: list[FakeReception] = []
        self.full_after: int | None = None
        self.room_left: int | None = None
        self.away = self.lost_at_accept = False
        self.events_fail = False
        self.accepting, self.accepted, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.finish_at_once = False
        self.crash: Callable[[], None] = lambda: None
        self.told: list[int] = []
        self.feed: asyncio.Queue[FakeEvent] = asyncio.Queue()
        self.hold_receive = False
        self.started = self.stopped = False
        self.is_ready = True

    async def give_way(self) -> None: ...

    # -- the test's side
    def content(self, job_id: str) -> bytes:
        return self.jobs_by_id[job_id].content

    def move(self, job_id: str, state: str) -> None:
        job = self.jobs_by_id[job_id]
        job.state = state
        job.revision += 1
        kind = "end" if state in JOB_OVER else "state"
        job.events.append(FakeEvent(f"{job.revision}-0", kind, job.document()))
        self.feed.put_nowait(job.events[-1])
        job.changed.set()
        job.changed = asyncio.Event()

    def add(self, **options: Any) -> str:
        """A job that is queued."""
        options.setdefault("key", "k")
        spec = self.prepare(SubmitOptions(**options), size=0, owner="test")
        self.jobs_by_id[spec.id] = FakeJob(spec)
        self.move(spec.id, "queued")
        return spec.id

    # -- the API's side
    async def start(self) -> None:
        self.crash()
        self.started = True

    async def stop(self) -> None:
        self.stopped = True

    def prepare(self, options: SubmitOptions, *, size: int | None, owner: str, job: str | None = None) -> JobSpec:
        names = options.destinations or self.names[:1]
        for index, name in enumerate(names):
            if name not in self.names:
                where = [{"pointer": f"/destinations/{index}", "detail": "No such destination."}]
                raise Invalid(f"There is no destination {name!r}.", code="unknown_destination", errors=where)
        if options.key is not None and ".." in options.key.split("/"):
            raise Invalid("The key climbs.", errors=[{"pointer": "/key", "detail": "`..` is not allowed."}])
        name = options.name or "upload"
        return JobSpec(
            id=job or str(uuid4()),
            created_ms=0,
            name=name,
            key=options.key or (options.key_template or "x/{name}").replace("{name}", name).replace("{id}", "1"),
            key_template="",
            destinations=list(names),
            content_type=options.content_type,
            metadata=options.metadata,
            labels=options.labels,
            on_conflict=options.on_conflict,
            checksum=options.checksum,
            priority=options.priority,
            webhook=options.webhook,
            on_success=options.on_success,
            on_failure=options.on_failure,
            owner=owner,
            source=_source(options.source),
        )

    def check_webhook(self, url: str) -> None:
        if not url.startswith("https://"):
            raise Invalid("Not possible.", errors=[{"pointer": "/webhook", "detail": "An address is needed."}])

    def room(self, size: int | None) -> None:
        if self.room_left is not None and (size or 1) > self.room_left:
            raise SpoolFull("The spool has no room.", retry_after=30)

    async def receive(self, spec: JobSpec, size: int | None) -> FakeReception:
        self._reach()
        while self.hold_receive:  # noqa: ASYNC110 - a flag that other processes set
            await asyncio.sleep(0.01)
        job = self.jobs_by_id[spec.id] = FakeJob(spec)
        self.receptions.append(FakeReception(self, job))
        return self.receptions[-1]

    async def accept_all(self, receptions: Sequence[FakeReception]) -> list[Json]:
        for reception in receptions:
            reception.check()
        self.accepting.set()
        await self.go_on.wait()
        if self.lost_at_accept:
            raise LedgerUnavailable("Redis did not answer.", retry_after=2)
        for reception in receptions:
            reception.ended = "accepted"
            reception.job.content = bytes(reception._data)
            self.move(reception.job.spec.id, "queued")
            if self.finish_at_once:
                self.move(reception.job.spec.id, "succeeded")
        self.accepted.set()
        return [reception.job.document() for reception in receptions]

    async def submit_source(self, spec: JobSpec) -> Json:
        job = self.jobs_by_id[spec.id] = FakeJob(spec)
        self.move(spec.id, "queued")
        return job.document()

    async def job(self, job_id: str, who: Identity = EVERYTHING) -> tuple[Json, int]:
        job = self._find(job_id, who)
        return job.document(), job.revision

    async def parts(self, job_id: str, destination: str | None, who: Identity = EVERYTHING) -> Json:
        self._find(job_id, who)
        return {"items": [{"number": 1, "offset": 0, "state": "pending", "destination": destination}], "failures": []}

    async def jobs(self, *, state: str | None, destination: str | None, labels: Mapping[str, str], q: str | None,
                   limit: int, cursor: str | None, owner: str | None) -> Json:  # fmt: skip
        self._reach()
        found = [
            job for job in reversed(self.jobs_by_id.values())
            if state in (None, job.state)
            and owner in (None, job.spec.owner)
            and (destination is None or destination in job.spec.destinations)
            and labels.items() <= job.spec.labels.items()
            and (q is None or job.spec.id == q or job.spec.name.startswith(q))
        ]  # fmt: skip
        begin = int(cursor or 0)
        more = str(begin + limit) if len(found) > begin + limit else None
        return {"items": [job.document() for job in found[begin : begin + limit]], "next_cursor": more}

    async def command(self, job_id: str, verb: str, who: Identity = EVERYTHING) -> tuple[Json, bool]:
        job = self._find(job_id, who)
        allowed, target = COMMANDS[verb]
        if job.state == target:
            return job.document(), False
        if job.state not in allowed:
            raise Conflict(f"A job that is {job.state} cannot {verb}.")
        self.move(job_id, target)
        return job.document(), True

    async def add_destinations(self, job_id: str, names: Sequence[str], who: Identity) -> tuple[Json, list[str]]:
        job = self._find(job_id, who)
        if job.state == "cancelled":
            raise Conflict("A job that is cancelled gets no further destination.")
        for index, name in enumerate(names):
            if not self.destinations.reach([name]):
                where = [{"pointer": f"/destinations/{index}", "detail": "No such destination."}]
                raise Invalid("There is none.", code="unknown_destination", errors=where)
        new = sorted(self.destinations.reach(names) - set(job.spec.destinations))
        job.spec.destinations.extend(new)
        if new:
            self.move(job_id, "queued")
        return job.document(), new

    async def forget(self, job_id: str, who: Identity = EVERYTHING) -> None:
        if self._find(job_id, who).state not in JOB_OVER:
            raise Conflict("The job is not over.")
        del self.jobs_by_id[job_id]

    async def wait(self, job_id: str, seconds: float) -> Json:
        job = self._find(job_id)
        try:
            async with asyncio.timeout(seconds):
                while job.state not in JOB_OVER:
                    await job.changed.wait()
        except TimeoutError:
            pass
        return job.document()

    async def events(
        self, job_id: str | None, last_event_id: str | None, owner: str | None = None
    ) -> AsyncIterator[FakeEvent]:
        if job_id is None:
            while True:
                event = await self.feed.get()
                if owner in (None, self.jobs_by_id[event.data["id"]].spec.owner):
                    yield event
        job = self._find(job_id)
        ids = [event.id for event in job.events]
        at = ids.index(last_event_id) + 1 if last_event_id in ids else len(ids)
        if last_event_id not in ids:
            last = ids[-1]
            yield FakeEvent(last, "end" if job.state in JOB_OVER else "snapshot", job.document())
        if self.events_fail:
            raise LedgerUnavailable("Redis does not answer.")
        while True:
            while at < len(job.events):
                yield job.events[at]
                at += 1
            if job.state in JOB_OVER:
                return
            await job.changed.wait()

    def note(self, action: str, **fields: str) -> None:
        self.notes.insert(0, {"action": action, **{name: value for name, value in fields.items() if value}})

    async def audit_lines(self, *, limit: int, key: str | None, job: str | None) -> list[Json]:
        return [one for one in self.notes if key in (None, one["key"]) and job in (None, one.get("job"))][:limit]

    async def measured(self) -> Found:
        return {"bucketline_jobs": {("queued",): len(self.jobs_by_id)}}

    def _find(self, job_id: str, who: Identity = EVERYTHING) -> FakeJob:
        self._reach()
        job = self.jobs_by_id.get(job_id)
        if job is None or not who.may_see(job_id, job.spec.owner, job.spec.token):
            raise NotFound("There is no job with this id.")
        return self.jobs_by_id[job_id]

    def _reach(self) -> None:
        if self.away:
            raise LedgerUnavailable("Redis does not answer.", retry_after=2)


def _source(told: dict[str, Any] | None) -> Source:
    """As the real service reads it, without looking whether it can be so."""
    if not told:
        return Source()
    kind = next(kind for kind in ("path", "destination", "url") if kind in told)
    return Source(kind, **told)
