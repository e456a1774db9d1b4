"""Files on an SMB share, by smbprotocol's smbclient.

fsspec's file system for it lends its options and its reading of addresses. What it does itself is not used: it keeps
one connection for the whole process, which cannot log in again once it broke, and waits for answers without end.
"""

from __future__ import annotations

import functools
import ntpath
import stat
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from backends.base import MIB, Body
from backends.body import copy
from backends.errors import InvalidRequest, ObjectExists
from backends.generic_errors import missing
from backends.generic_files import Files, Seen

REQUEST = MIB // 2
"""Bytes in one message. The library copies each several times: larger copies are made in fresh pages of memory every
time (1 MiB takes 1.7 times the CPU, 4 MiB more than twice), and smaller ones cost more in messages."""

_NO_LINKS = {0xC0000010, 0xC00000BB, 0xC0000002, 0xC0000022}
"""INVALID_DEVICE_REQUEST, NOT_SUPPORTED, NOT_IMPLEMENTED and, for EPERM of vfat and others, ACCESS_DENIED: what servers
answer where there are no hard links."""


class SmbFiles(Files):
    """A connection for each thread: one for several runs out of the credits that SMB grants for requests."""

    def __init__(self, fs: Any, read_seconds: float = 60.0) -> None:
        super().__init__(fs, read_seconds)
        self._connection, self._arguments = _connect(fs, read_seconds)

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        # -1: it makes no connection of its own
        return {"timeout": connect_seconds, "register_session_retries": -1}

    def look(self, path: str) -> Seen | None:
        try:
            found = self._call("stat", path)
        except OSError as error:  # the library's own class, which is no FileNotFoundError
            if missing(error):
                return None
            raise
        return Seen(found.st_size, str(found.st_mtime_ns)) if stat.S_ISREG(found.st_mode) else None

    def make_folders(self, path: str) -> None:
        self._call("makedirs", path, exist_ok=True)

    def create(self, path: str) -> None:
        with self._open(path, "wb"):
            pass

    def write_at(self, path: str, offset: int, body: Body) -> int:
        return self._write(path, "r+b", offset, body)

    def write(self, path: str, body: Body) -> int:
        return self._write(path, "wb", 0, body)

    def read(self, path: str, offset: int, size: int) -> Generator[bytes]:
        with self._open(path, "rb") as file:
            file.seek(offset)
            while size and (block := file.read(min(size, REQUEST))):
                size -= len(block)
                yield block

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        if not create_only:
            self._call("replace", temporary, self._unc(target))
            return
        # A rename that must not replace is no way to let one of two win: Samba looks, and then renames.
        try:
            self._call("link", temporary, self._unc(target))
        except OSError as error:
            if self.look(target) is not None:
                raise ObjectExists("There is an object at the key already.") from None
            if getattr(error, "ntstatus", None) in _NO_LINKS:
                raise InvalidRequest(
                    "This share makes no hard links, or not for this user; without them nobody can tell which of two "
                    'writers came first: use on_conflict "replace", or set capabilities = { create_only = false }.'
                ) from error
            raise
        self.remove(temporary)

    def walk(self, path: str) -> Iterator[tuple[str, list[str]]]:
        import smbclient

        prefix = self._unc("")
        for folder, _, names in smbclient.walk(self._unc(path), onerror=_raise, **self._arguments):
            yield folder.removeprefix(prefix).replace("\\", "/"), list(names)

    def close(self) -> None:
        self._connection.disconnect(close=False)  # with True it says good-bye and waits for the answer

    def _remove(self, path: str) -> None:
        self._call("remove", path)

    def _write(self, path: str, mode: str, offset: int, body: Body) -> int:
        def write(block: memoryview) -> None:
            while block:
                block = block[file.write(block) :]

        with self._open(path, mode) as file:
            file.seek(offset)
            return copy(body, write, block_size=REQUEST)

    @contextmanager
    def _open(self, path: str, mode: str) -> Iterator[Any]:
        file = self._call("open_file", path, mode, buffering=0, share_access="rwd")
        try:
            yield file
            file.close()
        finally:
            if not file.closed:
                self._let_go(file)

    @staticmethod
    def _let_go(file: Any) -> None:
        """Close a handle after a failure. Where the connection is gone there is nothing to close, only to forget."""
        try:
            file.close()
        except Exception:
            file.fd._connected = False  # else the library warns of a handle that nobody could close

    def _call(self, name: str, path: str, *more: Any, **options: Any) -> Any:
        import smbclient

        method: Callable[..., Any] = getattr(smbclient, name)
        return method(self._unc(path), *more, **options, **self._arguments)

    def _unc(self, path: str) -> str:
        return ntpath.normpath(f"\\\\{self.fs.host}" + path.replace("/", "\\")) if path else f"\\\\{self.fs.host}"


def _connect(fs: Any, read_seconds: float) -> tuple[Any, dict[str, Any]]:
    """A connection that is logged in, and the arguments with which every call finds it."""
    from smbclient import register_session
    from smbprotocol.connection import Connection

    connection = Connection(uuid.uuid4(), fs.host, fs._port)
    try:
        connection.connect(timeout=fs.timeout)
    except ValueError as error:  # the library's only word for a host that cannot be reached
        raise ConnectionError(f"{fs.host}:{fs._port} cannot be reached") from error
    # The library waits for every answer without end.
    connection.receive = functools.partial(connection.receive, timeout=max(1, round(read_seconds)))
    arguments = {
        "username": fs.username,
        "password": fs.password,
        "port": fs._port,
        "encrypt": fs.encrypt,
        "connection_cache": {f"{fs.host.lower()}:{fs._port}": connection},
    }
    try:
        register_session(fs.host, **arguments)
    except BaseException:
        connection.disconnect(close=False)
        raise
    return connection, arguments


def _raise(error: OSError) -> None:
    raise error
