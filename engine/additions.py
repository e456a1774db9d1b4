"""What it means to add destinations to a job: which of them are new, what is written down, the operation that adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends.config import UnknownDestination
from engine.digests import Digest
from engine.errors import Conflict, Invalid
from engine.models import JOB_OVER, Sidecar, TransferPlan, dumps
from engine.operations import Operation, milliseconds
from engine.records import JobRecord, Token, TransferRecord, text, tokens_of
from engine.submission import MAX_DESTINATIONS, Desk

CLOSED = ("receiving", "cancelling", "cancelled", "expired")
"""States in which nothing can be added to a job, whatever its source is."""


def add(sidecar: Sidecar, lease_seconds: float, *, remade: bool = False) -> Operation[tuple[str, str, list[Token]]]:
    """Gives the job those transfers of the sidecar that it has not got; in the sidecar's run, the next one when it is
    over. `remade`: Redis may have lost them, the disk is speaking.

    Answers (done | already | conflict | unseen | source_gone | ended | missing, state, tokens to send).
    """
    spec = sidecar.spec
    spooled = "1" if spec.source.spooled else ""
    stalled_ms = milliseconds(lease_seconds * 2)
    args = (spec.id, sidecar.run, spooled, stalled_ms, "1" if remade else "", dumps(sidecar.transfers))

    def read(reply: list[Any]) -> tuple[str, str, list[Token]]:
        words = [text(word) for word in reply]
        lane = "low" if spec.priority == "low" else "small"
        return words[0], words[1], [token._replace(lane=lane) for token in tokens_of(words[2:])]

    return Operation("add", args, read)


def new_destinations(desk: Desk, record: JobRecord, names: Sequence[str]) -> list[str]:
    """Those of the named destinations (the members of routes included) that the job has not got.

    Raises Invalid for one that is not known, for one of this job that failed, and for too many.
    """
    states = {one.fields["destination"]: one.fields["state"] for one in record.transfers}
    found: dict[str, None] = {}
    errors = []
    for index, name in enumerate(names):
        try:
            members = desk.configuration.expand([name])
        except UnknownDestination as error:
            detail = [{"pointer": f"/destinations/{index}", "detail": str(error)}]
            raise Invalid(str(error), code="unknown_destination", errors=detail) from None
        for one in members:
            if states.get(one) in ("failed", "cancelled"):
                errors.append({"pointer": f"/destinations/{index}", "detail": _failed(one)})
            elif one not in states:
                found[one] = None
    if len(states) + len(found) > MAX_DESTINATIONS:
        detail_of_all = f"A job goes to at most {MAX_DESTINATIONS} destinations; this one goes to {len(states)}."
        errors.append({"pointer": "/destinations", "detail": detail_of_all})
    if errors:
        raise Invalid(errors[0]["detail"], errors=errors)
    return list(found)


def _failed(destination: str) -> str:
    return f"This job goes to {destination!r} already, and failed there: retry the job when it is over."


def check_open(record: JobRecord) -> None:
    """Raises Conflict when nothing can be added to this job in its state."""
    if record.state in CLOSED:
        raise closed(record.state)


def check_source(record: JobRecord) -> None:
    """Raises Conflict when the job's source is not there any more, as far as the ledger knows, or not known yet."""
    if not record.fields.get("size"):
        raise unseen(record.state)
    kept = record.state != "succeeded" and float(record.fields.get("until") or 0) > record.now_ms
    if record.state in JOB_OVER and record.spec.source.spooled and not kept:
        raise gone()


def closed(state: str) -> Conflict:
    advice = "wait until it is accepted" if state == "receiving" else "submit the file again"
    return Conflict(f"A job that is {state} gets no further destination: {advice}.")


def gone() -> Conflict:
    return Conflict("The job's file is no longer kept: submit it again, to the new destination.", code="source_gone")


def unseen(state: str) -> Conflict:
    if state in JOB_OVER:
        return Conflict("The job's source could not be looked at: retry the job first, then add to it.")
    detail = "Nobody has looked at the job's source yet, so nothing can be planned: ask again in a moment."
    return Conflict(detail, retryable=True, retry_after=1)


def wish_of(record: JobRecord, plans: Sequence[TransferPlan], accepted_ms: int) -> Sidecar:
    """The job with these transfers as it is written down before the ledger is asked: in the run that is going on, or
    the next one. The digests of a spooled file stay with its own sidecar.
    """
    run = int(record.fields.get("run") or 1) + (record.state in JOB_OVER)
    known = [_plan_of(one) for one in record.transfers]
    digest = Digest.unread(int(record.fields["size"]))
    return Sidecar(spec=record.spec, digest=digest, run=run, accepted_ms=accepted_ms, transfers=[*known, *plans])


def _plan_of(one: TransferRecord) -> TransferPlan:
    """A transfer's plan, out of the ledger. Of one that succeeded less is known; made again, it is planned again."""
    fields = one.fields
    return TransferPlan(
        destination=fields["destination"],
        backend=fields["backend"],
        key=fields["key"],
        claim=fields["claim"],
        url=fields["url"],
        fingerprint=fields.get("fingerprint", ""),
        part_size=int(fields["part_size"]),
        total=int(fields["total"]),
        window=int(fields.get("window") or 1),
        whole=fields.get("whole") == "1",
        ordered=fields.get("ordered") == "1",
        priority=fields.get("priority", "normal"),  # type: ignore[arg-type]
    )
