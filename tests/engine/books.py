"""The ledger as the tests of its scripts use it: real scripts, with a clock that moves only when told to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from engine import additions, leases, operations, upkeep
from engine.digests import Digest
from engine.ledger import Ledger
from engine.models import JOB_OVER, JobSpec, Sidecar, Source, TransferPlan
from engine.operations import Operation
from engine.records import Accepted, JobRecord, Lease, Onward, Sweep, TransferRecord, pack_receipt
from tests.simulation.servers import Server

T = TypeVar("T")

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
PART = 16
POISON = {"code": "poison", "title": "Poison", "detail": "It kills workers.", "retryable": False}
TROUBLE = {"code": "unavailable", "title": "Away", "detail": "The provider is away.", "retryable": True}
SESSION = {"id": "session-1"}


def job_id(number: int = 1) -> str:
    """Ids of jobs sort like their numbers."""
    return f"01940c9e-0000-7000-8000-{number:012}"


def tid(number: int = 1, transfer: int = 0) -> str:
    return f"{job_id(number)}/{transfer}"


def spec_of(number: int = 1, **changes: Any) -> JobSpec:
    spec = JobSpec(
        id=job_id(number), created_ms=NOON_MS, name=f"file-{number}", key=f"key-{number}", key_template="{name}",
        destinations=["media"], node="n1", owner="bootstrap",
    )  # fmt: skip
    return msgspec.structs.replace(spec, **changes)


def plan_of(
    destination: str = "media", *, parts: int = 3, window: int = 2, key: str = "key-1", ordered: bool = False
) -> TransferPlan:
    return TransferPlan(
        destination=destination, backend="memory", key=key, claim=key, url=f"memory://{destination}/{key}",
        fingerprint="f", part_size=PART, total=parts, window=window, whole=parts == 1, ordered=ordered,
    )  # fmt: skip


def accept_of(
    number: int = 1,
    *,
    parts: int = 3,
    window: int = 2,
    to: Sequence[str] = ("media",),
    key: str | None = None,
    run: int = 1,
    remade: bool = False,
    keep_seconds: float = 600,
    lease_seconds: float = 30,
    ordered: bool = False,
    unseen: bool = False,
    **changes: Any,
) -> Operation[Accepted]:
    """The operation that accepts job `number`: `parts` parts of 16 bytes to each destination. `unseen`: nobody has
    looked at its source, or knows its key.
    """
    spec = spec_of(number, destinations=list(to), **changes)
    if unseen:
        spec = msgspec.structs.replace(spec, key=None, source=Source(kind="url", url="https://a.example/"))
    plans = [plan_of(name, parts=parts, window=window, key=key or f"key-{number}", ordered=ordered) for name in to]
    if unseen:
        unnamed = {"key": "", "claim": f"unnamed/{spec.id}", "part_size": 0, "total": 0, "whole": False, "window": 1}
        plans = [msgspec.structs.replace(plan, **unnamed) for plan in plans]
    return operations.accept(
        spec, plans, size=None if unseen else parts * PART, crc32c="" if unseen else "AAAAAA==", sha256="",
        keep_seconds=keep_seconds, lease_seconds=lease_seconds, run=run, remade=remade,
    )  # fmt: skip


class Books(Ledger):
    """The scripts on a real server (or its twin), at a time that stands still until `later`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.now_ms = NOON_MS
        self._fences: Callable[[], str] = map("fence-{}".format, itertools.count(1)).__next__

    def run(self, operation: Operation[T]) -> T:
        return operation.read(self.server.run(operation.script, operation.args, self.now_ms * 1000))

    def close(self) -> None: ...

    def later(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    # -- what a token does

    def accept(self, number: int = 1, **options: Any) -> Accepted:
        return self.run(accept_of(number, **options))

    def ask(self, transfer: str | None = None, *, mint: int = 1, seconds: float = 30) -> Lease | str:
        """What a token gets: a lease, or the reason why there is none."""
        return self.run(leases.lease(transfer or tid(), mint, self._fences(), seconds, POISON))

    def lease(self, transfer: str | None = None, *, mint: int = 1, seconds: float = 30) -> Lease:
        found = self.ask(transfer, mint=mint, seconds=seconds)
        assert isinstance(found, Lease), found
        return found

    def seen(self, held: Lease, *, parts: int = 3, window: int = 2, key: str = "key-1") -> Onward:
        """The source was looked at, for all transfers."""
        source = msgspec.structs.replace(held.spec.source, seen=True, etag='"e"')
        spec = msgspec.structs.replace(held.spec, source=source, key=key)
        plans = [plan_of(name, parts=parts, window=window, key=key) for name in spec.destinations]
        sidecar = Sidecar(spec=spec, digest=Digest.unread(parts * PART), transfers=plans)
        return self.run(leases.seen(held, sidecar, range(len(plans)), 600))

    def begun(self, held: Lease, **changed: str) -> Onward:
        return self.run(leases.begun(held, SESSION, **changed))

    def record(self, held: Lease, *, proved: bool = True, etag: str = "e") -> Onward:
        packed = pack_receipt(f"{etag}{held.number}", "", held.number, held.attempt)
        return self.run(leases.record(held, held.part_size, packed, proved))

    def settle(self, held: Lease, **said: str) -> Onward:
        known = {"etag": "e", "version": "", "checksum": "crc32c:AAAAAA==", "verified_by": "checksum", **said}
        return self.run(leases.settle(held, **known))

    def fail(self, held: Lease, kind: str, *, seconds: float = 0, problem: dict[str, Any] = TROUBLE) -> Onward:
        return self.run(leases.fail(held, kind, problem, int(seconds * 1000)))

    def ended(self, held: Lease) -> Onward:
        return self.run(leases.ended(held))

    def sweep(self, worker: str = "w1", node: str = "n1", limit: int = 200) -> Sweep:
        return self.run(upkeep.sweep(worker, {"pid": 1}, node, limit))

    def command(self, action: str, number: int = 1) -> tuple[str, str, list[Any]]:
        return self.run(operations.command(job_id(number), action))

    def add(
        self, name: str = "third", number: int = 1, *, run: int | None = None, remade: bool = False, **given: Any
    ) -> tuple[str, str, list[Any]]:
        """A destination is added, to the run that is going on or the next one. `kind`: of the job's source."""
        state, kind = self.job(number), given.pop("kind", "body")
        run = run or int(state.get("run", 1)) + (state.get("state") in JOB_OVER)
        spec = spec_of(number, source=Source(kind=kind))
        sidecar = Sidecar(spec=spec, digest=Digest.unread(0), run=run, transfers=[plan_of(name, **given)])
        return self.run(additions.add(sidecar, 30, remade=remade))

    # -- whole stretches of a job's life

    def begin(self, transfer: str | None = None) -> Onward:
        """A token opens the session."""
        held = self.lease(transfer)
        assert held.step == "begin"
        return self.begun(held)

    def send(self, transfer: str | None = None, parts: int = 1) -> None:
        """Tokens send and record parts."""
        for _ in range(parts):
            held = self.lease(transfer)
            assert held.step == "part"
            assert self.record(held).fresh

    def finish(self, transfer: str | None = None, *, mint: int = 1) -> Onward:
        """Tokens do whatever is left, and all goes well."""
        while True:
            held = self.lease(transfer, mint=mint)
            if held.step == "begin":
                self.begun(held)
            elif held.step == "part":
                self.record(held)
            else:
                return self.settle(held) if held.step in ("whole", "complete") else self.ended(held)

    def lose(self, transfer: str | None = None) -> None:
        """The transfer fails, and its end is reached."""
        held = self.lease(transfer)
        self.fail(held, "fail")
        if self.transfer(transfer).get("ending"):
            self.ended(self.lease(transfer))

    # -- looking

    def job(self, number: int = 1) -> dict[str, str]:
        return dict(self.server.fields(f"job:{job_id(number)}"))

    def transfer(self, transfer: str | None = None) -> dict[str, str]:
        return dict(self.server.fields(f"t:{transfer or tid()}"))

    def state(self, number: int = 1) -> str:
        return self.job(number).get("state", "")

    def tokens(self, transfer: str | None = None) -> int:
        return int(self.transfer(transfer)["tokens"])

    def read(self, number: int = 1) -> JobRecord | None:
        return self.run(operations.read_jobs([job_id(number)]))[0]

    def parts(self, transfer: str | None = None) -> dict[str, dict[str, Any]]:
        return self.run(operations.read_parts(transfer or tid()))

    def one(self, number: int = 1) -> TransferRecord:
        """The only transfer of a job."""
        record = self.read(number)
        assert record is not None
        (found,) = record.transfers
        return found
