"""Turns keys into open files below a root directory without ever leaving it, and system errors into ours."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backends import errors
from backends.errors import InvalidRequest

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NAME_MAX = 255
SUFFIX = ".bucketline-part"
"""Ends the names of unfinished uploads, which no key can reach."""


ERRNO_ERRORS: dict[int, type[errors.BackendError]] = {
    errno.EACCES: errors.AccessDenied,
    errno.EPERM: errors.AccessDenied,
    errno.EROFS: errors.AccessDenied,
    errno.EDQUOT: errors.StoreFull,
    errno.EFBIG: errors.StoreFull,
    errno.ENOSPC: errors.StoreFull,
    errno.EEXIST: errors.ObjectExists,
    errno.EILSEQ: errors.InvalidRequest,
    errno.EINVAL: errors.InvalidRequest,
    errno.EISDIR: errors.InvalidRequest,
    errno.ELOOP: errors.InvalidRequest,
    errno.ENAMETOOLONG: errors.InvalidRequest,
    errno.ENOTDIR: errors.InvalidRequest,
    errno.ENOTEMPTY: errors.InvalidRequest,
    errno.ENOENT: errors.DestinationMissing,
    errno.ETIMEDOUT: errors.TimedOut,
}


def split_key(key: str) -> list[str]:
    """The folders and the file name of `key`; raises `InvalidRequest` if it is not a plain relative path."""
    names = key.split("/")
    for name in names:
        if name in ("", ".", ".."):
            raise InvalidRequest(f"The key {key!r} is not a relative path without empty, `.` or `..` steps.")
        if "\0" in name:
            raise InvalidRequest("The key contains a NUL character.")
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise InvalidRequest("The key is not valid Unicode text.") from error
        if size > NAME_MAX:
            raise InvalidRequest(f"A name in the key has {size} bytes; the file system takes at most {NAME_MAX}.")
    if names[-1].startswith(".") and names[-1].endswith(SUFFIX):
        raise InvalidRequest(f"Names like .*{SUFFIX} are kept for unfinished uploads.")
    return names


@contextmanager
def folder_of(root: Path, folders: list[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder below `root`, each step opened without following a link; `make` makes what lacks."""
    if make:
        root.mkdir(parents=True, exist_ok=True)
    folder = os.open(root, _FOLDER)
    try:
        for name in folders:
            step = _enter(folder, name, make)
            os.close(folder)
            folder = step
        yield folder
    finally:
        os.close(folder)


def _enter(folder: int, name: str, make: bool) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "A folder of the key is a symbolic link") from None
        if make:
            raise NotADirectoryError(errno.ENOTDIR, "A folder of the key is a file") from None
        raise FileNotFoundError(errno.ENOENT, "No such folder") from None  # nothing can be below a file
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, dir_fd=folder)
        os.fsync(folder)
    except FileExistsError:
        pass  # another upload was faster
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def open_file(folder: int, name: str, flags: int) -> BinaryIO:
    """The regular file `name` in `folder`; a link is refused, anything else is as good as not there."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a pipe did not block us, thanks to O_NONBLOCK
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "No such file")
    return os.fdopen(descriptor, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "r+b", buffering=0)


@contextmanager
def classified(key: str, missing: type[errors.BackendError]) -> Iterator[None]:
    """Turn any OSError inside into a BackendError by the table above; what does not exist becomes `missing`."""
    try:
        yield
    except OSError as error:
        kind = missing if error.errno == errno.ENOENT else ERRNO_ERRORS.get(error.errno or 0, errors.Unavailable)
        raise kind(f"{error.strerror or error} (at {key!r}).") from error
