"""The spool's disk, in memory: what it holds survives every crash, and each call is an effect of its process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec

from backends.body import BytesBody
from backends.checksums import crc32c
from engine.digests import Digest, Digester
from engine.errors import EngineError
from engine.models import Sidecar, Tombstone
from tests.simulation.kernel import Process, Violation


class Disk:
    """The files of one node's spool."""

    def __init__(self) -> None:
        self.incoming: dict[str, float] = {}
        self.arriving: dict[str, bytes] = {}
        """What can be read of a file that is still being received."""
        self.data: dict[str, bytes] = {}
        self.accepted: dict[str, bytes] = {}
        """What was received, for what goes bad on the disk later."""
        self.sidecars: dict[str, bytes] = {}
        self.more: dict[str, list[bytes]] = {}
        """What was added to jobs."""
        self.distant: set[str] = set()
        """Jobs whose bytes are somewhere else."""
        self.ends: list[Tombstone] = []
        """What is written down of ends, in the order of writing."""

    def end_of(self, job: str) -> Tombstone | None:
        """The end that rules for this job."""
        found: Tombstone | None = None
        for one in self.ends:
            if one.id == job and (found is None or found.run <= one.run):
                found = one
        return found


class Appendix:
    """`engine.appendix.Appendix` as the engine calls it, on a `Disk`, for one process."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self.disk = disk
        self.process = process

    def _effect(self) -> None:
        self.process.count_effect()
        self.process.kernel.sleep(0.001)

    def has(self, job_id: str) -> bool:
        return job_id in self.disk.more

    def read(self, job_id: str) -> list[bytes]:
        return list(self.disk.more.get(job_id, []))

    def append(self, job_id: str, line: bytes) -> None:
        self._effect()
        self.disk.more.setdefault(job_id, []).append(line)
        self._effect()

    def remove(self, job_id: str, run: int | None) -> bool:
        if job_id not in self.disk.more:
            return True
        self._effect()
        lines = self.read(job_id)
        last = max((msgspec.json.decode(line, type=Sidecar).run for line in lines), default=0)
        if run is not None and last > run:
            return False
        self.disk.more.pop(job_id, None)
        return True


class Spool:
    """`engine.spool.Spool` as the engine calls it, on a `Disk`, for one process."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self.disk = disk
        self.process = process
        self.appendix = Appendix(disk, process)

    def _effect(self) -> None:
        self.process.count_effect()
        self.process.kernel.sleep(0.001)

    # -- receiving (the simulated API does this in the order of the real one)

    def begin_reception(self, job: str) -> None:
        self._effect()
        self.disk.incoming[job] = self.process.kernel.seconds

    def receive(self, job: str, data: bytes) -> None:
        self._effect()
        self.disk.arriving[job] = data

    def commit(self, job: str, data: bytes, sidecar: bytes) -> None:
        """Data and then the sidecar are renamed into place: from here on the job can be made again."""
        self._effect()
        self.disk.data[job] = self.disk.accepted[job] = data
        self.disk.incoming.pop(job, None)
        self.disk.arriving.pop(job, None)
        self._effect()
        self.disk.sidecars[job] = sidecar
        self._effect()

    def accept_path(self, job: str, sidecar: bytes) -> None:
        """The bytes stay where they are."""
        self._effect()
        self.disk.distant.add(job)
        self.disk.sidecars[job] = sidecar
        self._effect()

    def take_back(self, job: str) -> None:
        """Undo a commit."""
        self._effect()
        self.disk.sidecars.pop(job, None)
        self._effect()
        self.disk.data.pop(job, None)

    def incomings(self) -> Iterator[tuple[str, float]]:
        self._effect()
        halves = {job: 0.0 for job in self.disk.data if job not in self.disk.sidecars}
        yield from [*(halves | self.disk.incoming).items()]

    def remove_incoming(self, job_id: str) -> None:
        self._effect()
        self.disk.incoming.pop(job_id, None)
        self.disk.arriving.pop(job_id, None)
        if job_id not in self.disk.sidecars:
            self.disk.data.pop(job_id, None)

    # -- accepted jobs

    def sidecars(self) -> Iterator[tuple[str, Path]]:
        self._effect()
        whole = [job for job in self.disk.sidecars if job in self.disk.data or job in self.disk.distant]
        added = [job for job in self.disk.more if job not in self.disk.sidecars]
        yield from [(job, Path(job)) for job in [*whole, *added]]

    def read_sidecar(self, job_id: str) -> bytes | None:
        self._effect()
        return self.disk.sidecars.get(job_id)

    def rewrite_sidecar(self, job_id: str, sidecar: bytes) -> None:
        self._effect()
        if job_id not in self.disk.sidecars and job_id in self.disk.more:
            self.disk.more[job_id].append(sidecar)
            return
        if job_id not in self.disk.sidecars:
            raise EngineError("The job has no file in the spool any more.", code="source_gone")
        self.disk.sidecars[job_id] = sidecar

    def source(self, job_id: str) -> StagedBytes:
        self._effect()
        if job_id not in self.disk.sidecars or job_id not in self.disk.data:
            raise EngineError("The staged file cannot be read.", code="source_gone")
        digest = msgspec.json.decode(self.disk.sidecars[job_id], type=Sidecar).digest
        return StagedBytes(self.disk, job_id, digest)

    def arriving(self, job_id: str) -> HalfBytes | StagedBytes:
        self._effect()
        if (data := self.disk.arriving.get(job_id)) is not None:
            return HalfBytes(data, self.process)
        return self.source(job_id)

    # -- the end

    def tidy(self) -> None:
        """There are no packs here: what happens to them is told by tests of their own."""

    def release(self, job_id: str, run: int | None = None) -> None:
        self._effect()
        if not self.appendix.remove(job_id, run):
            return
        if self.disk.end_of(job_id) is None:
            raise Violation(f"the file of {job_id} is removed before its end is written down")
        self.disk.sidecars.pop(job_id, None)
        self._effect()
        self.disk.data.pop(job_id, None)


