"""`bucketline keys`: makes, lists, revokes and moves the API keys that the ledger knows."""

import argparse
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from bucketline import grants
from bucketline.cli import say, settings_for
from bucketline.exits import FAILED, FINE, USAGE, Failure
from bucketline.report import human_size
from bucketline.serve import redis_away, with_redis
from bucketline.talk import print_json
from bucketline.words import nearest
from engine.config import Settings

ACTIONS = ("add", "list", "revoke", "export", "import")


def run(arguments: argparse.Namespace) -> int:
    from engine.errors import LedgerUnavailable

    action, names = arguments.action, arguments.names
    if action not in ACTIONS:
        raise Failure(USAGE, f"{action!r} is none of {', '.join(ACTIONS)}{nearest(action, ACTIONS)}")
    if action == "add" and len(names) != 1:
        raise Failure(USAGE, "`bucketline keys add` takes one name: what the key is for")
    if action == "revoke" and not names:
        raise Failure(USAGE, "`bucketline keys revoke` takes the ids of keys", "`bucketline keys list` shows them")
    if action in ("list", "export", "import") and names:
        raise Failure(USAGE, f"`bucketline keys {action}` takes no names")
    settings = with_redis(settings_for(arguments))
    work = {"add": _add, "list": _list, "revoke": _revoke, "export": _export, "import": _import}[action]
    try:
        return work(arguments, settings)
    except LedgerUnavailable as error:
        raise redis_away(error) from None


def _add(arguments: argparse.Namespace, settings: Settings) -> int:
    from engine import admission, credentials
    from engine.access import ApiKey

    fresh = credentials.fresh("key")
    key = ApiKey(
        id=fresh.id,
        hash=fresh.hash,
        name=grants.label(arguments.names[0]),
        grant=grants.grant(arguments, settings),
        quotas=grants.quotas(arguments),
        created_ms=int(time.time() * 1000),
        expires_ms=grants.expiry(arguments.expires),
    )
    if not _run(settings, admission.add_key(key)):
        raise Failure(FAILED, "this key's id is taken, by a rare chance; run the command again")
    _note(settings, "add_key", fresh.id)
    if arguments.json:
        print_json({**_view(key, "active", 0), "key": fresh.text})
    else:
        say(f"key {fresh.id} ({key.name}); its text is shown only now, and cannot be had again")
        print(fresh.text)
    if not settings.api_key:
        say(
            "warning: BUCKETLINE_API_KEY is not set here; an API without it asks nobody for a key, "
            "and serves this machine only"
        )
    return FINE


def _list(arguments: argparse.Namespace, settings: Settings) -> int:
    from bucketline.jobs import table
    from engine import admission

    found = _run(settings, admission.list_keys())
    if arguments.json:
        for one in found:
            print_json(_view(one.key, one.state, one.jobs))
        return FINE
    rows = [("ID", "STATE", "NAME", "SCOPES", "DESTINATIONS", "PREFIXES", "LIMITS", "EXPIRES", "JOBS")]
    for one in found:
        grant = one.key.grant
        rows.append(
            (
                one.key.id,
                one.state,
                one.key.name,
                ",".join(grant.scopes),
                ",".join(grant.destinations) or "all",
                ",".join(grant.prefixes) or "all",
                _limits(one.key),
                _moment(one.key.expires_ms) or "never",
                str(one.jobs),
            )
        )
    if found:
        table(rows)
    else:
        say("there are no keys but BUCKETLINE_API_KEY; `bucketline keys add NAME` makes one")
    return FINE


def _limits(key: Any) -> str:
    size, quotas = key.grant.max_size, key.quotas
    told = (
        size and f"{human_size(size)} a file",
        quotas.bytes_per_day and f"{human_size(quotas.bytes_per_day)} a day",
        quotas.requests_per_minute and f"{quotas.requests_per_minute} a minute",
        quotas.jobs and f"{quotas.jobs} jobs",
    )
    return ", ".join(filter(None, told)) or "none"


def _revoke(arguments: argparse.Namespace, settings: Settings) -> int:
    from engine import admission

    code = FINE
    for key in arguments.names:
        verdict = _run(settings, admission.revoke_key(key)) if re.fullmatch(r"[0-9a-f]{12}", key) else "missing"
        if verdict == "done":
            _note(settings, "revoke_key", key)
        code = FAILED if verdict == "missing" else code
        told = {"done": "revoked", "already": "was revoked already", "missing": "there is no key with this id"}[verdict]
        if arguments.json:
            print_json({"id": key, "revoked": verdict != "missing"})
        else:
            (say if verdict == "missing" else print)(f"{key}: {told}")
    return code


def _export(arguments: argparse.Namespace, settings: Settings) -> int:
    """The keys that are in force as `import` takes them: with hashes, without secrets."""
    from engine import admission

    for one in _run(settings, admission.list_keys()):
        if one.state == "active":
            print_json(one.key)
    return FINE


def _import(arguments: argparse.Namespace, settings: Settings) -> int:
    """Puts exported keys into a Redis that has lost them; what is there stays as it is, revoked ones too."""
    from engine import admission
    from engine.access import ApiKey

    try:
        found = [msgspec.json.decode(line, type=ApiKey) for line in sys.stdin.buffer if line.strip()]
    except msgspec.MsgspecError as error:
        raise Failure(USAGE, f"this is not what `bucketline keys export` wrote: {error}") from None
    added = 0
    for key in found:
        if not re.fullmatch(r"[0-9a-f]{12}", key.id) or not re.fullmatch(r"[0-9a-f]{64}", key.hash):
            raise Failure(
                USAGE, f"this is not what `bucketline keys export` wrote: {key.id[:20]!r} has no hash of a key"
            )
    for key in found:
        if _run(settings, admission.add_key(key)):
            _note(settings, "import_key", key.id)
            added += 1
    if arguments.json:
        print_json({"added": added, "known": len(found) - added})
    else:
        say(f"{added} of {len(found)} keys were missing, and are there again")
    return FINE


def _run(settings: Settings, operation: Any) -> Any:
    from engine.ledger import Ledger

    ledger = Ledger(settings.redis_url)
    try:
        return ledger.run(operation)
    finally:
        ledger.close()


def _note(settings: Settings, action: str, key: str) -> None:
    """Into the audit log of this machine's spool, with the name of who ran the command."""
    import getpass

    from engine.audit import Audit

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    log = Audit(settings.spool, settings.audit_days)
    log.note(action, made=key, user=user)
    log.close()


def _moment(ms: int) -> str | None:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}" if ms else None


def _view(key: Any, state: str, jobs: int) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "state": state,
        "scopes": list(key.grant.scopes),
        "destinations": list(key.grant.destinations) or None,
        "prefixes": list(key.grant.prefixes) or None,
        "max_size": key.grant.max_size,
        "quotas": msgspec.to_builtins(key.quotas),
        "created_at": _moment(key.created_ms),
        "expires_at": _moment(key.expires_ms),
        "unfinished_jobs": jobs,
    }
