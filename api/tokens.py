"""The routes of short-lived tokens: what a web application hands to its page."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import falcon.asgi

from api.access import check_scope, unauthorized
from api.bodies import Body, expected_digests
from api.caller import Caller
from api.jobs import checked_id, write_json
from api.limits import JSON_BODY_BYTES, LARGEST_LENGTH, TOKEN_MOST_SECONDS, TOKEN_MOST_UPLOADS, TOKEN_SECONDS, Pace
from api.problems import Problem, invalid
from api.service import Json, Service
from api.strict import read_json, unknown_parameter
from engine.access import Grant, fault_of_narrowing, folder

_UPLOADS = ("destinations", "prefix", "max_size", "uploads", "webhook")
_MEMBERS = ("job", *_UPLOADS, "ttl_seconds")
_TOKEN_ID = re.compile(r"[0-9a-f]{16}")


class Tokens:
    """`/v1/tokens` and `/v1/tokens/{id}`."""

    def __init__(self, service: Service, pace: Pace | None = None) -> None:
        self._service = service
        self._pace = pace or Pace()

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        caller: Caller = req.scope["bucketline"]
        wish = _wish(await self._read(caller, expected_digests(req.scope["headers"])))
        grant = self._grant(caller, wish)
        if grant.job:
            await self._service.job(grant.job, caller.who)  # 404 for one that this key may not see itself
        uploads = None if grant.job else _number(wish, "uploads", TOKEN_MOST_UPLOADS)
        life = _number(wish, "ttl_seconds", TOKEN_MOST_SECONDS) or TOKEN_SECONDS
        minted = await self._service.gate.mint(caller.who, grant, uploads=uploads, life_seconds=life)
        if minted is None:
            raise unauthorized(error=True)
        caller.note(self._service, "mint_token", made=minted.id, job=grant.job)
        write_json(resp, _view(minted.id, minted.text, minted.expires_ms, grant, uploads), 201)
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("Location", f"/v1/tokens/{minted.id}")

    async def on_delete_one(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, token_id: str) -> None:
        caller: Caller = req.scope["bucketline"]
        if not _TOKEN_ID.fullmatch(token_id) or not await self._service.gate.revoke(caller.who, token_id):
            raise Problem("no_resource", "There is no such token of this key, or it has ended already.")
        caller.note(self._service, "revoke_token", made=token_id)
        resp.status = 204

    async def _read(self, caller: Caller, digests: dict[str, bytes]) -> Any:
        if caller.declared == 0:
            return {}
        if caller.media_type != "application/json":
            raise Problem("unsupported_media_type", "What the token is for is said in an application/json body.")
        declared = caller.declared
        with Body(caller.receive, declared=declared, limit=JSON_BODY_BYTES, digests=digests, pace=self._pace) as body:
            return read_json(await body.read())

    def _grant(self, caller: Caller, wish: Json) -> Grant:
        job = wish.get("job")
        if job is not None:
            for name in _UPLOADS:
                if wish.get(name) is not None:
                    raise invalid(f"/{name}", "A token either looks at one job or submits; leave this out, or job.")
            check_scope(caller.who, "GET", "/v1/jobs")
            return Grant(scopes=("read",), job=checked_id(_text(job, "/job")))
        check_scope(caller.who, "POST", "/v1/jobs")
        grant = Grant(
            scopes=("submit",),
            destinations=self._destinations(wish.get("destinations")),
            prefixes=_prefixes(wish.get("prefix")),
            max_size=_number(wish, "max_size", LARGEST_LENGTH),
            webhook=self._webhook(wish.get("webhook")),
        )
        fault = fault_of_narrowing(caller.who, grant, self._service.destinations.reach)
        if fault is not None:
            pointer, detail = fault
            raise Problem("forbidden", detail, errors=[{"pointer": pointer, "detail": detail}])
        return grant

    def _webhook(self, given: Any) -> str | None:
        if given is None:
            return None
        self._service.check_webhook(_text(given, "/webhook"))
        return str(given)

    def _destinations(self, given: Any) -> tuple[str, ...]:
        names = given if isinstance(given, list) else [] if given is None else [given]
        if given is not None and not names:
            raise invalid("/destinations", "Name at least one destination, or leave this out.")
        for index, name in enumerate(names):
            if not self._service.destinations.reach([_text(name, f"/destinations/{index}")]):
                detail = f"There is no destination or route {name!r}."
                raise invalid(f"/destinations/{index}", detail, code="unknown_destination")
        return tuple(names)


def _wish(document: Any) -> Json:
    if not isinstance(document, dict):
        raise invalid("", "The body must be a JSON object.")
    for name in document:
        if name not in _MEMBERS:
            unknown_parameter(name, _MEMBERS)
    return document


def _prefixes(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    try:
        return (folder(_text(given, "/prefix")),)
    except ValueError as error:
        raise invalid("/prefix", str(error)) from None


def _text(value: Any, pointer: str) -> str:
    if not isinstance(value, str) or not value:
        raise invalid(pointer, "A string is needed.")
    return value


def _number(wish: Json, name: str, most: int) -> int | None:
    value = wish.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise invalid(f"/{name}", f"A number from 1 to {most} is needed.")
    return value


def _view(token_id: str, text: str, expires_ms: int, grant: Grant, uploads: int | None) -> Json:
    ends = datetime.fromtimestamp(expires_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    view: Json = {"id": token_id, "token": text, "expires_at": ends}
    if grant.job:
        return {**view, "job": grant.job}
    return {
        **view,
        "destinations": list(grant.destinations) or None,
        "prefix": grant.prefixes[0] if grant.prefixes else None,
        "max_size": grant.max_size,
        "uploads": uploads,
        "webhook": grant.webhook,
    }
