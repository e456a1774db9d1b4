"""The operations on what a worker holds: leases of steps, and what came of them; values like those of operations.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.models import JobSpec, Sidecar, TransferPlan, dumps
from engine.operations import Arg, Operation, milliseconds
from engine.records import Lease, Onward, onward_of, text

REMEMBERED = 300  # characters of a failed attempt's detail; what fails now is told in full
POISON_CRASHES = 5  # leases of one step that ran out: then it is the step that kills its workers


def lease(transfer: str, mint: int, fence: str, lease_seconds: float, poison: dict[str, Any]) -> Operation[Lease | str]:
    """A token asks for work: a Lease, or the reason why there is none. `poison` is the error of a step that kills its
    workers.
    """
    args = (transfer, mint, fence, milliseconds(lease_seconds), POISON_CRASHES, dumps(poison))

    def read(reply: list[Any]) -> Lease | str:
        if text(reply[0]) == "none":
            return text(reply[1])
        _, step, number, attempt, session, ending, lost, intent, own, run, spec, size, crc, since, now, code, alike = (
            reply
        )
        return Lease(
            transfer=transfer,
            mint=mint,
            fence=fence,
            step=text(step),
            number=int(number),
            attempt=int(attempt),
            session=msgspec.json.decode(session) if session else None,
            ending=text(ending),
            lost_begin=int(lost) == 1,
            intent_ms=int(intent),
            run=int(run),
            spec=msgspec.json.decode(spec, type=JobSpec),
            size=int(size),
            crc32c=text(crc or b""),
            failing_since_ms=int(since),
            now_ms=int(now),
            failed_with=text(code),
            failed_alike=int(alike),
            **msgspec.json.decode(own),
        )

    return Operation("lease", args, read)


def choose(held: Lease, key: str, url: str) -> Operation[bool]:
    """The key that on_conflict chose; False when the lease is lost."""
    return Operation("choose", (held.transfer, held.fence, key, url), bool)


def seen(held: Lease, sidecar: Sidecar, numbers: Sequence[int], keep_seconds: float) -> Operation[Onward]:
    """The source was looked at: `sidecar` says what the job is now. `numbers` are the transfers that begin by it."""
    plans = {str(number): sidecar.transfers[number] for number in numbers}
    args = (
        held.transfer, held.mint, held.fence, sidecar.digest.size, sidecar.crc32c, sidecar.digest.sha256 or "",
        dumps(sidecar.spec), dumps(plans), milliseconds(keep_seconds),
    )  # fmt: skip
    return Operation("seen", args, onward_of)


def taken(held: Lease, count: int) -> Operation[bool]:
    """So many bytes of the source were read into the spool; False when the lease is lost."""
    return Operation("taken", (held.transfer, held.fence, count), bool)


def begun(held: Lease, session: dict[str, Any], key: str = "", url: str = "") -> Operation[Onward]:
    """The provider opened a session."""
    return Operation("begun", (held.transfer, held.mint, held.fence, dumps(session), key, url), onward_of)


def redefine(held: Lease, plan: TransferPlan) -> Operation[Onward]:
    """The destination is defined anew: the transfer begins again there."""
    return Operation("redefine", (held.transfer, held.mint, held.fence, dumps(plan)), onward_of)


def record(held: Lease, size: int, packed: bytes, proved: bool) -> Operation[Onward]:
    """A part is stored. `packed` is the receipt (`pack_receipt`), `proved`: the provider confirmed its checksum."""
    args = (held.transfer, held.mint, held.fence, held.number, size, packed, "1" if proved else "")

    def read(reply: list[Any]) -> Onward:
        return onward_of(reply[:4])._replace(owed=int(reply[4]) == 1)

    return Operation("record", args, read)


def settle(
    held: Lease,
    *,
    etag: str,
    version: str,
    checksum: str,
    verified_by: str,
    crc32c: str = "",
    orphan: str = "",
    key: str = "",
    url: str = "",
) -> Operation[Onward]:
    """The object is complete and verified: the transfer succeeded."""
    args = (held.transfer, held.fence, etag, version, checksum, verified_by, crc32c, orphan, key, url)
    return Operation("settle", args, lambda reply: Onward(text(reply[0]) == "ok", "", 0, 0, text(reply[1])))


def fail(held: Lease, kind: str, problem: dict[str, Any], delay_ms: int) -> Operation[Onward]:
    """A step did not succeed; `kind` is what `retry.decide` said."""
    detail = str(problem["detail"])
    short = detail if len(detail) <= REMEMBERED else f"{detail[: REMEMBERED - 1]}…"
    failure = {**problem, "detail": short, "step": held.step, "number": held.number, "attempt": held.attempt}
    args = (
        held.transfer, held.mint, held.fence, held.number, kind, dumps(problem), delay_ms, held.step, dumps(failure),
    )  # fmt: skip
    return Operation("fail", args, onward_of)


def ended(held: Lease) -> Operation[Onward]:
    """The session of an ending transfer is gone at its provider."""
    return Operation("ended", (held.transfer, held.mint, held.fence), onward_of)


def renew(held: Sequence[Lease], lease_seconds: float) -> Operation[list[bool]]:
    """Prolongs leases; False for each that is lost."""
    flat: list[Arg] = [milliseconds(lease_seconds)]
    for one in held:
        flat += [one.transfer, one.number, one.fence]
    return Operation("renew", tuple(flat), lambda reply: [int(word) == 1 for word in reply])


def receipts(transfer: str) -> Operation[dict[int, bytes]]:
    """All packed receipts of a transfer, by part number."""
    return Operation(
        "receipts", (transfer,), lambda flat: {int(k): v for k, v in zip(flat[::2], flat[1::2], strict=True)}
    )


def flush(jobs: Sequence[str]) -> Operation[int]:
    """Tells the progress events that coalescing held back."""
    return Operation("flush", tuple(jobs), int)
