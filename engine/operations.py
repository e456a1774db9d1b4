"""Operations on the ledger as values: a script, its arguments, how to read the answer. Those on jobs stand here.

No I/O happens in this module, nor in those that make further operations: arrivals, leases, upkeep and others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from engine.config import Settings
from engine.models import JobSpec, Sidecar, TransferPlan, dumps
from engine.records import (
    Accepted,
    JobRecord,
    Token,
    counted_tokens,
    job_record,
    text,
    texts,
    tokens_of,
)

T = TypeVar("T")
Arg = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call of a script of engine/scripts. `read` turns Redis' reply (bytes, ints, lists) into the operation's
    result.
    """

    script: str
    args: tuple[Arg, ...]
    read: Callable[[Any], T]


def milliseconds(seconds: float) -> int:
    """A duration as scripts take it."""
    return int(seconds * 1000)


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
        milliseconds(keep_seconds),
        spec.retain_seconds * 1000,
        milliseconds(lease_seconds * 2),
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


def states(jobs: Sequence[str]) -> Operation[dict[str, tuple[str, int]]]:
    """State and run of each job; ('', 0) for those that the ledger does not know."""

    def read(reply: list[Any]) -> dict[str, tuple[str, int]]:
        return {job: (text(reply[2 * i]), int(reply[2 * i + 1])) for i, job in enumerate(jobs)}

    return Operation("states", tuple(jobs), read)