class Tombstones:
    """`engine.tombstones.Tombstones` as the engine calls it, on a `Disk`, for one process."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self.disk = disk
        self.process = process

    def _effect(self) -> None:
        self.process.count_effect()
        self.process.kernel.sleep(0.001)

    def append(self, ends: Sequence[Tombstone]) -> None:
        self._effect()
        self.disk.ends += ends
        self._effect()

    def scan(self) -> Iterator[Tombstone]:
        self._effect()
        yield from list(self.disk.ends)

    def find(self, jobs: Collection[str]) -> dict[str, Tombstone]:
        self._effect()
        found = {job: self.disk.end_of(job) for job in jobs}
        return {job: one for job, one in found.items() if one is not None}

    def expire(self) -> None: ...


class HalfBytes:
    """What has come of a file, as workers read it."""

    crc32c = None

    def __init__(self, data: bytes, process: Process) -> None:
        self.data = data
        self.process = process

    def body(self, offset: int, size: int) -> BytesBody:
        if offset + size > len(self.data):
            violation = Violation(f"bytes {offset} to {offset + size} are sent, of {len(self.data)} that have come")
            self.process.kernel.fail(violation)  # the engine may swallow it
            raise violation
        return BytesBody(self.data[offset : offset + size])

    def intact(self, offset: int, size: int) -> bool:
        return True


class StagedBytes:
    """A staged file as workers read it; it fits `engine.work.Source`."""

    def __init__(self, disk: Disk, job: str, digest: Digest) -> None:
        self.disk = disk
        self.job = job
        self.digest = digest

    @property
    def crc32c(self) -> int:
        return self.digest.crc32c

    def body(self, offset: int, size: int) -> BytesBody:
        data = self.disk.data.get(self.job)
        if data is None:
            raise EngineError("The staged file cannot be read.", code="source_gone")
        body = BytesBody(data[offset : offset + size])
        body.crc32c = crc32c(self.disk.accepted[self.job][offset : offset + size])
        return body

    def intact(self, offset: int, size: int) -> bool:
        data = self.disk.data.get(self.job)
        return data is not None and crc32c(data) == self.digest.crc32c


def digest_of(data: bytes) -> Digest:
    digester = Digester(len(data))
    digester.update(data)
    return digester.digest()
