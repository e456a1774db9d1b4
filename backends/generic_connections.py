"""The connections of the `fsspec` backend: which file system a thread uses, and what becomes of one that broke."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from backends.errors import BackendError, InvalidRequest
from backends.generic import FsspecOptions
from backends.generic_errors import from_exception, spoils_connection
from backends.generic_files import Files, LocalFiles
from backends.generic_ftp import FtpFiles
from backends.generic_sftp import SftpFiles, SshfsFiles
from backends.generic_smb import SmbFiles
from backends.generic_webdav import WebdavFiles

_FILES: dict[str, type[Files]] = {
    kind.__name__: kind for kind in (Files, LocalFiles, SftpFiles, SshfsFiles, SmbFiles, FtpFiles, WebdavFiles)
}
_OWN_CLASSES = {
    "sftp": "fsspec.implementations.sftp.SFTPFileSystem",
    "ssh": "fsspec.implementations.sftp.SFTPFileSystem",
}
"""An installed sshfs takes these protocols over, with other option names: whoever wants it names its class."""


class Connections:
    """File systems of one destination: one for each thread, or one for all, in each process that asks."""

    def __init__(self, options: FsspecOptions) -> None:
        self._options, self._kind = options, options.kind
        self._lock = threading.Lock()
        self._local = threading.local()
        self._shared: tuple[int, Files] | None = None
        self._made: list[tuple[int, Files]] = []

    @contextmanager
    def files(self, doing: str) -> Iterator[Files]:
        """The file system of this thread. Whatever fails leaves as a BackendError; a connection that broke goes."""
        try:
            files = self.connected()
        except Exception as error:
            raise from_exception(
                error, f"connect to {urlsplit(self._options.url).netloc or self._options.url}"
            ) from None
        try:
            yield files
        except BackendError as error:
            if spoils_connection(error):
                self._drop(files)
            raise
        except Exception as error:
            told = from_exception(error, doing)
            if spoils_connection(told):
                self._drop(files)
            raise told from None
        except BaseException:
            self._drop(files)  # given back midway: nobody knows what is still on its way
            raise
        finally:
            if files.spoiled:
                self._drop(files)

    def connected(self) -> Files:
        """The file system of this thread, made when there is none yet."""
        pid = os.getpid()
        kind = _FILES[self._kind.files]
        if kind.shared:
            with self._lock:
                if self._shared is None or self._shared[0] != pid:
                    self._shared = (pid, self._connect(kind))
                    self._made.append(self._shared)
                return self._shared[1]
        own: tuple[int, Files] | None = getattr(self._local, "own", None)
        if own is None or own[0] != pid:
            own = self._local.own = (pid, self._connect(kind))
            with self._lock:
                self._made.append(own)
        return own[1]

    def _connect(self, kind: type[Files]) -> Files:
        options = self._options
        settings = kind.settings(options.connect_timeout_seconds, options.read_timeout_seconds)
        system = kind.class_for(self.find_class())
        given = {**system._get_kwargs_from_urls(options.url), **options.options}
        if self._kind.files == "WebdavFiles":
            given = _webdav(options.url, options.options)
        made = system(**{**settings, **given}, skip_instance_cache=True)
        return kind(made, options.read_timeout_seconds)

    def find_class(self) -> Any:
        """The class of the file system; raises ImportError where its library is not installed."""
        protocol = urlsplit(self._options.url).scheme
        path = self._options.file_system or _OWN_CLASSES.get(protocol)
        if path:
            module, _, name = path.rpartition(".")
            found = getattr(importlib.import_module(module), name, None)
            if found is None:
                raise InvalidRequest(f"There is no class {name} in the module {module}.")
            return found
        from fsspec import get_filesystem_class

        try:
            return get_filesystem_class({"webdavs": "webdav"}.get(protocol, protocol))
        except ValueError:
            raise InvalidRequest(f"fsspec knows no protocol {protocol!r}; name a class in `file_system`.") from None

    def _drop(self, files: Files) -> None:
        if files.heals:
            return
        with self._lock:
            if self._shared is not None and self._shared[1] is files:
                self._shared = None
            self._made = [one for one in self._made if one[1] is not files]
        if getattr(self._local, "own", (0, None))[1] is files:
            del self._local.own
        _close(files)  # others may be using it, but it broke for them as well

    def close(self) -> None:
        with self._lock:
            mine = [files for pid, files in self._made if pid == os.getpid()]
            self._made, self._shared, self._local = [], None, threading.local()
        for files in mine:
            _close(files)


def _webdav(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """webdav4 takes a base URL and a pair of user and password."""
    address = urlsplit(url)
    given = dict(options)
    user = given.pop("username", address.username)
    password = given.pop("password", "")
    scheme = "https" if address.scheme == "webdavs" else "http"
    host = address.netloc.rpartition("@")[2]
    base = {"base_url": f"{scheme}://{host}{address.path.rstrip('/')}"}
    return {**base, **({"auth": (user, password)} if user else {}), **given}


def _close(files: Files) -> None:
    try:
        files.close()
    except Exception:
        pass  # it was broken already
