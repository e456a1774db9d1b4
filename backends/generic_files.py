"""Files of a file system, with the few calls that a backend needs of it: of any, and of a directory.

The methods of fsspec that expand globs or take lists (`rm`, `mv`, `put`) are not used: names are kept byte for byte.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from backends import checksums
from backends.base import MIB, Body, Receipt
from backends.body import copy
from backends.errors import IntegrityError, InvalidRequest, ObjectExists
from backends.generic_errors import missing

MAKING_FOLDERS = 8
"""Each try goes at least one folder deeper than the one before; keys are seldom deeper, and others seldom as quick."""


class Seen(NamedTuple):
    """A file that is there."""

    size: int
    mark: str
    """Changes when the file does, as far as the file system tells."""


class Files:
    """Any file system, by what all of them have. One belongs to one thread, unless `shared`."""

    shared = False
    heals = False
    """Makes its connections anew by itself."""

    def __init__(self, fs: Any, read_seconds: float = 60.0) -> None:
        self.fs = fs
        self.spoiled = False
        """The connection is in the middle of something, and cannot be used again."""

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        """The options that give this file system its timeouts."""
        return {}

    @staticmethod
    def class_for(found: Any) -> Any:
        """The class to make the file system of; `found` is fsspec's own, or the one that the operator named."""
        return found

    def look(self, path: str) -> Seen | None:
        """The file at the path; None when there is none, or a folder."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.info(path)
        except Exception as error:
            if missing(error) or isinstance(error, NotADirectoryError):
                return None
            raise
        if found.get("type") != "file":
            return None
        return Seen(int(found["size"]), str(found.get("mtime") or found.get("modify") or found.get("modified") or ""))

    def make_folders(self, path: str) -> None:
        """Two uploads may make one folder at the same moment, and fsspec's makedirs then fails for the second."""
        for attempt in range(MAKING_FOLDERS):
            try:
                self.fs.makedirs(path, exist_ok=True)
                return
            except OSError:
                self.fs.invalidate_cache()
                if attempt == MAKING_FOLDERS - 1:
                    raise

    def create(self, path: str) -> None:
        """An empty file."""
        with self.fs.open(path, "wb"):
            pass

    def write_at(self, path: str, offset: int, body: Body) -> int:
        """Write the body at its place in a file that is there; the CRC32C of what was written."""
        with self.fs.open(path, "r+b") as file:
            file.seek(offset)
            return copy(body, lambda block: file.write(bytes(block)))

    def write(self, path: str, body: Body) -> int:
        """Write the body as the whole file; the CRC32C of what was written."""
        with self.fs.open(path, "wb") as file:
            return copy(body, lambda block: file.write(bytes(block)))

    def read(self, path: str, offset: int, size: int) -> Generator[bytes]:
        """So many bytes of a file, or as many as it has."""
        with self.fs.open(path, "rb", **({"block_size": MIB} if size > MIB else {})) as file:
            file.seek(offset)
            while size and (block := file.read(min(size, MIB))):
                size -= len(block)
                yield bytes(block)

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        """Give the file its name. Here by copying: who looks meanwhile may see a part of it."""
        self.fs.cp_file(temporary, target)
        self.remove(temporary)

    def remove(self, path: str) -> None:
        """A file that is not there is no error."""
        try:
            self._remove(path)
        except Exception as error:
            if not missing(error):
                raise

    def walk(self, path: str) -> Iterator[tuple[str, list[str]]]:
        """Every folder below the path, with the names of its files."""
        self.fs.invalidate_cache()
        for folder, _, names in self.fs.walk(path):
            yield folder, list(names)

    def close(self) -> None:
        """Most file systems have nothing to close."""

    def _remove(self, path: str) -> None:
        self.fs.rm_file(path)


class LocalFiles(Files):
    shared = True

    def look(self, path: str) -> Seen | None:
        """Without the four system calls of fsspec's `info`."""
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Seen(found.st_size, str(found.st_mtime_ns)) if stat.S_ISREG(found.st_mode) else None

    def write_at(self, path: str, offset: int, body: Body) -> int:
        """Without the copy of every block that a file of fsspec needs."""
        with open(path, "r+b", buffering=0) as file:
            file.seek(offset)
            return copy(body, lambda block: _write_all(file, block))

    def write(self, path: str, body: Body) -> int:
        with open(path, "wb", buffering=0) as file:
            return copy(body, lambda block: _write_all(file, block))

    def read(self, path: str, offset: int, size: int) -> Generator[bytes]:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            while size and (block := file.read(min(size, MIB))):
                size -= len(block)
                yield block

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        if not create_only:
            os.replace(temporary, target)
            return
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise ObjectExists("There is an object at the key already.") from None
        os.unlink(temporary)


def _write_all(file: io.FileIO, block: memoryview) -> None:
    while block:
        block = block[file.write(block) or 0 :]


def stay_below(root: str, path: str) -> None:
    """In a directory of this machine, a folder that is a link must not lead out of the root."""
    real, folder = os.path.realpath(root or "/"), os.path.realpath(os.path.dirname(path))
    if os.path.commonpath([real, folder]) != real:
        raise InvalidRequest("A folder of the key is a link that leads out of the destination.")


def compared(blocks: Iterator[bytes], in_order: list[Receipt]) -> int:
    """The CRC32C of everything, once each part is what its receipt says."""
    whole, left = 0, b""
    for receipt in in_order:
        part, size = 0, receipt.size
        while size:
            left = left or next(blocks, b"")
            if not left:
                raise IntegrityError("The unfinished file became shorter while it was read.")
            part, size, left = checksums.crc32c(left[:size], part), size - len(left[:size]), left[size:]
        if checksums.crc32c_text(part) != receipt.etag:
            raise IntegrityError(f"Part {receipt.number} as it is stored is not the one its receipt was made for.")
        whole = checksums.combine_crc32c(whole, part, receipt.size)
    if left or next(blocks, b""):
        raise IntegrityError("The unfinished file became longer while it was read.")
    return whole
