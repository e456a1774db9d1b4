"""The spool: the directory where accepted files wait, with all that is needed to make their jobs again.

Sidecars are opaque bytes here, but for their `digest`. No call needs Redis. Several processes share one spool: every
change is one rename or unlink, and what one process made another can remove.

An accepted job is a pair of files, or one file where it is small. Of a pair, data is renamed into place before its
sidecar and removed after it, so a sidecar whose data is missing is half of something that was never accepted, or is
just being removed: it does not count.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import msgspec

from engine import small
from engine.digests import Digest
from engine.disk import Directory, Disk, Room, explain
from engine.errors import EngineError, SourceCorrupt
from engine.incoming import Incoming
from engine.layout import ID_LENGTH, Layout, checked, is_id
from engine.space import Space, Usage
from engine.staged import SpooledSource
from engine.write_behind import WriteBehind

__all__ = ["Incoming", "Spool", "Usage"]

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
        self._space = Space(limit, self._room, self._walk)
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
            self._try_out()
        except OSError as error:
            raise explain(error, f"preparing the directory {self.root}") from error
        self._space.recount()

    def close(self) -> None:
        self._behind.close()
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
            self._disk,
            self._space,
            self._behind,
            size=size,
            max_size=self._max_size,
            digests=digests,
        )

    def accept_path(self, job_id: str, sidecar: bytes) -> None:
        """Accept a job whose bytes stay outside of the spool: only its sidecar is written, durably."""
        self._replace(job_id, self._layout.path_sidecar(job_id), sidecar, self._jobs)

    def incomings(self) -> Iterator[tuple[str, float]]:
        """Id and last change, in seconds since the epoch, of what is not accepted: receptions, halves left by a crash.

        A file of up to 1 MiB that is still being received is not among them.
        """
        found: dict[str, float] = {}
        for job_id, path in [*_names(self._layout.incoming), *self._halves()]:
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found[job_id] = max(found.get(job_id, 0.0), status.st_mtime, status.st_ctime)
        yield from found.items()

    def remove_incoming(self, job_id: str) -> None:
        """Remove what `incomings` found for this id. Accepted files stay."""
        checked(job_id)
        for path in [path for found, path in [*_names(self._layout.incoming), *self._halves()] if found == job_id]:
            self._unlink(os.fspath(path))
        self._space.doubt()

    # -- accepted jobs --------------------------------------------------------------------------------------------

    def sidecars(self) -> Iterator[tuple[str, Path]]:
        """Id and sidecar of every accepted job that was not released, in no order. Each may vanish while you look."""
        for job_id, path in _names(self._layout.jobs):
            if path.name in (f"{job_id}.small", f"{job_id}.path.json") or (
                path.name == f"{job_id}.json" and os.path.exists(self._layout.data(job_id))
            ):
                yield job_id, path

    def read_sidecar(self, job_id: str) -> bytes | None:
        for read, path in (
            (_read, self._layout.sidecar(job_id)),  # a new one beside a small file is newer than the one in it
            (_read_small, self._layout.small(job_id)),
            (_read, self._layout.path_sidecar(job_id)),
        ):
            if (found := read(path)) is not None:
                return found
        return None

    def rewrite_sidecar(self, job_id: str, sidecar: bytes) -> None:
        """Put another sidecar in the place of the old one, durably. Its digest must stay the same."""
        beside, layout = self._layout.sidecar(job_id), self._layout
        for path, target in (
            (beside, beside),
            (layout.small(job_id), beside),
            (layout.path_sidecar(job_id), layout.path_sidecar(job_id)),
        ):
            if os.path.exists(path):
                self._replace(job_id, target, sidecar, self._jobs)
                return
        raise _gone("The job has no file in the spool any more.")

    def source(self, job_id: str) -> SpooledSource:
        """The bytes of an accepted job. Raises EngineError `source_gone`, or SourceCorrupt."""
        digest = self._digest(job_id)
        path, size = self._bytes(job_id)
        if size != digest.size:
            raise SourceCorrupt(f"The staged file has {size} bytes; {digest.size} were accepted.")
        return SpooledSource(Path(path), digest)

    # -- the end --------------------------------------------------------------------------------------------------

    def release(self, job_id: str) -> None:
        """Remove bytes and sidecar, after the end of the job was written down (`tombstones`); twice is no error.

        A power cut may bring the files back; the tombstone tells what they are.
        """
        layout = self._layout
        size = self._size(job_id)
        # What vouches for the bytes goes first, and the one inside of a small file never without them.
        for path in (layout.sidecar, layout.path_sidecar, layout.small, layout.data):
            self._unlink(path(job_id))
        self._space.remove(size)

    # -- how ------------------------------------------------------------------------------------------------------

    def _bytes(self, job_id: str) -> tuple[str, int]:
        """Where the bytes lie, at the beginning of which file, and how many there are."""
        data, whole = self._layout.data(job_id), self._layout.small(job_id)
        try:
            try:
                return data, os.stat(data).st_size
            except FileNotFoundError:
                return whole, small.size(whole)
        except OSError as error:
            raise _gone(f"The staged file cannot be read: {error.strerror}.") from error

    def _size(self, job_id: str) -> int:
        """What the job counts for in `space`."""
        try:
            return self._bytes(job_id)[1]
        except EngineError:
            return 0

    def _read_digest(self, job_id: str) -> Digest:
        sidecar = _read(self._layout.sidecar(job_id)) or _read_small(self._layout.small(job_id))
        if sidecar is None:
            raise _gone("The staged file is not in this spool.")
        try:
            return msgspec.json.decode(sidecar, type=_DigestOfSidecar).digest
        except msgspec.DecodeError as error:
            raise SourceCorrupt("The sidecar of the staged file cannot be read.") from error

    def _replace(self, job_id: str, target: str, content: bytes, directory: Directory) -> None:
        """Readers see the old content or the new, and after this call, also after a power cut, the new."""
        temporary = self._layout.temporary(job_id)
        try:
            fd = self._disk.create(temporary)
            try:
                self._disk.write(fd, [content])
                self._disk.sync(fd)
            finally:
                self._disk.close(fd)
            self._disk.rename(temporary, target)
            directory.sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._disk.unlink(temporary)
            raise explain(error, "writing a record") from error

    def _unlink(self, path: str) -> None:
        try:
            self._disk.unlink(path)
        except OSError as error:
            raise explain(error, "removing a file") from error

    def _halves(self) -> Iterator[tuple[str, Path]]:
        """What a crash between two renames, or between two unlinks, has left of a pair."""
        layout = self._layout
        for job_id, path in _names(layout.jobs):
            if path.name == f"{job_id}.data":
                whole = os.path.exists(layout.sidecar(job_id))
            elif path.name == f"{job_id}.json":
                whole = os.path.exists(layout.data(job_id)) or os.path.exists(layout.small(job_id))
            else:
                whole = path.name in (f"{job_id}.small", f"{job_id}.path.json")
            if not whole:
                yield job_id, path

    def _room(self) -> Room:
        return self._disk.room(os.fspath(self.root))

    def _walk(self, mine: Collection[str]) -> int:
        """Bytes in the spool, but for the receptions that this process counts itself."""
        total = 0
        for directory, count in ((self._layout.incoming, _received), (self._layout.jobs, _accepted)):
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name[:ID_LENGTH] not in mine:
                        with contextlib.suppress(FileNotFoundError):
                            total += count(entry)
        return total

    def _try_out(self) -> None:
        """A write and a rename, as every job will need them."""
        before, after = self._layout.temporary(_NOBODY), f"{self._layout.jobs}/{_NOBODY}.{os.getpid()}"
        try:
            fd = self._disk.create(before)
            self._disk.close(fd)
            self._disk.rename(before, after)
        finally:
            self._disk.unlink(before)
            self._disk.unlink(after)


def _names(directory: Path) -> Iterator[tuple[str, Path]]:
    """Files whose name begins with a job's id; anything else is not ours."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if is_id(job_id := entry.name[:ID_LENGTH]):
                yield job_id, Path(entry.path)


def _read(path: str) -> bytes | None:
    return _unless_missing(_content, path)


def _read_small(path: str) -> bytes | None:
    return _unless_missing(small.sidecar, path)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _unless_missing(read: Callable[[str], bytes], path: str) -> bytes | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, "reading a record") from error


def _received(entry: os.DirEntry[str]) -> int:
    """A reception's blocks may be allocated before its bytes have come."""
    status = entry.stat(follow_symlinks=False)
    return max(status.st_size, status.st_blocks * 512)


def _accepted(entry: os.DirEntry[str]) -> int:
    if entry.name.endswith(".small"):
        with contextlib.suppress(SourceCorrupt):
            return small.size(entry.path)
    return entry.stat(follow_symlinks=False).st_size if entry.name.endswith((".data", ".small")) else 0


def _gone(detail: str) -> EngineError:
    return EngineError(detail, code="source_gone")
