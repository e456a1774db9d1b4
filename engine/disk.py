"""The system calls that change a spool: every effect on its disk is one method here, every failure an `EngineError`.

Tests replace `Disk` to fail, count, or stop the machine at any of them. Nothing is retried: after a failed fsync the
kernel may have dropped the very pages it could not write, and a second fsync would say that all is well.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.errors import EngineError, SpoolFull, SpoolUnavailable, TooLarge

MAX_BUFFERS = 1024  # IOV_MAX of Linux: the kernel takes no more in one writev
WRITE = 256 << 10
"""What one write of a stream takes: a larger one is out of the core's cache by then and costs more (decision 33)."""
RETRY_FULL_SECONDS = 10
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE: the size of the file stays what was really received

_COPY = 1 << 27  # bytes that one call may copy


class Room(NamedTuple):
    """What the file system says about itself, in bytes; `files` is None where it has no fixed number of inodes."""

    total: int
    free: int
    files: int | None


def explain(error: OSError, doing: str) -> EngineError:
    """What a failed call means for whoever sent the file. The text names no path: it goes to clients."""
    reason = f"The spool failed while {doing}: {error.strerror or error}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFull(reason, retry_after=RETRY_FULL_SECONDS)
    if error.errno == errno.EFBIG:
        return TooLarge(f"{reason} The spool's file system, or a limit of the process, takes no file of this size.")
    return SpoolUnavailable(reason, retry_after=RETRY_FULL_SECONDS)


class Disk:
    """The real thing. `durable=False` leaves writing back to the kernel: a power cut may lose what was accepted."""

    def __init__(self, *, durable: bool = True) -> None:
        self.durable = durable

    def create(self, path: str) -> int:
        """A new file of mode 0600, open for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def reopen(self, path: str) -> int:
        """A file that is there, open for writing at its end."""
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)

    def allocate(self, fd: int, size: int) -> bool:
        """Blocks for `size` bytes, so that a full disk is known now; False where the file system cannot promise.

        Writing into them is also a quarter faster.
        """
        call = _libc("fallocate64", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        if call is None:
            return False
        if call(fd, _KEEP_SIZE, 0, size) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EINTR):
            return False
        raise OSError(code, os.strerror(code))

    def write(self, fd: int, buffers: Sequence[bytes]) -> None:
        """Append all of `buffers`, at most `MAX_BUFFERS` of them."""
        left = sum(map(len, buffers))
        left -= os.writev(fd, buffers)
        if left:
            # A short write is how a disk says it is full; the next call says so with an error, or goes on.
            rest = memoryview(b"".join(buffers))
            while left:
                left -= os.write(fd, rest[-left:])

    def copy(self, source: int, target: str, offset: int) -> int:
        """All of `source` into the file `target` from `offset` on, by the kernel, which shares blocks where the file
        system can; how many bytes that were.
        """
        begin, size = offset, os.fstat(source).st_size
        fd = os.open(target, os.O_WRONLY | os.O_CLOEXEC)  # one that appends cannot be copied to
        try:
            while offset - begin < size:
                copied = _copy_some(source, offset - begin, fd, offset, size - (offset - begin))
                if not copied:
                    raise OSError(errno.EIO, "a file became shorter while it was copied")
                offset += copied
        finally:
            os.close(fd)
        return size

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        """Overwrite a few bytes."""
        os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def start_sync(self, fd: int) -> None:
        """Have the kernel begin to write, and do not wait: several files share what their fsyncs wait for.

        It is a hint. What goes wrong is told by the fsync.
        """
        call = _libc("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        if self.durable and call is not None:
            call(fd, 0, 0, _START_WRITING)

    def sync(self, fd: int) -> None:
        """Wait until the file, or the entries of a directory, survive a power cut."""
        if self.durable:
            os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def room(self, path: str) -> Room:
        found = os.statvfs(path)
        unit = found.f_frsize
        return Room(found.f_blocks * unit, found.f_bavail * unit, found.f_favail if found.f_files else None)


class Directory:
    """A directory whose entries must survive a power cut.

    Eight threads that share one fsync here were measured no faster than eight that each call it (2026-11, ext4): the
    journal does the sharing.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync(self) -> None:
        self._disk.sync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _copy_some(source: int, at: int, target: int, offset: int, size: int) -> int:
    """Some bytes from one file to another, at most `size`. Where the kernel cannot, through 1 MiB of memory."""
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, min(size, _COPY), at, offset)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV):
                raise
    return os.pwrite(target, os.pread(source, min(size, 1 << 20), at), offset)


@functools.cache
def _libc(name: str, *types: type) -> ctypes._FuncPointer | None:
    """A call of Linux that Python does not have, or None on other systems.

    `os.posix_fallocate` will not do: where the file system cannot allocate, glibc writes to every block instead.
    """
    try:
        call: ctypes._FuncPointer = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        return None
    call.argtypes = types
    return call
