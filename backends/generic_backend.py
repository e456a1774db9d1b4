"""The verbs of the `fsspec` backend: an upload is a temporary file beside its target. `backends.generic` says more."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from backends import checksums, parts
from backends.base import Body, Capabilities, ObjectInfo, Properties, Receipt, Session, SessionInfo
from backends.errors import (
    BackendError,
    IntegrityError,
    InvalidRequest,
    ObjectExists,
    SessionLost,
    Unavailable,
)
from backends.generic import FsspecOptions, check_key
from backends.generic_errors import from_exception, missing, spoils_connection
from backends.generic_files import Files, LocalFiles, Seen, compared, stay_below
from backends.generic_ftp import FtpFiles
from backends.generic_sftp import SftpFiles, SshfsFiles
from backends.generic_smb import SmbFiles
from backends.generic_webdav import WebdavFiles
from backends.local_uploads import LocalUpload, found_upload, new_id

_FILES: dict[str, type[Files]] = {
    kind.__name__: kind for kind in (Files, LocalFiles, SftpFiles, SshfsFiles, SmbFiles, FtpFiles, WebdavFiles)
}
_OWN_CLASSES = {
    "sftp": "fsspec.implementations.sftp.SFTPFileSystem",
    "ssh": "fsspec.implementations.sftp.SFTPFileSystem",
}
"""An installed sshfs takes these protocols over, with other option names: whoever wants it names its class."""


class GenericBackend:
    """One folder of one file system. It may be made anywhere: it connects on first use, in each process."""

    def __init__(self, options: FsspecOptions, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._options, self._kind = options, options.kind
        self._root = ""
        self._lock = threading.Lock()
        self._local = threading.local()
        self._shared: tuple[int, Files] | None = None
        self._made: list[tuple[int, Files]] = []

    def begin(
        self, key: str, *, size: int, part_size: int, properties: Properties, create_only: bool = False
    ) -> Session:
        check_key(key, self._kind)
        upload = LocalUpload(new_id(), key, size, part_size, create_only=create_only)
        with self._files("begin the upload") as files:
            if create_only and files.look(self._path(key)) is not None:
                raise ObjectExists(f"There is an object at {key!r} already.")
            files.make_folders(self._path(key).rpartition("/")[0])
            files.create(self._temporary(upload))
        return upload.session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        upload = self._upload(session)
        if body.size != parts.size_of(number, upload.size, upload.part_size):
            raise InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        path, offset = self._temporary(upload), (number - 1) * upload.part_size
        with self._files(f"send part {number}") as files:
            there = files.look(path)
            if there is None:
                raise SessionLost("There is no such upload; it was completed or aborted.")
            if self._kind.family == "whole":
                crc32c = files.write(path, body)
            elif self._kind.family == "ordered" and there.size < offset:
                raise SessionLost(f"The unfinished file ends at byte {there.size}, before part {number}.")
            else:
                crc32c = files.write_at(path, offset, body)
            if (after := files.look(path)) is None or after.size < offset + body.size:
                raise Unavailable(f"Part {number} was written, but the file is shorter than that.")
        return Receipt(number, body.size, etag=checksums.crc32c_text(crc32c))

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        """No store here can tell which parts landed: what it has is read back and compared before it gets its name.

        An operator who wants that traffic saved (`verify = "size"`) gets an object with no checksum, and no such claim.
        """
        upload = self._upload(session)
        in_order = parts.in_order(receipts, size=upload.size, part_size=upload.part_size)
        path, target = self._temporary(upload), self._path(upload.key)
        with self._files("complete the upload") as files:
            there = files.look(path)
            if there is None:
                raise SessionLost("There is no such upload; it was completed or aborted.")
            if there.size != upload.size:
                raise IntegrityError(f"The unfinished file has {there.size} bytes instead of {upload.size}.")
            checksum = None if self._by_size else _proved(files, path, in_order)
            files.publish(path, target, create_only=upload.create_only)
            found = files.look(target)
        if found is None:
            raise Unavailable("The object got its name, but cannot be seen there.")
        return self._info(upload.key, found, checksum)

    def abort(self, session: Session) -> None:
        upload = self._upload(session)
        with self._files("abort the upload") as files:
            files.remove(self._temporary(upload))

    def stat(self, key: str) -> ObjectInfo | None:
        check_key(key, self._kind)
        with self._files("look at the object") as files:
            found = files.look(self._path(key))
        return None if found is None else self._info(key, found, None)

    def put_whole(self, key: str, body: Body, *, properties: Properties, create_only: bool = False) -> ObjectInfo:
        session = self.begin(
            key, size=body.size, part_size=max(body.size, 1), properties=properties, create_only=create_only
        )
        try:
            return self.complete(session, [self.put_part(session, 1, body)])
        except BaseException:
            self._forget(session)
            raise

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        folders = prefix.split("/")[:-1]
        found = []
        with self._files("list open uploads") as files:
            top = "/".join([self._base, *folders])
            try:
                for folder, names in files.walk(top):
                    inner = folder.rstrip("/").removeprefix(top.rstrip("/")).strip("/")
                    steps = [*folders, *(inner.split("/") if inner else [])]
                    found += [found_upload(steps, name) for name in names]
            except Exception as error:
                if not missing(error):
                    raise
        return [info for info in found if info and info.key.startswith(prefix)]

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        check_key(key, self._kind)
        if not size:
            return
        with self._files("read the object") as files, closing(files.read(self._path(key), offset, size)) as blocks:
            for block in blocks:
                size -= len(block)
                yield block
        if size:
            raise InvalidRequest(f"The object at {key!r} ends {size} bytes before the range that was asked for.")

    def delete(self, key: str) -> None:
        check_key(key, self._kind)
        with self._files("delete the object") as files:
            files.remove(self._path(key))

    def close(self) -> None:
        with self._lock:
            mine = [files for pid, files in self._made if pid == os.getpid()]
            self._made, self._shared, self._local = [], None, threading.local()
        for files in mine:
            _close(files)

    @property
    def _by_size(self) -> bool:
        return self._options.verify == "size"

    def _info(self, key: str, found: Seen, checksum: str | None) -> ObjectInfo:
        return ObjectInfo(
            key=key,
            size=found.size,
            etag=f"{found.mark}-{found.size:x}",
            checksum=checksum,
            read_back=checksum is not None,
            size_is_enough=self._by_size,
        )

    # -- paths

    @property
    def _base(self) -> str:
        return self._root.rstrip("/")

    def _path(self, key: str) -> str:
        if not self._root:
            self._root = self._find_root()
        path = f"{self._base}/{key}"
        if self._kind.files == "LocalFiles":
            stay_below(self._base, path)
        return path

    def _temporary(self, upload: LocalUpload) -> str:
        folder = self._path(upload.key).rpartition("/")[0]
        return f"{folder}/{upload.temporary_name}"

    def _upload(self, session: Session) -> LocalUpload:
        upload = LocalUpload.of(session)
        check_key(upload.key, self._kind)
        return upload

    def _find_root(self) -> str:
        address = urlsplit(self._options.url)
        if self._kind.files == "WebdavFiles":
            return "/"  # the path is in the base URL
        if address.scheme == "memory":
            return "/" + f"{address.netloc}{address.path}".strip("/")
        return address.path or "/"

    # -- connections

    @contextmanager
    def _files(self, doing: str) -> Iterator[Files]:
        """The file system of this thread. Whatever fails leaves as a BackendError; a connection that broke goes."""
        try:
            self._path("")
            files = self._connected()
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

    def _connected(self) -> Files:
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

    def _forget(self, session: Session) -> None:
        try:
            self.abort(session)
        except BackendError:
            pass  # the temporary file has a name by which `gc` finds it


def _proved(files: Files, path: str, in_order: list[Receipt]) -> str:
    """The checksum of an unfinished file, once each part of it is what its receipt says."""
    with closing(files.read(path, 0, sum(receipt.size for receipt in in_order))) as blocks:
        return checksums.crc32c_text(compared(blocks, in_order))


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
