"""One reception: the bytes of one file on their way from a client into the spool, until accepted or discarded."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from engine.content_types import HEAD_BYTES
from engine.digests import Bytes, Digest, Digester
from engine.disk import MAX_BUFFERS, WRITE, Directory, Disk, explain
from engine.errors import EngineError, SpoolUnavailable, TooLarge
from engine.layout import Layout
from engine.packs import MOST_BYTES, Appended, Packs
from engine.space import Space
from engine.write_behind import STEP, WriteBehind

BATCH = 1 << 20  # a file up to this size touches the disk only when it is committed
_MOST_PIECES = MAX_BUFFERS - 2  # in a pack, a header and the sidecar go along with them


class Incoming:
    """Made by `Spool.receive`. Whatever fails removes the file and frees its room before the error is raised.

    `write` and `append` may run on an event loop. The others wait for the disk: call them in a thread.
    """

    def __init__(
        self,
        job_id: str,
        layout: Layout,
        jobs: Directory,
        packs: Packs,
        disk: Disk,
        space: Space,
        behind: WriteBehind,
        *,
        size: int | None,
        max_size: int | None,
        digests: Collection[str],
    ) -> None:
        self.job_id = job_id
        self._path = layout.receiving(job_id)
        self.received = 0
        """Bytes taken so far; not all of them are on the disk."""
        self.head = b""
        """The first of them, by which a content type can be told."""
        self._layout = layout
        self._jobs = jobs
        self._packs = packs
        self._disk = disk
        self._space = space
        self._behind = behind
        self._behind_call: Future[None] | None = None
        self._behind_due = STEP
        self._size = size
        self._most = min((limit for limit in (size, max_size) if limit is not None), default=None)
        self._digester = Digester(size, digests)
        self._batch: list[bytes] = []
        self._batched = 0
        self._fd: int | None = None
        self._made: list[str] = []  # the files to remove when this comes to nothing, in the order they were made
        self._unwritten = 0  # announced to `space`, and not on the disk
        self._packed = False  # whether something of it may be in a pack
        self._appended: Appended | None = None
        self._synced = self._committed = self._over = False
        self._lock = threading.Lock()
        self._begin()

    def write(self, data: Bytes) -> None:
        """Take some bytes, in pieces of any size. Raises SpoolFull, TooLarge, or SpoolUnavailable."""
        with self._lock, self._discarded_on_error("writing the file"):
            if self._over or self._synced:
                raise SpoolUnavailable("This reception is over.")
            self.received += len(data)
            if self._most is not None and self.received > self._most:
                raise TooLarge(f"More than {self._most} bytes were sent.")
            if len(self.head) < HEAD_BYTES:
                self.head += bytes(data[: HEAD_BYTES - len(self.head)])
            self._digester.update(data)
            # Bytes are kept as they are, until a batch is full; anything else may change behind our back.
            self._batch.append(data if isinstance(data, bytes) else bytes(data))
            self._batched += len(data)
            full = BATCH if self._fd is None else WRITE
            if self._batched >= full or len(self._batch) == _MOST_PIECES:
                self._flush()
                self._write_behind()

    @property
    def readable(self) -> int:
        """The bytes that others find in the file."""
        return 0 if self._fd is None and not self._synced else self.received - self._batched

    def digest(self) -> Digest:
        """The digest of all bytes taken so far."""
        return self._digester.digest()

    def digest_again(self, algorithms: Collection[str]) -> Digest:
        """The digest with more algorithms than were asked for at first, by reading the durable file once."""
        with self._lock, self._discarded_on_error("reading the file back"):
            self._write_out()
            self._sync()
            digester = Digester(self.received, algorithms)
            with open(self._path, "rb", buffering=0) as file:
                while data := file.read(BATCH):
                    digester.update(data)
            return digester.digest()

    def sync_and_close(self) -> None:
        """Make the bytes durable. Raises EngineError `truncated` when fewer came than were announced."""
        with self._lock, self._discarded_on_error("making the file durable"):
            self._write_out()
            self._sync()

    def commit(self, sidecar: bytes) -> None:
        """Put bytes and `sidecar` into place: when this returns, the job outlives a power cut."""
        with self._lock, self._discarded_on_error("accepting the file"):
            self._refuse_half()
            if self.is_small:
                self._append(sidecar)
                self._settle()
            else:
                self._place(sidecar)
                self._done()

    @property
    def is_small(self) -> bool:
        """Whether it is held in memory and will go into a pack."""
        return self._fd is None and not self._synced and self.received <= MOST_BYTES

    def append(self, sidecar: bytes) -> None:
        """The first half of `commit` for a small file, which may run on an event loop; `settle` is the other one."""
        with self._lock, self._discarded_on_error("accepting the file"):
            self._refuse_half()
            self._append(sidecar)

    def settle(self) -> None:
        """Wait for the disk: all who appended before wait for the same fsync."""
        with self._lock, self._discarded_on_error("accepting the file"):
            self._settle()

    def discard(self) -> None:
        """Remove everything, also what `commit` put into place. May be called at any time, and twice."""
        with self._lock:
            self._discard()

    # -- the steps; the lock is held ------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Announce the size, and get blocks for a large file now: a full disk is known before the body is read."""
        if self._size is not None and self._most is not None and self._size > self._most:
            raise TooLarge(f"{self._size} bytes were announced; {self._most} are allowed.")
        self._announce(self._size or 0)
        if self._size is not None and self._size > BATCH:
            with self._discarded_on_error("making room for the file"):
                if self._disk.allocate(self._open(), self._size):
                    self._written(self._size)

    def _append(self, sidecar: bytes) -> None:
        if self._size is None:
            self._announce(self._batched)
        self._packed = True
        self._appended = self._packs.append(self.job_id, self._batch, sidecar)
        self._written(self._batched)
        self._batch = []

    def _settle(self) -> None:
        appended, self._appended = self._appended, None
        if appended is None:
            raise SpoolUnavailable("This reception is over.")
        self._packs.settle(appended)
        self._done()

    def _done(self) -> None:
        self._committed = True
        self._space.close(self.job_id, kept=self.received, unwritten=self._unwritten)

    def _place(self, sidecar: bytes) -> None:
        temporary = self._layout.temporary(self.job_id)
        self._write_out()
        with self._sidecar(temporary, sidecar) as fd:
            self._sync()
            self._disk.sync(fd)
        # Both are whole on the disk before either has its name.
        self._move(self._path, self._layout.data(self.job_id))
        self._move(temporary, self._layout.sidecar(self.job_id))
        self._jobs.sync()

    def _announce(self, size: int) -> None:
        self._space.announce(self.job_id, size)
        self._unwritten += size

    def _written(self, size: int) -> None:
        """Nothing to count for a file whose blocks were allocated at the start."""
        size = min(size, self._unwritten)
        self._space.written(size)
        self._unwritten -= size

    def _open(self) -> int:
        if self._fd is None:
            self._fd = self._disk.create(self._path)
            self._made.append(self._path)
        return self._fd

    def _flush(self) -> None:
        if self._size is None:
            self._announce(self._batched)
        fd = self._open()
        if self._batch:
            self._disk.write(fd, self._batch)
        self._written(self._batched)
        self._batch = []
        self._batched = 0

    def _write_behind(self) -> None:
        """One call at a time: where the disk is slower than the client, they would pile up."""
        if self.received >= self._behind_due and (self._behind_call is None or self._behind_call.done()):
            self._behind_due = self.received + STEP
            self._behind_call = self._behind.begin(self._open())

    def _write_out(self) -> None:
        """Everything that came is in the file, and on its way to the disk."""
        self._refuse_half()
        if not self._synced:
            self._flush()
            self._disk.start_sync(self._open())

    def _refuse_half(self) -> None:
        if self._over:
            raise SpoolUnavailable("This reception is over.")
        if self._size is not None and self.received != self._size:
            raise EngineError(f"{self.received} of {self._size} bytes arrived.", code="truncated", retryable=True)

    def _sync(self) -> None:
        if not self._synced:
            self._disk.sync(self._open())
            self._close()
            self._synced = True

    @contextmanager
    def _sidecar(self, path: str, content: bytes) -> Iterator[int]:
        fd = self._disk.create(path)
        self._made.append(path)
        try:
            self._disk.write(fd, [content])
            self._disk.start_sync(fd)
            yield fd
        finally:
            self._disk.close(fd)

    def _move(self, source: str, target: str) -> None:
        self._disk.rename(source, target)
        self._made[self._made.index(source)] = target

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            self._disk.close(fd)

    @contextmanager
    def _discarded_on_error(self, doing: str) -> Iterator[None]:
        try:
            yield
        except EngineError:
            self._discard()
            raise
        except OSError as error:
            self._discard()
            raise explain(error, doing) from error

    def _discard(self) -> None:
        if self._over:
            return
        self._over = True
        self._batch = []
        try:
            self._close()
            for path in reversed(self._made):  # the sidecar before the data it vouches for
                self._disk.unlink(path)
            if self._appended is not None:
                self._packs.settle(self._appended)
            if self._packed:
                self._packs.release(self.job_id, durably=self._committed)
            elif self._committed:
                self._jobs.sync()
        except (OSError, EngineError):
            pass  # what a broken disk keeps is found by `Spool.incomings` when it works again
        if self._committed:
            self._space.remove(self.received)
        else:
            self._space.close(self.job_id, kept=0, unwritten=self._unwritten)
