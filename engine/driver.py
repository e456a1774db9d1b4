"""Runs a step: makes the calls it yields on a real backend, and stops before the next effect when the lease is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from backends import checksums
from backends.base import Body
from backends.body import ReaderAround
from backends.errors import AccessDenied, IntegrityError, InvalidRequest
from backends.registry import Destination
from backends.tracing import traceparent
from engine import leases
from engine.errors import EngineError
from engine.looking import carried_instead, copier, cut_for, look
from engine.planner import Unplannable
from engine.planning import plan_for, transfer_plan
from engine.records import Lease
from engine.retry import GivenBack
from engine.runtime import Errand, Runtime, Store
from engine.spans import Span, code_of, of_step
from engine.steps import step_of
from engine.work import Call, Ended, Outcome, Redefined, Work

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import WriteableBuffer


class LeaseLost(GivenBack):
    """Somebody else may be working on this step already: its report would be refused anyway."""


def perform(runtime: Runtime, errand: Errand) -> Outcome:
    """The outcome of the errand's step. Raises what the step could not handle: BackendError, EngineError, GivenBack."""
    held = errand.lease
    if held.step == "look":
        return look(runtime, held)
    if held.step == "end" and held.spec.source.unseen:
        return Ended()  # there was no plan to begin with
    store = runtime.store_of(held)
    if store.destination.fingerprint != held.fingerprint:
        return _plan_again(runtime, held, store)
    copies = copier(runtime, held.spec, store) if held.step == "whole" else None
    if copies is None and _was_to_be_copied(held, store.destination):
        return carried_instead(runtime, held, store.destination)
    work = Work(
        lease=held,
        source=runtime.source(held) if held.step != "end" else _Recalled(held),
        capabilities=store.backend.capabilities,
        abilities=store.abilities,
        url_of=lambda key: store.destination.url_for(key.removeprefix(store.destination.prefix)),
        receipts=runtime.ledger.run(leases.receipts(held.transfer)) if _needs_receipts(held) else {},
        defaults=store.destination.properties,
        copies=(copies.backend, copies.destination.full_key(held.spec.source.key)) if copies is not None else None,
    )
    try:
        return _drive(runtime, errand, store, work)
    except (AccessDenied, InvalidRequest):
        if copies is None:
            raise
        return carried_instead(runtime, held, store.destination)


def _needs_receipts(held: Lease) -> bool:
    """They join the object; and where nobody has read the source whole, they are what a found object is judged by."""
    return held.step == "complete" or (held.step == "end" and not held.crc32c)


def _was_to_be_copied(held: Lease, destination: Destination) -> bool:
    """Whether the plan is one step only because the destination could copy from the source when it was made."""
    whole = held.step == "whole" and held.spec.source.kind == "destination"
    return whole and held.size > plan_for(destination, held.size).part_size


def _plan_again(runtime: Runtime, held: Lease, store: Store) -> Outcome:
    """Another definition stands in plugins.toml than when the transfer was planned: it begins again, on that one."""
    destination = store.destination
    if held.step == "end":
        raise EngineError(
            f"The definition of destination {destination.name!r} changed; what was begun there cannot be taken back.",
            code="destination_changed",
        )
    try:
        cut = cut_for(runtime, held.spec, store, held.size)
    except Unplannable as error:
        detail = f"Destination {destination.name!r} is defined anew, and cannot take this file: {error}."
        raise EngineError(detail, code="destination_changed") from error
    return Redefined(transfer_plan(held.spec, destination, destination.fingerprint, cut))


def _drive(runtime: Runtime, errand: Errand, store: Store, work: Work) -> Outcome:
    step = step_of(work)
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            call = step.throw(error) if error is not None else step.send(answer)
        except StopIteration as finished:
            outcome: Outcome = finished.value
            return outcome
        answer = error = None
        if runtime.stale(errand):
            raise LeaseLost
        if runtime.interrupted.is_set():
            raise GivenBack
        try:
            answer = _call(runtime, errand, store, call)
        except Exception as failure:
            error = failure


def _call(runtime: Runtime, errand: Errand, store: Store, call: Call) -> Any:
    if call.verb == "choose":
        if not runtime.ledger.insist(leases.choose(errand.lease, *call.args), stopped=runtime.interrupted.is_set):
            raise LeaseLost
        return None
    if call.verb == "read_back":
        return _read_back(runtime, errand, store.backend, *call.args)
    args = tuple(
        _Interruptible(arg, runtime, errand) if hasattr(arg, "crc32c") and hasattr(arg, "open") else arg
        for arg in call.args
    )
    with _traced(runtime, errand, call) as span:
        found = getattr(store.backend, call.verb)(*args, **call.kwargs)
        span.set("bucketline.outcome", "ok")
    return found


@contextmanager
def _traced(runtime: Runtime, errand: Errand, call: Call) -> Iterator[Span]:
    """The call as a span below its step's; requests on the way carry it to the provider."""
    parent = errand.span.traceparent if errand.span is not None else errand.lease.spec.traceparent
    if not runtime.spans.tracing:
        yield Span(parent)
        return
    size = next((arg.size for arg in call.args if hasattr(arg, "crc32c") and hasattr(arg, "open")), None)
    with runtime.spans.start(call.verb, parent, "client", of_step(errand.lease)) as span:
        span.set("bucketline.bytes", size)
        before = traceparent.set(span.traceparent)
        try:
            yield span
        except BaseException as error:
            span.set("bucketline.outcome", code_of(error))
            raise
        finally:
            traceparent.reset(before)


def _read_back(runtime: Runtime, errand: Errand, backend: Any, key: str, size: int) -> int:
    crc, seen = 0, 0
    if size:
        blocks: Iterator[bytes] = backend.read_range(key, 0, size)
        for block in blocks:
            if runtime.interrupted.is_set() or runtime.stale(errand):
                raise GivenBack
            crc = checksums.crc32c(block, crc)
            seen += len(block)
    if seen != size:
        raise IntegrityError(f"Reading the object back gave {seen} bytes instead of {size}.")
    return crc


class _Recalled:
    """The source of an ending transfer: it is not read any more, and may be gone; what the ledger knows of it is
    enough to judge an object.
    """

    def __init__(self, held: Lease) -> None:
        told = f"crc32c:{held.crc32c}" if held.crc32c else held.spec.source.checksum
        self.crc32c = checksums.crc32c_value(told)

    def body(self, offset: int, size: int) -> Body:
        raise EngineError("An ending transfer reads no source.")

    def intact(self, offset: int, size: int) -> bool:
        return True


class _Interruptible:
    """A body whose readers stop, with GivenBack, when the worker has to go or the lease is lost: a part is given back
    midway.
    """

    def __init__(self, body: Body, runtime: Runtime, errand: Errand) -> None:
        self._body, self._runtime, self._errand = body, runtime, errand
        self.size, self.crc32c = body.size, body.crc32c

    def open(self) -> BinaryIO:
        return cast(BinaryIO, _InterruptibleReader(self._body.open(), self._runtime, self._errand))

    def file(self) -> tuple[Path, int] | None:
        return self._body.file()


class _InterruptibleReader(ReaderAround):
    def __init__(self, reader: BinaryIO, runtime: Runtime, errand: Errand) -> None:
        super().__init__(reader)
        self._runtime, self._errand = runtime, errand

    def _check(self) -> None:
        if self._runtime.interrupted.is_set() or self._runtime.stale(self._errand):
            raise GivenBack

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return self._reader.read(-1 if size is None else size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._check()
        return int(self._reader.readinto(buffer))  # type: ignore[attr-defined]

    def readall(self) -> bytes:
        return self.read()
