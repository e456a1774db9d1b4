"""Files of a file system, with the few calls that a backend needs of it: of any, of a directory, and by WebDAV.

The methods of fsspec that expand globs or take lists (`rm`, `mv`, `put`) are not used: names are kept byte for byte.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from backends import checksums
from backends.base import MIB, Body, Receipt
from backends.body import copy
from backends.checksums import crc32c
from backends.errors import IntegrityError, InvalidRequest, ObjectExists, ShortBody
from backends.generic_errors import missing

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


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

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        if not create_only:
            os.replace(temporary, target)
            return
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise ObjectExists("There is an object at the key already.") from None
        os.unlink(temporary)


class WebdavFiles(Files):
    """WebDAV with webdav4's client, but addresses and requests of our own: it encodes names in a way that loses some.

    A PUT of a range is not safe (one server keeps only that range), so files go whole.
    """

    shared = True
    heals = True

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        return {"timeout": read_seconds, "retry": False}

    def look(self, path: str) -> Seen | None:
        answer = self._ask("PROPFIND", path, (207, 404), headers={"Depth": "0"})
        if answer.status_code == 404 or re.search(r"<[^>]*\bcollection\b", answer.text):
            return None
        size = re.search(r"getcontentlength[^>]*>\s*(\d+)\s*<", answer.text)
        changed = re.search(r"getlastmodified[^>]*>([^<]*)<", answer.text)
        return Seen(int(size[1]) if size else 0, changed[1] if changed else "")

    def make_folders(self, path: str) -> None:
        folder = ""
        for name in path.strip("/").split("/") if path.strip("/") else ():
            folder += f"/{name}"
            self._ask("MKCOL", folder, (201, 405), slash=True)  # 405: it is there

    def create(self, path: str) -> None:
        self._ask("PUT", path, (200, 201, 204), content=b"")

    def write(self, path: str, body: Body) -> int:
        with contextlib.closing(_Reader(body)) as reader:
            blocks = iter(lambda: reader.read(MIB), b"")
            self._ask("PUT", path, (200, 201, 204), content=blocks, headers={"Content-Length": str(body.size)})
            return reader.finish()

    def read(self, path: str, offset: int, size: int) -> Generator[bytes]:
        asked = {"Range": f"bytes={offset}-{offset + size - 1}"} if size else {}
        with self.fs.client.http.stream("GET", self._address(path), headers=asked) as answer:
            _expect(answer, (200, 206), "GET")
            skip = offset if answer.status_code == 200 else 0  # it does not know ranges: all of it comes
            for block in answer.iter_bytes(MIB):
                wanted = block[skip:][:size]
                skip, size = max(0, skip - len(block)), size - len(wanted)
                if wanted:
                    yield wanted

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        where = {"Destination": str(self._address(target)), "Overwrite": "T"}
        self._ask("MOVE", temporary, (201, 204), headers=where)

    def close(self) -> None:
        self.fs.client.http.close()

    def _remove(self, path: str) -> None:
        self._ask("DELETE", path, (200, 204, 404))

    def _address(self, path: str, *, slash: bool = False) -> Any:
        base = self.fs.client.base_url
        whole = base.path.rstrip("/") + "/" + path.strip("/") + ("/" if slash else "")
        return base.copy_with(raw_path=quote(whole, safe="/~").encode())

    def _ask(self, method: str, path: str, fine: tuple[int, ...], *, slash: bool = False, **more: Any) -> Any:
        answer = self.fs.client.http.request(method, self._address(path, slash=slash), **more)
        return _expect(answer, fine, method)


class Refused(Exception):
    """An HTTP answer that is none of those that were hoped for."""

    def __init__(self, method: str, status: int) -> None:
        super().__init__(f"{method} was answered with {status}")
        self.status_code = status


def _expect(answer: Any, fine: tuple[int, ...], method: str) -> Any:
    if answer.status_code not in fine:
        raise Refused(method, answer.status_code)
    return answer


class _Reader(io.RawIOBase):
    """A body for libraries that want to read it themselves: summed on the way, and never shorter than promised."""

    def __init__(self, body: Body) -> None:
        self._body, self._reader = body, body.open()
        self._left, self._crc = body.size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        if not self._left:
            return 0
        count = int(self._reader.readinto(view))  # type: ignore[attr-defined]
        if not count:
            raise ShortBody(f"The source ended {self._left} bytes before its promised size.")
        self._crc, self._left = crc32c(view[:count], self._crc), self._left - count
        return count

    def finish(self) -> int:
        """The CRC32C of all of it; raises when it is not what the body promised."""
        if self._left:
            raise IntegrityError(f"The library left {self._left} bytes of the body unread.")
        if self._body.crc32c is not None and self._crc != self._body.crc32c:
            raise IntegrityError("The bytes to send no longer have their CRC32C.", code="source_corrupt")
        return self._crc

    def close(self) -> None:
        self._reader.close()
        super().close()


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
