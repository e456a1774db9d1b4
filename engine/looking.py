"""The first step of a job whose source nobody has seen: what is there, and how it goes to each destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from backends.base import CopiesServerSide
from backends.errors import BackendError
from backends.registry import Destination
from engine import content_types
from engine.attributes import fault_of_content_type
from engine.digests import Digest
from engine.errors import EngineError, TooLarge
from engine.known import known_sidecar
from engine.models import JobSpec, Sidecar, TransferPlan
from engine.planner import Plan
from engine.planning import Planning, plan_for, transfer_plan
from engine.records import Lease
from engine.stored import pinned
from engine.work import Seen

if TYPE_CHECKING:
    from engine.runtime import Runtime, Store


def look(runtime: Runtime, held: Lease) -> Seen:
    """The outcome of looking at the source; raises EngineError `source_missing` or `source_refused`, and others."""
    spec = held.spec
    known = _known(runtime, held)
    for plan in known.transfers if known is not None else []:
        runtime.follow(plan.destination, plan.fingerprint)  # what was submitted for a new place is planned for that one
    if known is not None and known.spec.source.seen:
        return planned(runtime, held, known.spec, known.digest)  # it was seen before, and Redis forgot
    if spec.source.kind == "url":
        from engine.importing import import_from_web  # brings a client for the web along

        return import_from_web(runtime, held)
    found = runtime.stored(spec).look()
    told = found.content_type if fault_of_content_type(found.content_type or "") is None else None
    kind = spec.content_type or told or content_types.by_name(spec.name) or content_types.UNKNOWN
    spec = msgspec.structs.replace(spec, content_type=kind, source=pinned(spec.source, found))
    return planned(runtime, held, spec, Digest.unread(found.size))


def planned(runtime: Runtime, held: Lease, spec: JobSpec, digest: Digest, head: bytes = b"") -> Seen:
    """Every transfer of the job gets its plan; raises TooLarge, or Invalid where there is none."""
    limit = runtime.settings.max_size
    if limit is not None and digest.size > limit:
        raise TooLarge(f"The source has {digest.size} bytes; this server takes at most {limit} (BUCKETLINE_MAX_SIZE).")
    spec, plans = Planning(runtime.configuration, runtime.settings).finish(spec, digest, head)
    plans = [_copied(plan, digest.size) if _copies(runtime, spec, plan) else plan for plan in plans]
    return Seen(_sidecar(runtime, held, spec, digest, plans), tuple(range(len(plans))))


def carried_instead(runtime: Runtime, held: Lease, destination: Destination) -> Seen:
    """The stores do not copy the source by themselves: this transfer begins again, and workers carry the bytes."""
    spec = msgspec.structs.replace(held.spec, source=msgspec.structs.replace(held.spec.source, carried=True))
    plan = transfer_plan(spec, destination, destination.fingerprint, plan_for(destination, held.size))
    number = int(held.transfer.rpartition("/")[2])
    known = _known(runtime, held)
    plans = [one for one in known.transfers if one.destination != plan.destination] if known is not None else []
    plans += [plan] * (number - len(plans))
    plans.insert(number, plan)  # what was added to a job may be written down in another order
    return Seen(_sidecar(runtime, held, spec, Digest.unread(held.size), plans), (number,))


def cut_for(runtime: Runtime, spec: JobSpec, store: Store, size: int) -> Plan:
    """The plan of a source for a destination; Unplannable when it cannot hold it."""
    cut = plan_for(store.destination, size)
    return Plan(size, max(size, 1)) if copier(runtime, spec, store) is not None else cut


def copier(runtime: Runtime, spec: JobSpec, store: Store) -> Store | None:
    """The source's store, when the destination can copy from it by itself."""
    if spec.source.kind != "destination" or spec.source.carried or not isinstance(store.backend, CopiesServerSide):
        return None
    other = runtime.store(spec.source.destination)
    return other if store.backend.can_copy_from(other.backend) else None


def _copies(runtime: Runtime, spec: JobSpec, plan: TransferPlan) -> bool:
    """A destination that cannot be built now fails by itself, later, and not for the others."""
    try:
        return copier(runtime, spec, runtime.store(plan.destination)) is not None
    except (BackendError, EngineError):
        return False


def _copied(plan: TransferPlan, size: int) -> TransferPlan:
    return msgspec.structs.replace(plan, part_size=max(size, 1), total=1, whole=True)


def _sidecar(runtime: Runtime, held: Lease, spec: JobSpec, digest: Digest, plans: list[TransferPlan]) -> Sidecar:
    known = _known(runtime, held)
    at = known.accepted_ms if known is not None else spec.created_ms
    run = max(held.run, known.run if known is not None else 1)
    return Sidecar(spec=spec, digest=digest, run=run, accepted_ms=at, transfers=plans)


def _known(runtime: Runtime, held: Lease) -> Sidecar | None:
    return known_sidecar(runtime.spool, held.job)
