"""Opens a file that a request named, by the one way that leads there: no step of it is a link, whoever puts one in
meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STEP = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe does not wait for its writer


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of the regular file at an absolute path, as `realpath` gives it.

    Raises OSError for everything else, a link on the way among it: behind all links there are none.
    """
    file = _opened(path)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        yield file
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    folder = os.open("/", os.O_PATH | _STEP)
    try:
        for name in path.parts[1:-1]:
            step = _entered(folder, name)
            os.close(folder)
            folder = step
        return _file(folder, path.name or ".")
    finally:
        os.close(folder)


def _file(folder: int, name: str) -> int:
    try:
        return os.open(name, _FILE, dir_fd=folder)
    except BlockingIOError:
        # Somebody has a lease on it, as Samba has for its clients: a file is waited for, and nothing else.
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)


def _entered(folder: int, name: str) -> int:
    """Reading the folder has it mounted where that is done on demand; O_PATH does not, and asks for less of a right."""
    try:
        return os.open(name, os.O_RDONLY | _STEP, dir_fd=folder)
    except PermissionError:
        return os.open(name, os.O_PATH | _STEP, dir_fd=folder)
