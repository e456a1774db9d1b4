"""Small files of the spool that are read, replaced and removed whole."""

from __future__ import annotations

import contextlib

from engine.disk import Directory, Disk, explain


def read_whole(path: str) -> bytes | None:
    """None when it is not there."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, "reading a record") from error


def replace(disk: Disk, temporary: str, target: str, content: bytes, directory: Directory) -> None:
    """Readers see the old content or the new, and after this call, also after a power cut, the new.

    `temporary`: a name on the same file system that nobody else uses; `directory`: that of `target`.
    """
    try:
        fd = disk.create(temporary)
        try:
            disk.write(fd, [content])
            disk.sync(fd)
        finally:
            disk.close(fd)
        disk.rename(temporary, target)
        directory.sync()
    except OSError as error:
        with contextlib.suppress(OSError):
            disk.unlink(temporary)
        raise explain(error, "writing a record") from error


def remove(disk: Disk, path: str) -> None:
    """One that is not there is no error."""
    try:
        disk.unlink(path)
    except OSError as error:
        raise explain(error, "removing a file") from error
