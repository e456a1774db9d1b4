"""The route of the audit log: who did what."""

from __future__ import annotations

import re

import falcon.asgi

from api.jobs import write_json
from api.limits import AUDIT_MOST, LIST_DEFAULT
from api.problems import invalid
from api.service import Service
from api.strict import query_pairs, unknown_parameter

_PARAMETERS = ("limit", "key", "job")


class AuditLog:
    """`/v1/audit`: the newest lines first."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        asked: dict[str, str] = {}
        for name, value in query_pairs(req.scope["query_string"]):
            if name not in _PARAMETERS:
                unknown_parameter(name, _PARAMETERS)
            asked[name] = value
        limit = asked.get("limit", str(LIST_DEFAULT))
        if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= AUDIT_MOST:
            raise invalid("/limit", f"A number from 1 to {AUDIT_MOST} is needed.")
        items = await self._service.audit_lines(limit=int(limit), key=asked.get("key"), job=asked.get("job"))
        write_json(resp, {"items": items})

    on_head = on_get
