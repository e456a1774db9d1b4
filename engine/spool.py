"""The spool: the directory where accepted files wait, with all that is needed to make their jobs again.

Sidecars are opaque bytes here, but for their `digest`. No call needs Redis. Several processes share one spool: every
change is one rename or unlink, and what one process made another can remove.

An accepted job is a pair of files, or where it is small a record in a pack (packs.py). Of a pair, data is renamed into
place before its sidecar and removed after it, so a sidecar whose data is missing is half of something that was never
accepted, or is just being removed: it does not count.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from secrets import token_hex

import msgspec

from engine import record_files
from engine.appendix import Appendix
from engine.digests import Digest
from engine.disk import Directory, Disk, Room, explain
from engine.errors import EngineError, SourceCorrupt
from engine.incoming import Incoming
from engine.layout import Layout, checked, names
from engine.packs import Packs
from engine.partials import Partials
from engine.space import Space, Usage, bytes_in_files
from engine.staged import SpooledSource
from engine.unfinished import UnfinishedSource
from engine.write_behind import WriteBehind

_REMEMBERED = 64  # digests kept in memory: every part of a transfer asks for the same one
_NOBODY = "00000000-0000-0000-0000-000000000000"


class _DigestOfSidecar(msgspec.Struct):
    digest: Digest


class Spool:
    """Blocking, and safe to use from many threads. Raises EngineError; an id that is no UUID is NotFound."""

    def __init__(
        self,
        root: Path,
        *,
        limit: int | None = None,
        durability: str = "fsync",
        max_size: int | None = None,
        disk: Disk | None = None,
    ) -> None:
        """`limit` is the quota in bytes (90 % of the disk if None), `max_size` that of one file."""
        self.root = root
        self._max_size = max_size
        self._disk = disk or Disk(durable=durability == "fsync")
        self._behind = WriteBehind(self._disk)
        self._layout = Layout(root)
        self._packs = Packs(self._layout.packs, self._disk)
        self._space = Space(limit, self._room, self._count)
        self.partials = Partials(self._layout, self._disk, self._space)
        self._digest = functools.lru_cache(maxsize=_REMEMBERED)(self._read_digest)

    def open(self) -> None:
        """Make the directories, try them out, count what is there. Raises SpoolUnavailable where that cannot work."""
        layout = self._layout
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (layout.incoming, layout.jobs, layout.ended):
                path.mkdir(mode=0o700, exist_ok=True)
                path.chmod(0o700)
            self._jobs = Directory(layout.jobs, self._disk)
            self.appendix = Appendix(layout, self._disk, self._jobs)
            self._packs.open()
            self.partials.open()
            self._try_out()
        except OSError as error:
            raise explain(error, f"preparing the directory {self.root}") from error
        self._space.recount()

    def close(self) -> None:
        self._behind.close()
        self._packs.close()
        self.partials.close()
        self._jobs.close()

    # -- room -----------------------------------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Cheap enough for every request: a count, and one call to the file system."""
        return self._space.usage()

    def room_for(self, size: int | None) -> None:
        """Raise SpoolFull when a file of that size, or of one byte where it is not known, would not fit now."""
        self._space.check(1 if size is None else size)

    def recount(self) -> None:
        """Count again what is on the disk. `usage` does it in a thread now and then."""
        self._space.recount()

    # -- receiving ------------------------------------------------------------------------------------------------

    def receive(self, job_id: str, size: int | None, *, digests: Collection[str] = ()) -> Incoming:
        """Begin to receive a file. Raises SpoolFull or TooLarge before any byte came, where that can be known.

        `digests` are those wanted beside the CRC32C, of `digests.ALGORITHMS`. A file of up to 1 MiB touches the disk
        only when it is committed.
        """
        return Incoming(
            job_id,
            self._layout,
            self._jobs,
            self._packs,
            self._disk,
            self._space,
            self._behind,
            size=size,
            max_size=self._max_size,
            digests=digests,
        )

    def accept_path(self, job_id: str, sidecar: bytes) -> None:
        """Accept a job whose bytes stay outside of the spool: only its sidecar is written, durably."""
        self._write(job_id, self._layout.path_sidecar(job_id), sidecar)

    def brought_in(self, job_id: str) -> None:
        """The bytes of such a job were committed here after all: the sidecar that says otherwise goes."""
        record_files.remove(self._disk, self._layout.path_sidecar(job_id))

    def incomings(self) -> Iterator[tuple[str, float]]:
        """Id and last change, in seconds since the epoch, of what is not accepted: receptions, halves left by a crash.

        A file of up to 1 MiB that is still being received is not among them.
        """
        found: dict[str, float] = {}
        for job_id, path in [*names(self._layout.incoming), *self._halves()]:
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found[job_id] = max(found.get(job_id, 0.0), status.st_mtime, status.st_ctime)
        yield from found.items()

    def remove_incoming(self, job_id: str) -> None:
        """Remove what `incomings` found for this id. Accepted files stay."""
        checked(job_id)
        for path in [path for found, path in [*names(self._layout.incoming), *self._halves()] if found == job_id]:
            record_files.remove(self._disk, os.fspath(path))
        self._space.doubt()

    # -- accepted jobs --------------------------------------------------------------------------------------------

    def sidecars(self) -> Iterator[tuple[str, Path]]:
        """Id and sidecar of every accepted job that was not released, in no order. Each may vanish while you look."""
        for job_id, path in names(self._layout.jobs):
            if path.name == f"{job_id}.path.json" or (
                path.name == f"{job_id}.json" and os.path.exists(self._layout.data(job_id))
            ):
                yield job_id, path
            elif path.suffix == ".more" and not self._has_sidecar(job_id):
                yield job_id, path  # it ended, and goes on from what is written there
        for record in self._packs.records():
            yield record.job_id, record.path

    def read_sidecar(self, job_id: str) -> bytes | None:
        found = self._read_own(job_id)
        return found if found is not None else record_files.read_whole(self._layout.path_sidecar(job_id))

    def rewrite_sidecar(self, job_id: str, sidecar: bytes) -> None:
        """Put another sidecar in the place of the old one, durably. Its digest must stay the same."""
        for path in (self._layout.sidecar(job_id), self._layout.path_sidecar(job_id)):
            if os.path.exists(path):
                self._write(job_id, path, sidecar)
                return
        if self._packs.find(job_id):
            self._write(job_id, self._layout.sidecar(job_id), sidecar)
            return
        if self.appendix.has(job_id):
            self.appendix.append(job_id, sidecar)
            return
        raise _gone("The job has no file in the spool any more.")

    def source(self, job_id: str) -> SpooledSource:
        """The bytes of an accepted job. Raises EngineError `source_gone`, or SourceCorrupt."""
        digest = self._digest(job_id)
        path, start, size = self._bytes(job_id)
        if size != digest.size:
            raise SourceCorrupt(f"The staged file has {size} bytes; {digest.size} were accepted.")
        return SpooledSource(path, digest, start)

    def arriving(self, job_id: str) -> UnfinishedSource | SpooledSource:
        """The bytes of a job that is still being received, or was accepted meanwhile. Raises like `source`."""
        for path in (self._layout.receiving(job_id), self._layout.partial(job_id)):
            with contextlib.suppress(FileNotFoundError):
                return UnfinishedSource(path)
        return self.source(job_id)

    # -- the end --------------------------------------------------------------------------------------------------

    def release(self, job_id: str, run: int | None = None) -> None:
        """Remove bytes and sidecar, after the end of the job was written down (`tombstones`); twice is no error.

        run: the one that ended; when the disk says that the job goes on with a later one, everything stays. A power cut
        may bring the files back; the tombstone tells what they are.
        """
        if not self.appendix.remove(job_id, run):
            return
        data = self._layout.data(job_id)
        try:
            size = os.stat(data).st_size
        except FileNotFoundError:
            size = self._packs.release(job_id)
        record_files.remove(self._disk, self._layout.sidecar(job_id))
        record_files.remove(self._disk, self._layout.path_sidecar(job_id))
        record_files.remove(self._disk, data)
        self._space.remove(size)

    def tidy(self) -> None:
        """Give back room that only whole packs can give back. Called about once a second by every process.

        Never fails: when the disk is in trouble, whoever needs it says so.
        """
        with contextlib.suppress(EngineError):
            self._packs.tidy()

    # -- how ------------------------------------------------------------------------------------------------------

    def _bytes(self, job_id: str) -> tuple[Path, int, int]:
        """In which file the bytes lie, where they begin, and how many there are."""
        path = Path(self._layout.data(job_id))
        try:
            return path, 0, path.stat().st_size
        except OSError as error:
            if record := self._packs.find(job_id):
                return record.path, record.start, record.size
            raise _gone(f"The staged file cannot be read: {error.strerror}.") from error

    def _has_sidecar(self, job_id: str) -> bool:
        own = os.path.exists(self._layout.sidecar(job_id)) and os.path.exists(self._layout.data(job_id))
        return own or os.path.exists(self._layout.path_sidecar(job_id)) or self._packs.find(job_id) is not None

    def _read_own(self, job_id: str) -> bytes | None:
        """The sidecar of bytes that are in the spool; beside a pack, the newer one."""
        found = record_files.read_whole(self._layout.sidecar(job_id))
        return found if found is not None else self._packs.sidecar(job_id)

    def _read_digest(self, job_id: str) -> Digest:
        sidecar = self._read_own(job_id)
        if sidecar is None:
            raise _gone("The staged file is not in this spool.")
        try:
            return msgspec.json.decode(sidecar, type=_DigestOfSidecar).digest
        except msgspec.DecodeError as error:
            raise SourceCorrupt("The sidecar of the staged file cannot be read.") from error

    def _write(self, job_id: str, target: str, sidecar: bytes) -> None:
        record_files.replace(self._disk, self._layout.temporary(job_id), target, sidecar, self._jobs)

    def _halves(self) -> Iterator[tuple[str, Path]]:
        """What a crash between two renames, or between two unlinks, has left of a pair."""
        for job_id, path in names(self._layout.jobs):
            other = self._layout.sidecar(job_id) if path.suffix == ".data" else self._layout.data(job_id)
            if (
                path.name not in (f"{job_id}.path.json", f"{job_id}.more")
                and not os.path.exists(other)
                and not self._packs.find(job_id)
            ):
                yield job_id, path

    def _room(self) -> Room:
        return self._disk.room(os.fspath(self.root))

    def _count(self, mine: Collection[str]) -> int:
        packed = sum(record.size for record in self._packs.records() if record.job_id not in mine)
        return packed + bytes_in_files(self._layout, mine)

    def _try_out(self) -> None:
        """A write and a rename, as every job will need them."""
        before, after = self._layout.temporary(_NOBODY), f"{self._layout.jobs}/{_NOBODY}.{token_hex(8)}"
        try:
            fd = self._disk.create(before)
            self._disk.close(fd)
            self._disk.rename(before, after)
        finally:
            self._disk.unlink(before)
            self._disk.unlink(after)


def _gone(detail: str) -> EngineError:
    return EngineError(detail, code="source_gone")
