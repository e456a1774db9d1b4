"""How the file of a job goes to each of its destinations: the plan of every transfer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.config import Configuration
from backends.registry import Destination
from engine import content_types, keys
from engine.announced import check_digest
from engine.config import Settings
from engine.digests import Digest
from engine.errors import Conflict, Invalid
from engine.faults import Faults
from engine.models import JobSpec, TransferPlan
from engine.planner import Plan, Unplannable, plan
from engine.refusals import check_conflict, check_object, fault_of_key


class Planning:
    """The plans that the configuration and the settings of this process make."""

    def __init__(self, configuration: Configuration, settings: Settings) -> None:
        self._configuration = configuration
        self._pipelines = settings.pipelining != "off"
        self._fingerprints = {name: destination.fingerprint for name, destination in configuration.destinations.items()}

    def finish(self, spec: JobSpec, digest: Digest, head: bytes) -> tuple[JobSpec, list[TransferPlan]]:
        """The specification with key and content type, and the plan of every transfer, when all bytes are there.

        head: the file's first bytes (`content_types.HEAD_BYTES` of them, if it has so many).

        Raises ChecksumMismatch when they are not those that the client announced, Invalid when they fit no plan.
        """
        check_digest(spec, digest)
        looked_at = spec.key is not None and spec.content_type is not None  # by `prepare`, which knew as much as we do
        if spec.key is None:
            key = keys.render(
                spec.key_template,
                job=spec.id,
                name=spec.name,
                created_ms=spec.created_ms,
                labels=spec.labels,
                sha256=digest.sha256,
                crc32c=digest.checksum.hex(),
            )
            spec = msgspec.structs.replace(spec, key=key)
        return self._planned(spec, digest.size, head, looked_at=looked_at)

    def early(self, spec: JobSpec, size: int | None, head: bytes) -> tuple[JobSpec, list[TransferPlan]] | None:
        """The same while the bytes are still coming, `head` among them; None when sending must wait for the last one.

        So it is when the size is not known, when the key or `on_conflict` asks what the bytes are, and when one call
        takes them all.
        """
        unready = size is None or spec.key is None or spec.on_conflict == "skip_same" or spec.source.kind != "body"
        if unready or not self._pipelines:
            return None
        try:
            planned = self._planned(spec, size or 0, head, looked_at=spec.content_type is not None)
        except Invalid:
            return None  # `finish` says so
        return None if all(plan.whole for plan in planned[1]) else planned

    def _planned(self, spec: JobSpec, size: int, head: bytes, *, looked_at: bool) -> tuple[JobSpec, list[TransferPlan]]:
        destinations = [self._known(name) for name in spec.destinations]
        if spec.content_type is None:
            spec = msgspec.structs.replace(spec, content_type=content_types.sniffed(head))
        faults = Faults()
        if not looked_at:
            faults.add("/key", fault_of_key(spec.key or "", destinations))
            check_object(spec, spec.key or "", destinations, faults)
        plans = [self._plan(spec, destination, size, index, faults) for index, destination in enumerate(destinations)]
        faults.raise_if_any()
        return spec, [made for made in plans if made is not None]

    def unplanned(self, spec: JobSpec) -> list[TransferPlan]:
        """The transfers of a job whose source nobody has seen. Each waits for its turn at its key like any other.

        Raises Conflict when the source would be written over itself.
        """
        plans = [self._unplanned(spec, self._known(name)) for name in spec.destinations]
        self._check_not_itself(spec, plans)
        return plans

    def plans_for(self, spec: JobSpec, names: Sequence[str], size: int) -> list[TransferPlan]:
        """The transfers of a job whose bytes are known to further destinations.

        Raises Invalid where one could not have been named at submit, Conflict when it is the source itself.
        """
        faults = Faults()
        destinations = [self._known(name) for name in names]
        check_conflict(spec, destinations, faults)
        faults.add("/key", fault_of_key(spec.key or "", destinations))
        check_object(spec, spec.key or "", destinations, faults)
        plans = [self._plan(spec, one, size, index, faults) for index, one in enumerate(destinations)]
        for fault in faults.errors:
            fault["pointer"] = "/destinations"  # all else was said when the job was submitted
        faults.raise_if_any()
        found = [made for made in plans if made is not None]
        self._check_not_itself(spec, found)
        return found

    def _check_not_itself(self, spec: JobSpec, plans: Sequence[TransferPlan]) -> None:
        source = spec.source
        if source.kind == "destination" and spec.key is not None:
            here = self._known(source.destination).url_for(source.key)
            if any(plan.url == here for plan in plans):
                raise Conflict(f"{here} is the source: it cannot be the target as well.")

    def _unplanned(self, spec: JobSpec, destination: Destination) -> TransferPlan:
        plan = transfer_plan(spec, destination, self._fingerprints[destination.name], Plan(0, 1))
        nameless = {} if spec.key is not None else {"key": "", "claim": f"unnamed/{spec.id}"}
        return msgspec.structs.replace(plan, part_size=0, total=0, whole=False, window=1, **nameless)

    def _plan(
        self, spec: JobSpec, destination: Destination, size: int, index: int, faults: Faults
    ) -> TransferPlan | None:
        cut = plan_or_fault(destination, size, index, faults)
        return None if cut is None else transfer_plan(spec, destination, self._fingerprints[destination.name], cut)

    def _known(self, name: str) -> Destination:
        found = self._configuration.destinations.get(name)
        if found is None:
            raise Invalid(f"There is no destination {name!r} any more.", code="unknown_destination")
        return found


def plan_for(destination: Destination, size: int) -> Plan:
    """The plan of a file for a destination; Unplannable when it cannot hold it."""
    return plan(size, destination.capabilities, destination.part_size)


def plan_or_fault(destination: Destination, size: int, index: int, faults: Faults) -> Plan | None:
    """The same; that it cannot be held is a fault of the destination named at `index`."""
    try:
        return plan_for(destination, size)
    except Unplannable as error:
        faults.add(f"/destinations/{index}", f"Too large for destination {destination.name!r}: {error}.")
        return None


def transfer_plan(spec: JobSpec, destination: Destination, fingerprint: str, cut: Plan) -> TransferPlan:
    """How a file that is cut like this goes to a destination."""
    key = spec.key or ""
    return TransferPlan(
        destination=destination.name,
        backend=destination.backend,
        key=destination.full_key(key),
        claim=destination.full_key(key),
        url=destination.url_for(key),
        fingerprint=fingerprint,
        part_size=cut.part_size,
        total=cut.total,
        window=destination.concurrency if destination.capabilities.parallel_parts else 1,
        whole=cut.total == 1,
        ordered=not destination.capabilities.parallel_parts,
        priority=spec.priority,
    )
