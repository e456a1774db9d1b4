"""Pages of jobs: indexed by state and API key, filtered by everything else within a bounded look."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NamedTuple

from engine import operations
from engine.errors import EngineError
from engine.ledger import AsyncLedger
from engine.records import JobRecord
from engine.views import job_view

LOOKED_AT = 2000  # jobs per request that filters without an index may read
CHUNK = 200

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Query(NamedTuple):
    """What is asked for; None is no filter. `q` is an id or the start of a name, `limit` the items of a page."""

    state: str | None
    destinations: frozenset[str] | None
    labels: dict[str, str]
    q: str | None
    limit: int
    cursor: str | None
    owner: str | None

    @property
    def listed_in(self) -> str:
        if self.state is not None:
            return f"jobs:{self.state}"
        return "jobs" if self.owner is None else f"owner:{self.owner}"


async def list_jobs(ledger: AsyncLedger, query: Query) -> dict[str, Any]:
    """{"items": [...], "next_cursor": …}. A page may have few items and a cursor: then the look was bounded, not the
    result.
    """
    if query.q is not None and _ID.fullmatch(query.q):
        found = await ledger.run(operations.read_jobs([query.q]))
        return {
            "items": [job_view(one) for one in found if one and _fits(one, query._replace(q=None))],
            "next_cursor": None,
        }
    after = _decode(query.cursor)
    items: list[dict[str, Any]] = []
    looked = 0
    while looked < LOOKED_AT:
        count = min(CHUNK, query.limit + 1) if _indexed(query) else CHUNK
        ids = await ledger.run(operations.page(query.listed_in, after, count))
        for record in await ledger.run(operations.read_jobs(ids)) if ids else []:
            looked += 1
            if record is None or not _fits(record, query):
                after = record.spec.id if record else after
                continue
            if len(items) == query.limit:
                return {"items": items, "next_cursor": _encode(after)}
            items.append(job_view(record))
            after = record.spec.id
        if len(ids) < count:
            return {"items": items, "next_cursor": None}
        after = ids[-1]
    return {"items": items, "next_cursor": _encode(after)}


def _indexed(query: Query) -> bool:
    return (
        not query.labels
        and query.q is None
        and query.destinations is None
        and (query.owner is None or query.state is None)
    )


def _fits(record: JobRecord, query: Query) -> bool:
    spec = record.spec
    return (
        (query.state is None or record.state == query.state)
        and (query.owner is None or spec.owner == query.owner)
        and (query.destinations is None or query.destinations <= _destinations(record))
        and query.labels.items() <= spec.labels.items()
        and (query.q is None or spec.name.startswith(query.q))
    )


def _destinations(record: JobRecord) -> set[str]:
    """As it was submitted, and what was added since."""
    return {*record.spec.destinations, *(one.fields["destination"] for one in record.transfers)}


def _encode(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def _decode(cursor: str | None) -> str:
    if cursor is None:
        return ""
    try:
        after = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        after = ""
    if not _ID.fullmatch(after):
        raise EngineError("This cursor did not come from here; start without one.", code="bad_cursor")
    return after
