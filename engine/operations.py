"""Every operation on the ledger as a value: a script, its arguments, how to read the answer. No I/O happens here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from engine.config import Settings
from engine.measures import Batch
from engine.models import JOB_STATES, JobSpec, Sidecar, TransferPlan, dumps
from engine.records import (
    Accepted,
    JobRecord,
    Lease,
    Onward,
    Sweep,
    Token,
    counted_tokens,
    job_record,
    onward_of,
    pairs,
    text,
    texts,
    tokens_of,
)

T = TypeVar("T")
Arg = str | bytes | int | float

REMEMBERED = 300  # characters of a failed attempt's detail; what fails now is told in full
POISON_CRASHES = 5  # leases of one step that ran out: then it is the step that kills its workers


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call of a script of engine/scripts. `read` turns Redis' reply (bytes, ints, lists) into the operation's
    result.
    """

    script: str
    args: tuple[Arg, ...]
    read: Callable[[Any], T]


# --------------------------------------------------------------------- receptions and jobs


def accept(
    spec: JobSpec,
    plans: Sequence[TransferPlan],
    *,
    size: int | None,
    crc32c: str,
    sha256: str,
    keep_seconds: float,
    lease_seconds: float,
    run: int = 1,
    remade: bool = False,
    early: bool = False,
) -> Operation[Accepted]:
    """Makes the job real. Repeating it is harmless. `remade`: Redis lost it, its sidecar is speaking. `early`: it was
    sent while it was received.

    size: None when nobody has looked at the source; the first step of the job is then to do so.
    """
    args = (
        spec.id,
        dumps(spec),
        spec.owner,
        spec.node,
        "" if size is None else size,
        crc32c,
        sha256,
        run,
        _ms(keep_seconds),
        spec.retain_seconds * 1000,
        _ms(lease_seconds * 2),
        "1" if remade else "",
        spec.created_ms,
        dumps(list(plans)),
        "1" if early else "",
    )

    def read(reply: list[Any]) -> Accepted:
        if text(reply[0]) == "already":
            return Accepted(False, text(reply[1]), [])
        record = job_record(reply[2], int(reply[1]))
        return Accepted(True, record.fields["state"], counted_tokens(texts(reply[3:])), record)

    return Operation("accept", args, read)


def accept_sidecar(sidecar: Sidecar, settings: Settings, *, remade: bool = False) -> Operation[Accepted]:
    """The accept operation for what a sidecar says."""
    return accept(
        sidecar.spec, sidecar.transfers, size=sidecar.size, crc32c=sidecar.crc32c, sha256=sidecar.digest.sha256 or "",
        keep_seconds=keep_seconds(sidecar.spec, settings), lease_seconds=settings.lease_seconds, run=sidecar.run,
        remade=remade, early=sidecar.early,
    )  # fmt: skip


def keep_seconds(spec: JobSpec, settings: Settings) -> int:
    """How long a failed job may be retried: as long as its bytes are kept, or where they are not ours, its record."""
    return spec.retain_seconds if spec.source.distant and not spec.source.spooled else settings.keep_failed_seconds


def seen(held: Lease, sidecar: Sidecar, numbers: Sequence[int], keep_seconds: float) -> Operation[Onward]:
    """The source was looked at: `sidecar` says what the job is now. `numbers` are the transfers that begin by it."""
    plans = {str(number): sidecar.transfers[number] for number in numbers}
    args = (
        held.transfer, held.mint, held.fence, sidecar.digest.size, sidecar.crc32c, sidecar.digest.sha256 or "",
        dumps(sidecar.spec), dumps(plans), _ms(keep_seconds),
    )  # fmt: skip
    return Operation("seen", args, onward_of)


def taken(held: Lease, count: int) -> Operation[bool]:
    """So many bytes of the source were read into the spool; False when the lease is lost."""
    return Operation("taken", (held.transfer, held.fence, count), bool)


def command(job: str, action: str) -> Operation[tuple[str, str, list[Token]]]:
    """cancel, pause, resume or retry. Answers (done | already | conflict | source_gone | missing, state, tokens to
    send).
    """

    def read(reply: list[Any]) -> tuple[str, str, list[Token]]:
        words = [text(word) for word in reply]
        return words[0], words[1], tokens_of(words[2:])

    return Operation("command", (job, action), read)


