"""Live events: one reader of the global feed per process, which tells everybody who watches."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Any, NamedTuple, TypeVar

import msgspec

from engine import operations
from engine.errors import EngineError, LedgerUnavailable, NotFound
from engine.ledger import AsyncLedger
from engine.models import JOB_OVER
from engine.records import JobRecord
from engine.views import job_view

BLOCK_MS = 5000
PAGE = 200
NO_ID = "0-0"  # of no event
LOOKS = 3  # at a job that is changing under our eyes, before an older event may be told behind a newer picture
ASKING = 16
"""Watchers may ask Redis so many things at once; thousands of them leave connections for everybody else."""
RECENT = 1000
T = TypeVar("T")
Entry = tuple[str, str, bytes, str]
_STREAM_ID = re.compile(r"\d{1,20}-\d{1,20}")


class Event(NamedTuple):
    """One event: its stream id, its kind (snapshot progress transfer state end), and its JSON-able data."""

    id: str
    event: str
    data: Any


class _Recent:
    """The newest entries of the feed, as far as they were read without a gap."""

    def __init__(self) -> None:
        self._entries: deque[tuple[tuple[int, int], Entry]] = deque()
        self._after: tuple[int, int] | None = None

    def begin(self, after: str | None) -> None:
        """Everything behind this id will be added. None: nothing is known any more."""
        self._entries.clear()
        self._after = None if after is None else _order(after)

    def add(self, entries: list[Entry]) -> None:
        self._entries.extend((_order(entry[0]), entry) for entry in entries)
        while len(self._entries) > RECENT:
            self._after = self._entries.popleft()[0]

    def behind(self, last: str) -> list[Entry] | None:
        """The entries behind this id, or None when some of them may not be here."""
        wanted = _order(last)
        if self._after is None or wanted < self._after:
            return None
        found = []
        for order, entry in reversed(self._entries):
            if order <= wanted:
                break
            found.append(entry)
        return found[::-1]


class Feed:
    """Everybody waits for the next entry of the feed. Who watches one job then reads what is new in its stream; who
    watches all is told what the one reader read.
    """

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._everything: set[asyncio.Event] = set()
        self._reader: asyncio.Task[None] | None = None
        self._recent = _Recent()
        self._views: dict[str, asyncio.Task[dict[str, Any] | None]] = {}
        self._asking = asyncio.Semaphore(ASKING)

    async def stop(self) -> None:
        while self._reader and not self._reader.done():
            # More than once if need be: a connection that is being made can take a cancellation for its own trouble.
            self._reader.cancel()
            await asyncio.wait({self._reader}, timeout=0.05)

    @contextlib.contextmanager
    def watching(self, job: str | None) -> Any:
        """An asyncio.Event that is set whenever something happened to the job (None: to any). Also after a gap in
        reading.
        """
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read())
        bell = asyncio.Event()
        bells = self._everything if job is None else self._watched.setdefault(job, set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if job is not None and not bells:
                self._watched.pop(job, None)

    async def _read(self) -> None:
        after = ""
        while self._watched or self._everything:
            try:
                if not after:
                    _, after = await self._ledger.bounds("feed")
                    self._recent.begin(after)
                    self._ring(self._all())  # what came until here, everybody reads for himself: there is no gap
                entries = await self._ledger.events("feed", after, count=500, block_ms=BLOCK_MS)
            except LedgerUnavailable:
                after = ""
                self._recent.begin(None)
                await asyncio.sleep(1.0)
                continue
            if not entries:
                self._ring(self._all())  # a slow heartbeat: nobody depends on a single wake-up
                continue
            after = entries[-1][0]
            self._recent.add(entries)
            for _, _, data, _ in entries:
                self._ring(self._watched.get(msgspec.json.decode(data)["id"], set()))
            self._ring(self._everything)

    def _all(self) -> set[asyncio.Event]:
        return set().union(*self._watched.values(), self._everything)

    def _ring(self, bells: set[asyncio.Event]) -> None:
        for bell in bells:
            bell.set()

    # ------------------------------------------------------------------ one job

    async def of_job(self, job: str, last: str | None) -> AsyncIterator[Event]:
        """A job's events behind `last`, without loss; an unknown or trimmed id gets a snapshot first. Ends after
        `end`.
        """
        key = f"job:{job}:events"
        with self.watching(job) as bell:
            after, first, over = await self._start(job, key, last)
            for event in first:
                yield event
            if over:
                return
            while True:
                entries = await self._ask(self._ledger.events(key, after, count=PAGE))
                for event_id, kind, data, _ in entries:
                    after = event_id
                    if kind == "gone":
                        return
                    if kind == "end":
                        view = await self._view(job)
                        if view is not None and view["state"] in JOB_OVER:
                            yield Event(event_id, "end", view)
                            return
                        continue  # an end that a retry has made history
                    yield Event(event_id, kind, _told(data))
                if len(entries) == PAGE:
                    continue  # there may be more, for which no bell rings
                await bell.wait()
                bell.clear()
                if not await self._exists(job):
                    return

    async def _start(self, job: str, key: str, last: str | None) -> tuple[str, list[Event], bool]:
        record, first, newest = await self._standing(job, key)
        over = record.state in JOB_OVER
        end_id = record.fields.get("end_id") or newest
        if last is not None and _STREAM_ID.fullmatch(last):
            if over and last == end_id:
                return newest, [], True
            if first != NO_ID and _order(first) <= _order(last) <= _order(newest):
                return last, [], False
        view = job_view(record)
        if over:
            # An id of nobody's: whoever is cut off behind the snapshot asks with it again, and hears the end.
            missed = [] if last is None else [Event(NO_ID, "snapshot", view)]
            return newest, [*missed, Event(end_id, "end", view)], True
        return newest, [Event(newest, "snapshot", view)], False

    async def _standing(self, job: str, key: str) -> tuple[JobRecord, str, str]:
        """The job, and the first and last id of its events. Every event behind the last id is still to be told."""
        looks = 0
        while True:
            # The ids first: an event between the two looks is then told once more, and not lost. It may be the end.
            first, newest = await self._ask(self._ledger.bounds(key))
            record = await self._record(job)
            if record is None:
                raise NotFound("There is no job with this id.")
            looks += 1
            if looks == LOOKS or await self._ask(self._ledger.bounds(key)) == (first, newest):
                return record, first, newest

    async def _record(self, job: str) -> JobRecord | None:
        return (await self._ask(self._ledger.run(operations.read_jobs([job]))))[0]

    async def _view(self, job: str) -> dict[str, Any] | None:
        record = await self._record(job)
        return job_view(record) if record else None

    async def _exists(self, job: str) -> bool:
        return (await self._ask(self._ledger.run(operations.states([job]))))[job][0] != ""

    async def _ask(self, question: Awaitable[T]) -> T:
        async with self._asking:
            return await question

    # ------------------------------------------------------------------ all jobs

    async def of_all(self, last: str | None, owner: str | None = None) -> AsyncIterator[Event]:
        """Everybody's events (or one owner's) behind `last` (or from now on), under the ids of the one feed. `end` and
        `state` carry the whole job.
        """
        with self.watching(None) as bell:
            _, newest = await self._ask(self._ledger.bounds("feed"))
            after = newest
            if last is not None and _STREAM_ID.fullmatch(last) and _order(last) <= _order(newest):
                after = last  # of what was trimmed away since, the rest is told
            while True:
                bell.clear()
                recent = self._recent.behind(after)
                entries = recent
                if entries is None:
                    entries = await self._ask(self._ledger.events("feed", after, count=PAGE))
                for event_id, kind, data, whose in entries:
                    after = event_id
                    if owner is not None and whose != owner:
                        continue
                    payload = _told(data)
                    if kind in ("end", "state"):
                        payload = await self._view_at(event_id, payload["id"]) or payload
                    yield Event(event_id, kind, payload)
                if recent is not None or len(entries) < PAGE:  # else there may be more, for which no bell rings
                    await bell.wait()

    async def _view_at(self, event_id: str, job: str) -> dict[str, Any] | None:
        """The job when this was told of it: read once for all who watch."""
        task = self._views.get(event_id)
        if task is None:
            task = self._views[event_id] = asyncio.get_running_loop().create_task(self._view(job))
            task.add_done_callback(_looked_at)
            while len(self._views) > PAGE:
                del self._views[next(iter(self._views))]
        try:
            return await asyncio.shield(task)
        except EngineError:
            self._views.pop(event_id, None)
            raise


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Everybody who asked may have left before it failed: then nobody else takes the error."""
    if not task.cancelled():
        task.exception()


def _told(data: bytes) -> dict[str, Any]:
    """Lua leaves an empty list out: it cannot tell it from an empty object."""
    found: dict[str, Any] = msgspec.json.decode(data)
    return {"transfers": [], **found}


def _order(stream_id: str) -> tuple[int, int]:
    ms, _, count = stream_id.partition("-")
    return int(ms), int(count)


__all__ = ["EngineError", "Event", "Feed"]
