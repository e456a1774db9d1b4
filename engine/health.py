"""How the whole stands: the system in numbers, and whether new work can be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import notices, operations
from engine.errors import EngineError, LedgerUnavailable

if TYPE_CHECKING:
    from engine.service import AsyncService

Json = dict[str, Any]


class Health:
    """One per API process."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service

    async def stats(self) -> Json:
        """The system in numbers."""
        service = self._service
        found = await service.ledger.run(notices.stats())
        usage = service.spool.usage()
        running = await service.ledger.run(operations.page("jobs:running", "", 200))
        records = await service.ledger.run(operations.read_jobs(running)) if running else []
        rate = sum(int(float(one.fields.get("rate") or 0)) for one in records if one)
        return {
            "jobs": found["jobs"],
            "bytes": {"received": found["totals"].get("received", 0), "sent": found["totals"].get("sent", 0)},
            "rates": {"sent": rate},
            "queues": {"active_transfers": found["active"], "waiting": await self._waiting(found["workers"])},
            "spool": {"used": usage.used, "limit": usage.limit},
            "workers": [
                {"name": one["name"], "node": one.get("node"), "threads": one.get("threads")}
                for one in found["workers"]
            ],
        }

    async def _waiting(self, workers: list[Json]) -> dict[str, int]:
        """Messages by queue, of each node that works and of our own."""
        own = self._service.settings.node
        return await self._service.minter.waiting(sorted({own, *(one.get("node") or own for one in workers)}))

    async def ready(self) -> Json:
        """Whether jobs can be accepted and carried: Redis, spool, configuration, workers."""
        service = self._service
        checks: dict[str, Json] = {
            "config": {
                "ok": True,
                "detail": service.plugins.fault or f"{len(service.configuration.destinations)} destinations",
            }
        }
        try:
            found = await service.ledger.run(notices.stats())
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
            service.spool.room_for(None)
            usage = service.spool.usage()
            checks["spool"] = {"ok": True, "detail": f"{usage.used} of {usage.limit} bytes used"}
        except EngineError as error:
            checks["spool"] = {"ok": False, "detail": error.detail}
        return {"ready": all(check["ok"] for check in checks.values()), "checks": checks}