def forget(job: str) -> Operation[str]:
    """Deletes a finished job's record: done, missing or conflict."""
    return Operation("forget", (job,), text)


def read_jobs(jobs: Sequence[str]) -> Operation[list[JobRecord | None]]:
    """The jobs as they are now, None for each that does not exist."""

    def read(reply: list[Any]) -> list[JobRecord | None]:
        now = int(reply[0])
        return [job_record(one, now) if one else None for one in reply[1:]]

    return Operation("read", tuple(jobs), read)


def read_parts(transfer: str) -> Operation[dict[str, Any]]:
    """One transfer's hash and its receipts, leases, due times, tries and errors by part number (as text); and the list
    of its failed attempts.
    """

    def read(reply: list[Any]) -> dict[str, Any]:
        names = ("transfer", "receipts", "leases", "due", "tries", "errors")
        found: dict[str, Any] = {"failed": [msgspec.json.decode(one) for one in reply[len(names)]]}
        for name, flat in zip(names, reply[: len(names)], strict=True):
            pairs = zip(flat[::2], flat[1::2], strict=True)
            found[name] = {text(k): (v if name == "receipts" else text(v)) for k, v in pairs}
        return found

    return Operation("parts", (transfer,), read)


def page(index: str, after: str, limit: int) -> Operation[list[str]]:
    """Ids of an index ('jobs', 'jobs:STATE', 'owner:OWNER'), newest first, behind the id `after`."""
    return Operation("page", (index, after, limit), texts)


def orphans() -> Operation[tuple[int | None, dict[str, str]]]:
    """The epoch (None: not reconciled yet), and by transfer the JSON of each session that could not be aborted."""
    return Operation("orphans", (), lambda reply: (int(reply[0]) if reply[0] else None, pairs(reply[1])))


def buried(transfer: str, written: str) -> Operation[int]:
    """A session on record, as it was read, is gone at its provider."""
    return Operation("buried", (transfer, written), int)


def stats() -> Operation[dict[str, Any]]:
    """Counts by state, totals in bytes, active transfers, and the workers seen within 15 s with what they said of
    themselves.
    """

    def read(reply: list[Any]) -> dict[str, Any]:
        counts, totals, active, workers, now = reply
        rows = [
            {"name": text(workers[i]), "seen_ms": int(float(workers[i + 1])), **msgspec.json.decode(workers[i + 2])}
            for i in range(0, len(workers), 3)
        ]
        return {
            "jobs": {state: int(count) for state, count in zip(JOB_STATES, counts, strict=True)},
            "totals": {k: int(v) for k, v in pairs(totals).items()},
            "active": int(active),
            "workers": rows,
            "now_ms": int(now),
        }

    return Operation("stats", tuple(JOB_STATES), read)


def count(batch: Batch) -> Operation[bool]:
    """Adds up what a process counted; False when it was added before."""
    words: list[Arg] = [batch.process, batch.number]
    for name, amount in batch.amounts.items():
        words += (name, amount)
    return Operation("count", tuple(words), bool)


def counts() -> Operation[dict[str, str]]:
    """What all processes have counted, by name."""
    return Operation("counts", (), pairs)


def due_hooks(limit: int, claim_seconds: float) -> Operation[list[tuple[str, str]]]:
    """Deliveries that are due, each with how it stands; nobody else gets them for so long."""

    def read(reply: list[Any]) -> list[tuple[str, str]]:
        words = texts(reply)
        return list(zip(words[::2], words[1::2], strict=True))

    return Operation("hooks_due", (limit, _ms(claim_seconds)), read)


def note_hook(delivery: str, standing: bytes, delay_seconds: float | None, tried: str = "") -> Operation[bool]:
    """How a delivery stands; it is tried after the delay, or (None) no more. `tried`: how it stood when the try began.

    False, and nothing is changed, when it is not known any more, or stands otherwise meanwhile.
    """
    delay: Arg = "" if delay_seconds is None else _ms(delay_seconds)
    return Operation("hook_note", (delivery, standing, delay, tried), bool)


