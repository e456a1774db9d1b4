"""How jobs, parts and events look from outside: pure functions from what the ledger has to JSON-able values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from backends.addresses import place_of
from backends.base import FURTHER_PROPERTIES
from engine.errors import TITLES
from engine.models import JOB_OVER, TRANSFER_OVER, JobSpec
from engine.planner import Plan
from engine.records import JobRecord, TransferRecord, crc_text, unpack_receipt

Json = dict[str, Any]
WORKER_LOST = "Its lease ran out without a word from its worker; another attempt began."


def moment(ms: int | str | None) -> str | None:
    """RFC 3339 in UTC with milliseconds and Z; None for nothing."""
    if not ms or not float(ms):
        return None
    at = datetime.fromtimestamp(int(float(ms)) / 1000, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def job_view(record: JobRecord) -> Json:
    """The job as clients see it."""
    fields, spec = record.fields, record.spec
    size = int(fields["size"]) if fields.get("size") else None
    transfers = [transfer_view(one) for one in record.transfers]
    counted = [one["sent"] for one in transfers if one["state"] != "failed"]
    sent = min(counted) if counted else 0
    over = record.state in JOB_OVER
    rate = int(float(fields.get("rate") or 0)) if record.state == "running" else 0
    received = int(fields.get("received") or 0)
    return {
        "id": spec.id,
        "state": record.state,
        "run": int(fields.get("run") or 1),
        "created_at": moment(spec.created_ms),
        "updated_at": moment(fields.get("updated")),
        "finished_at": moment(fields.get("finished")),
        "satisfied_at": moment(fields.get("satisfied")),
        "name": spec.name,
        "key": spec.key,
        "content_type": spec.content_type,
        "metadata": spec.metadata,
        **{name: getattr(spec, name) for name in FURTHER_PROPERTIES if getattr(spec, name)},
        "labels": spec.labels,
        "on_conflict": spec.on_conflict,
        "priority": spec.priority,
        **{name: getattr(spec, name) for name in ("request_id", "traceparent") if getattr(spec, name)},
        "size": size,
        "received": received,
        "sent": sent,
        "in_flight": sum(_in_flight(one) for one in record.transfers),
        "rate": rate,
        "eta_seconds": None if over or not rate or size is None else max(0, round((size - sent) / rate)),
        "checksums": {"crc32c": fields.get("crc32c") or None, "sha256": fields.get("sha256") or None},
        "source": _source_view(spec, fields),
        "transfers": transfers,
        "error": msgspec.json.decode(fields["error"]) if fields.get("error") else None,
        **({"webhook": place_of(spec.webhook).shown} if spec.webhook else {}),
        **{name: getattr(spec, name) for name in ("on_success", "on_failure") if getattr(spec, name)},
        "links": _links(spec.id, record.state),
    }


def _source_view(spec: JobSpec, fields: dict[str, str]) -> Json:
    """What a user may know of it. How long a source stays that is not ours, we cannot tell."""
    source = spec.source
    view: Json = {"kind": source.kind}
    if source.kind == "destination":
        view |= {"destination": source.destination, "key": source.key}
    if source.kind == "url":
        view |= {"url": place_of(source.url).shown, "credentials": source.credentials or None}
    until = moment(fields.get("until")) if fields.get("state") in JOB_OVER else None
    return {**view, "available_until": until if source.spooled or not source.distant else None}


def _links(job: str, state: str) -> Json:
    here = f"/v1/jobs/{job}"
    links = {"self": here, "events": f"{here}/events", "parts": f"{here}/parts"}
    if state in ("failed", "partially_succeeded"):
        links["retry"] = f"{here}/retry"
    elif state not in JOB_OVER:
        links["cancel"] = f"{here}/cancel"
    if state == "paused":
        links["resume"] = f"{here}/resume"
    elif state in ("queued", "running"):
        links["pause"] = f"{here}/pause"
    return links


def transfer_view(record: TransferRecord) -> Json:
    """One transfer as clients see it. Its error is the last failure, or what ended it."""
    fields = record.fields
    total, state = int(fields["total"]), fields["state"]
    error = record.failure or (msgspec.json.decode(fields["error"]) if fields.get("error") else None)
    parts = {
        "total": total,
        "sent": total if state == "succeeded" else record.recorded,
        "in_flight": len(_flying(record)),
        "failing": record.failing,
    }
    return {
        "destination": fields["destination"],
        "backend": fields["backend"],
        "url": fields["url"],
        "state": state,
        "parts": parts,
        "part_size": int(fields["part_size"]),
        "sent": max(int(fields.get("sent") or 0), int(fields.get("floor") or 0)),
        "attempts": int(fields.get("attempts") or 0),
        "next_attempt_at": moment(record.next_due_ms),
        "etag": fields.get("etag") or None,
        "version": fields.get("version") or None,
        "checksum": fields.get("checksum") or None,
        "verified_by": fields.get("verified_by") or None,
        "error": None if state == "succeeded" else _public(error),
    }


def _public(error: Json | None) -> Json | None:
    return error and {
        name: error[name] for name in ("code", "title", "detail", "retryable", "attempt") if name in error
    }


def _flying(record: TransferRecord) -> list[int]:
    """The parts on their way. Number 0 is begin, complete or end, which carry no bytes; of a small file it is the
    file.
    """
    if record.fields["whole"] == "1":
        return [1] if record.leased else []
    return [number for number in record.leased if number > 0]


def _in_flight(record: TransferRecord) -> int:
    fields = record.fields
    if fields["state"] != "uploading":
        return 0
    plan = Plan(int(fields["size"]), int(fields["part_size"]))
    return sum(plan.range(number)[1] for number in _flying(record))


def failures_view(found: Json) -> list[Json]:
    """The latest failed attempts of a transfer, the oldest first."""
    return [_failure_view(one) for one in found["failed"]]


def _failure_view(one: Json) -> Json:
    part = 1 if one["step"] == "whole" else one["number"] or None
    return {
        "at": moment(one["at"]),
        "run": one["run"],
        "step": one["step"],
        "part": part,
        "attempt": one["attempt"],
        "code": one["code"],
        "title": one.get("title") or TITLES.get(one["code"], one["code"]),
        "detail": one.get("detail") or WORKER_LOST,
        "retryable": one["retryable"],
    }


def parts_view(found: Json, run: int) -> list[Json]:
    """Every part of a transfer, in this run of its job. After the end only the sum is kept (decision 4): all parts say
    the same of their state, and their attempts are those that failed and the one that did not.
    """
    fields = found["transfer"]
    if not fields["size"]:
        return []  # nobody has looked at the source
    plan = Plan(int(fields["size"]), int(fields["part_size"]))
    parts = [_part_view(plan, number, fields, found) for number in range(1, plan.total + 1)]
    if fields["state"] in TRANSFER_OVER:
        for one in failures_view({"failed": [one for one in found["failed"] if one["run"] == run]}):
            if one["part"] is not None and one["part"] <= len(parts):
                part = parts[one["part"] - 1]
                part["attempts"] = max(part["attempts"], one["attempt"] + (part["state"] == "sent"))
    return parts


def _part_view(plan: Plan, number: int, fields: dict[str, str], found: Json) -> Json:
    offset, size = plan.range(number)
    name = "0" if fields["whole"] == "1" else str(number)  # a small file's one step has no part number
    view: Json = {
        "number": number,
        "offset": offset,
        "size": size,
        "state": "pending",
        "attempts": int(found["tries"].get(name, 0)),
        "etag": None,
        "checksum": None,
        "error": None,
        "next_attempt_at": None,
    }
    if name in found["receipts"]:
        etag, checksum, crc, attempts = unpack_receipt(found["receipts"][name])
        view |= {
            "state": "sent",
            "attempts": attempts,
            "etag": etag or None,
            "checksum": checksum or f"crc32c:{crc_text(crc)}",
        }
    elif fields["state"] == "succeeded":
        view |= {"state": "sent", "attempts": 1}
        if plan.total == 1:
            view |= {"etag": fields.get("etag") or None, "checksum": fields.get("checksum") or None}
    elif fields["state"] in ("failed", "cancelled"):
        view["state"] = fields["state"]
    elif name in found["leases"]:
        view["state"] = "in_flight"
    elif name in found["due"]:
        view |= {
            "state": "failing" if name in found["errors"] else "pending",
            "next_attempt_at": moment(found["due"][name]),
        }
    if name in found["errors"]:
        view["error"] = _public(msgspec.json.decode(found["errors"][name]))
    return view
