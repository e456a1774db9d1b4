"""The verbs of the `fsspec` backend: an upload is a temporary file beside its target. `backends.generic` says more."""

from __future__ import annotations

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
from backends.generic_connections import Connections
from backends.generic_errors import missing
from backends.generic_files import Files, Seen, compared, stay_below
from backends.local_uploads import LocalUpload, found_upload, new_id


class GenericBackend:
    """One folder of one file system. It may be made anywhere: it connects on first use, in each process."""

    def __init__(self, options: FsspecOptions, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._options, self._kind = options, options.kind
        self._root = ""
        self._connections = Connections(options)

    def begin(
        self, key: str, *, size: int, part_size: int, properties: Properties, create_only: bool = False
    ) -> Session:
        check_key(key, self._kind)
        upload = LocalUpload(new_id(), key, size, part_size, create_only=create_only)
        with self._files("begin the upload") as files:
            self._prepare(files, upload)
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
        with self._files("complete the upload") as files:
            return self._complete(files, upload, in_order)

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
        check_key(key, self._kind)
        upload = LocalUpload(new_id(), key, body.size, max(body.size, 1), create_only=create_only)
        with self._files("store the object") as files:
            self._prepare(files, upload)
        path = self._temporary(upload)
        try:
            with self._files("store the object") as files:
                crc32c = files.write(path, body)  # over an empty file, as of `begin`, it would be slower on some
                if (after := files.look(path)) is None or after.size < body.size:
                    raise Unavailable("The file was written, but it is not there, or shorter than that.")
                return self._complete(files, upload, [Receipt(1, body.size, etag=checksums.crc32c_text(crc32c))])
        except BaseException:
            self._forget(upload.session)
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
        self._connections.close()

    def find_class(self) -> Any:
        """The class of the file system; raises ImportError where its library is not installed."""
        return self._connections.find_class()

    def _prepare(self, files: Files, upload: LocalUpload) -> None:
        target = self._path(upload.key)
        if upload.create_only and files.look(target) is not None:
            raise ObjectExists(f"There is an object at {upload.key!r} already.")
        files.make_folders(target.rpartition("/")[0])

    def _complete(self, files: Files, upload: LocalUpload, in_order: list[Receipt]) -> ObjectInfo:
        path, target = self._temporary(upload), self._path(upload.key)
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
        self._know_root()
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

    def _know_root(self) -> None:
        if not self._root:
            self._root = self._find_root()

    def _find_root(self) -> str:
        address = urlsplit(self._options.url)
        if self._kind.files == "WebdavFiles":
            return "/"  # the path is in the base URL
        if address.scheme == "memory":
            return "/" + f"{address.netloc}{address.path}".strip("/")
        return address.path or "/"

    @contextmanager
    def _files(self, doing: str) -> Iterator[Files]:
        """The file system of this thread, with the root that it has. Whatever fails leaves as a BackendError."""
        self._know_root()
        with self._connections.files(doing) as files:
            yield files

    def _forget(self, session: Session) -> None:
        try:
            self.abort(session)
        except BackendError:
            pass  # the temporary file has a name by which `gc` finds it


def _proved(files: Files, path: str, in_order: list[Receipt]) -> str:
    """The checksum of an unfinished file, once each part of it is what its receipt says."""
    with closing(files.read(path, 0, sum(receipt.size for receipt in in_order))) as blocks:
        return checksums.crc32c_text(compared(blocks, in_order))