def hooks_of(job: str) -> Operation[dict[str, tuple[str, int]]]:
    """A job's deliveries: how each stands, and when it is tried next (0: no more)."""

    def read(reply: list[Any]) -> dict[str, tuple[str, int]]:
        words = texts(reply)
        rows = zip(words[::3], words[1::3], words[2::3], strict=True)
        return {one: (standing, int(float(due or 0))) for one, standing, due in rows}

    return Operation("hooks_of", (job,), read)


# --------------------------------------------------------------------- steps of a transfer


def lease(transfer: str, mint: int, fence: str, lease_seconds: float, poison: dict[str, Any]) -> Operation[Lease | str]:
    """A token asks for work: a Lease, or the reason why there is none. `poison` is the error of a step that kills its
    workers.
    """
    args = (transfer, mint, fence, _ms(lease_seconds), POISON_CRASHES, dumps(poison))

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
    flat: list[Arg] = [_ms(lease_seconds)]
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


# --------------------------------------------------------------------- keeping order


def sweep(
    worker: str,
    info: dict[str, Any],
    node: str,
    limit: int = 200,
    room: tuple[int, int] = (1000, 1000),
    swept_ms: int = 0,
) -> Operation[Sweep]:
    """One round of the sweeper: looks at what is due, says what to do about it.

    room: how many tokens the queue of small steps, and that of parts, may be given in this round.
    """

    def read(reply: list[Any]) -> Sweep:
        epoch, mints, releasable, dead, forgotten, now, before = reply
        tokens = counted_tokens(texts(mints))
        jobs = texts(releasable), texts(dead)
        return Sweep(int(epoch) if epoch else None, tokens, *jobs, int(forgotten), int(now), int(before))

    return Operation("sweep", (worker, dumps(info), node, limit, *room, swept_ms), read)


def released(node: str, jobs: Mapping[str, int]) -> Operation[str]:
    """The node looked after finished jobs' spool files; job → when to look again in ms, 0: for good."""
    return Operation("released", (node, *(word for pair in jobs.items() for word in pair)), text)


def states(jobs: Sequence[str]) -> Operation[dict[str, tuple[str, int]]]:
    """State and run of each job; ('', 0) for those that the ledger does not know."""

    def read(reply: list[Any]) -> dict[str, tuple[str, int]]:
        return {job: (text(reply[2 * i]), int(reply[2 * i + 1])) for i, job in enumerate(jobs)}

    return Operation("states", tuple(jobs), read)


def dump(jobs: Sequence[str]) -> Operation[list[tuple[dict[str, str], list[dict[str, str]]] | None]]:
    """The hashes of jobs and their transfers as their tombstones keep them; None for each that is unknown."""

    def read(reply: list[Any]) -> list[tuple[dict[str, str], list[dict[str, str]]] | None]:
        return [(pairs(one[0]), [pairs(transfer) for transfer in one[1:]]) if one else None for one in reply]

    return Operation("dump", tuple(jobs), read)


def restore(job: str, fields: dict[str, str], transfers: list[dict[str, str]]) -> Operation[bool]:
    """Puts the end of a job back into a ledger that lost it."""
    return Operation("restore", (job, dumps({"job": fields, "transfers": transfers})), bool)


def mark_reconciled(at_least: int = 0, seen: int = 0) -> Operation[int]:
    """Writes the next epoch: the ledger has been compared with the spool."""
    return Operation("epoch", (at_least, seen), int)


def suspect_sessions() -> Operation[int]:
    """After a rollback: every active transfer may have a session that the ledger does not know."""
    return Operation("suspect", (), int)


def note_check(request: str, destination: str, result: dict[str, Any]) -> Operation[str]:
    """A worker checked a destination."""
    return Operation("note", (request, destination, dumps(result)), text)


def noted_checks(request: str = "") -> Operation[tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]]:
    """The result of one check (None: not yet), and the last result for every destination."""

    def read(reply: list[Any]) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
        health = {name: msgspec.json.decode(result) for name, result in pairs(reply[1]).items()}
        return (msgspec.json.decode(reply[0]) if reply[0] else None), health

    return Operation("noted", (request,), read)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
