"""Keeps objects as files below a directory.

Needs: a directory that may be written. It is made on first use; the folders in keys are made as needed, and folders
left empty by `abort` and `delete` are removed.

Makes: each upload is one file beside its target, `.<name>.<session>.bucketline-part`, into which parts are written at
their offsets. Completing reads it back, compares every part with its receipt, and renames it into place (or links it,
for create-only); so the object appears at once and whole. Aborting removes the file. Delete what matches
`.*.bucketline-part` and is older than your longest upload, should a machine be lost for good.

Refuses: keys that are no relative path, or whose folders are symbolic links. Every step of a path is opened without
following links, so a key cannot leave the root, not even while somebody swaps folders for links.

The content type, the metadata and the checksum live in the extended attribute `user.bucketline` of the file. Where the
file system has none, the capability `metadata` is false.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar
from urllib.parse import quote

import msgspec

from backends import checksums, errors, local_attributes, local_paths, parts
from backends.base import (
    MIB,
    TIB,
    Body,
    Capabilities,
    ObjectInfo,
    Properties,
    Receipt,
    Session,
    SessionInfo,
    further,
)
from backends.body import copy
from backends.local_attributes import Attributes
from backends.local_uploads import LocalUpload, checksum_of, found_upload, new_id


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True):
    root: Path

    def __post_init__(self) -> None:
        if self.root.resolve() == Path(self.root.anchor):
            raise ValueError("root must not be the root of the file system")


class LocalBackend:
    def __init__(self, options: LocalOptions) -> None:
        self.capabilities = LocalPlugin().capabilities(options)
        self._root = options.root

    def begin(
        self,
        key: str,
        *,
        size: int,
        part_size: int,
        properties: Properties,
        create_only: bool = False,
    ) -> Session:
        if create_only and self.stat(key) is not None:
            raise errors.ObjectExists(f"There is an object at {key!r} already.")
        upload = LocalUpload(new_id(), key, size, part_size, properties, create_only)
        try:
            self._create(upload)
        except BaseException:
            self.abort(upload.session)
            raise
        return upload.session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        upload = LocalUpload.of(session)
        if body.size != parts.size_of(number, upload.size, upload.part_size):
            raise errors.InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        with self._temporary(upload) as file:
            file.seek((number - 1) * upload.part_size)
            crc32c = copy(body, lambda block: _write_all(file, block))
            os.fdatasync(file.fileno())
        return Receipt(number, body.size, checksum=checksums.crc32c_text(crc32c))

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        upload = LocalUpload.of(session)
        in_order = parts.in_order(receipts, size=upload.size, part_size=upload.part_size)
        try:
            with self._temporary(upload) as file:
                self._describe(file, upload, checksum_of(file, in_order))
                os.fsync(file.fileno())
            self._publish(upload)
        except errors.SessionLost:
            return self._completed_before(upload)
        return self._found(upload.key)

    def abort(self, session: Session) -> None:
        upload = LocalUpload.of(session)
        self._remove(upload.key, upload.temporary_name)

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            with self._open(key) as file:
                return _info(key, file)
        except errors.DestinationMissing:
            return None

    def close(self) -> None:
        """Nothing to free: every call opens what it needs."""

    def put_whole(
        self,
        key: str,
        body: Body,
        *,
        properties: Properties,
        create_only: bool = False,
    ) -> ObjectInfo:
        session = self.begin(
            key,
            size=body.size,
            part_size=max(body.size, 1),
            properties=properties,
            create_only=create_only,
        )
        try:
            return self.complete(session, [self.put_part(session, 1, body)])
        except BaseException:
            self.abort(session)
            raise

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        *folders, _ = local_paths.split_key(prefix + "*")
        found = []
        try:
            with self._folder(prefix + "*") as (top, _):
                for path, _, names, _ in os.fwalk(".", dir_fd=top):
                    found += [found_upload([*folders, *path.split("/")[1:]], name) for name in names]
        except errors.DestinationMissing:
            return []
        return [info for info in found if info and info.key.startswith(prefix)]

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        with self._open(key) as file:
            if offset < 0 or size < 0 or offset + size > os.fstat(file.fileno()).st_size:
                raise errors.InvalidRequest(f"The object at {key!r} does not have bytes {offset} to {offset + size}.")
            file.seek(offset)
            while size:
                block = file.read(min(size, MIB))
                if not block:
                    raise errors.IntegrityError(f"The object at {key!r} became shorter while it was read.")
                size -= len(block)
                yield block

    def delete(self, key: str) -> None:
        self._remove(key, local_paths.split_key(key)[-1])

    @contextmanager
    def _folder(
        self, key: str, *, make: bool = False, missing: type[errors.BackendError] = errors.DestinationMissing
    ) -> Iterator[tuple[int, str]]:
        """The open folder of `key` and the name in it. Any OSError inside becomes a BackendError, ENOENT `missing`."""
        *folders, name = local_paths.split_key(key)
        with local_paths.classified(key, missing), local_paths.folder_of(self._root, folders, make=make) as folder:
            yield folder, name

    @contextmanager
    def _temporary(self, upload: LocalUpload) -> Iterator[BinaryIO]:
        with self._folder(upload.key, missing=errors.SessionLost) as (folder, _):
            with local_paths.open_file(folder, upload.temporary_name, os.O_RDWR) as file:
                yield file

    @contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        with self._folder(key) as (folder, name), local_paths.open_file(folder, name, os.O_RDONLY) as file:
            yield file

    def _create(self, upload: LocalUpload) -> None:
        # A folder that an abort removes as empty while we enter it is made again by the next try, so: Unavailable.
        with self._folder(upload.key, make=True, missing=errors.Unavailable) as (folder, _):
            room = os.fstatvfs(folder)
            if upload.size > room.f_bavail * room.f_frsize:
                raise errors.StoreFull(f"{upload.size} bytes do not fit on the disk of this destination.")
            with local_paths.open_file(folder, upload.temporary_name, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file:
                file.truncate(upload.size)
                self._describe(file, upload)

    def _describe(self, file: BinaryIO, upload: LocalUpload, checksum: str | None = None) -> None:
        if self.capabilities.metadata:
            attributes = Attributes(upload.id, upload.properties, checksum)
            local_attributes.write(file, attributes)

    def _publish(self, upload: LocalUpload) -> None:
        with self._folder(upload.key, missing=errors.SessionLost) as (folder, name):
            temporary = upload.temporary_name
            if upload.create_only:
                self._link(folder, temporary, name)
                os.unlink(temporary, dir_fd=folder)
            else:
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def _link(self, folder: int, temporary: str, name: str) -> None:
        try:
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            ours, theirs = (os.stat(path, dir_fd=folder, follow_symlinks=False) for path in (temporary, name))
            if not os.path.samestat(ours, theirs):  # the same file: we were killed right after the link
                raise

    def _completed_before(self, upload: LocalUpload) -> ObjectInfo:
        """The object, if it is the one that this session made."""
        try:
            with self._open(upload.key) as file:
                if local_attributes.read(file).session == upload.id:
                    return _info(upload.key, file)
        except errors.DestinationMissing:
            pass
        raise errors.SessionLost("There is no such upload; it was completed and replaced, or aborted.")

    def _found(self, key: str) -> ObjectInfo:
        with self._open(key) as file:
            return _info(key, file)

    def _remove(self, key: str, name: str) -> None:
        """Unlink the file `name` beside `key`, if it is there, and the folders that are empty then."""
        try:
            with self._folder(key) as (folder, _):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
        except errors.DestinationMissing:
            pass  # gone already
        folders = local_paths.split_key(key)[:-1]
        try:
            for depth in range(len(folders), 0, -1):
                with self._folder("/".join(folders[:depth])) as (parent, empty):
                    os.rmdir(empty, dir_fd=parent)
        except errors.BackendError:
            pass  # not empty, or not ours to remove: an empty folder is only untidy


class LocalPlugin:
    name: ClassVar[str] = "local"
    Options: ClassVar[type[msgspec.Struct]] = LocalOptions
    secrets: ClassVar[frozenset[str]] = frozenset()

    def capabilities(self, options: LocalOptions) -> Capabilities:
        keeps = local_attributes.kept_at(options.root)
        return Capabilities(
            max_part=1024 * MIB,
            max_parts=100_000,
            max_object=8 * TIB,
            checksums=("crc32c",),
            create_only=True,
            metadata=keeps,
            properties=("content_disposition", "cache_control", "tags") if keeps else (),
        )

    def url(self, options: LocalOptions, key: str) -> str:
        return f"file://{quote(str(options.root / key))}"

    def build(self, options: LocalOptions) -> LocalBackend:
        return LocalBackend(options)


def _write_all(file: BinaryIO, block: memoryview) -> None:
    while block:
        block = block[file.write(block) :]


def _info(key: str, file: BinaryIO) -> ObjectInfo:
    state, attributes = os.fstat(file.fileno()), local_attributes.read(file)
    return ObjectInfo(
        key=key,
        size=state.st_size,
        etag=f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}",
        checksum=attributes.valid_checksum(state),
        content_type=attributes.properties.content_type,
        metadata=attributes.properties.metadata,
        properties=further(attributes.properties),
    )
