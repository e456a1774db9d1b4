"""Files of a file system, with the few calls that a backend needs of it; one class for each that is peculiar.

The methods of fsspec that expand globs or take lists (`rm`, `mv`, `put`) are not used: names are kept byte for byte.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Generator, Iterator
from ftplib import error_perm, error_temp
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from backends.base import MIB, Body
from backends.body import copy
from backends.checksums import crc32c
from backends.errors import IntegrityError, ObjectExists, ShortBody
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

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self.spoiled = False
        """The connection is in the middle of something, and cannot be used again."""

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        """The options that give this file system its timeouts."""
        return {}

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


class SftpFiles(Files):
    """fsspec's own SFTP, by paramiko: one connection for each thread."""

    def __init__(self, fs: Any) -> None:
        super().__init__(fs)
        fs.ftp.get_channel().settimeout(self.read_seconds)

    read_seconds = 60.0

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        return dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), connect_seconds)

    def write_at(self, path: str, offset: int, body: Body) -> int:
        with self.fs.ftp.open(path, "r+b") as file:
            file.set_pipelined(True)  # without it, each block waits for its answer: ten times slower
            file.seek(offset)
            return copy(body, lambda block: file.write(bytes(block)))

    def read(self, path: str, offset: int, size: int) -> Generator[bytes]:
        with self.fs.ftp.open(path, "rb") as file:
            file.seek(offset)
            file.prefetch(offset + size)
            while size and (block := file.read(min(size, MIB))):
                size -= len(block)
                yield block

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        if not create_only:
            self.fs.ftp.posix_rename(temporary, target)
            return
        try:
            self.fs.ftp.rename(temporary, target)  # the protocol's own rename never replaces
        except OSError:
            if self.look(target) is not None:
                raise ObjectExists("There is an object at the key already.") from None
            raise

    def close(self) -> None:
        self.fs.client.close()

    def _remove(self, path: str) -> None:
        self.fs.ftp.remove(path)


class SshfsFiles(Files):
    """SFTP by asyncssh: one connection for all threads. Its copying and checksums, which run a shell, are not used."""

    shared = True

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        return {
            "connect_timeout": connect_seconds,
            "login_timeout": connect_seconds,
            "keepalive_interval": read_seconds,
        }

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        from fsspec.asyn import sync

        async def rename() -> None:
            async with self.fs._pool.get() as channel:
                await channel.posix_rename(temporary, target)

        sync(self.fs.loop, rename)


class SmbFiles(Files):
    """SMB by smbprotocol, which keeps its connections for the whole process."""

    shared = True
    heals = True

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        return {"timeout": connect_seconds, "share_access": "rwd", "register_session_retries": 0}

    def make_folders(self, path: str) -> None:
        import smbclient

        smbclient.makedirs(self._unc(path), exist_ok=True, port=self.fs._port)

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        import smbclient

        rename: Callable[..., None] = smbclient.rename if create_only else smbclient.replace
        try:
            rename(self._unc(temporary), self._unc(target), port=self.fs._port)
        except OSError as error:
            if create_only and self.look(target) is not None:
                raise ObjectExists("There is an object at the key already.") from None
            raise error

    def _remove(self, path: str) -> None:
        import smbclient

        smbclient.remove(self._unc(path), port=self.fs._port)

    def _unc(self, path: str) -> str:
        host: str = self.fs.host
        return f"\\\\{host}" + path.replace("/", "\\")


class FtpFiles(Files):
    """FTP: a connection for each thread, and parts only at the end of what is there."""

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        return {"timeout": read_seconds, "use_listings_cache": False}

    def look(self, path: str) -> Seen | None:
        """By SIZE, which needs no listing of the whole folder."""
        ftp = self.fs.ftp
        ftp.voidcmd("TYPE I")  # in text mode, SIZE is refused
        try:
            size = ftp.size(path)
        except error_perm as error:
            if str(error).startswith("550"):
                return None  # not there, or a folder
            raise
        return None if size is None else Seen(size, "")

    def make_folders(self, path: str) -> None:
        """Without listings, of which fsspec's own way makes a number that grows with the square of the depth."""
        ftp = self.fs.ftp
        folder = ""
        for name in path.strip("/").split("/") if path.strip("/") else ():
            folder += f"/{name}"
            with contextlib.suppress(error_perm):  # it is there; if it is not, the next step says so
                ftp.mkd(folder)

    def create(self, path: str) -> None:
        self._store(path, None, lambda connection: 0)

    def write_at(self, path: str, offset: int, body: Body) -> int:
        # Appending ("ab") was seen to write wrong content; STOR behind REST writes where it is told.
        return self._store(path, offset or None, lambda connection: copy(body, connection.sendall))

    def write(self, path: str, body: Body) -> int:
        return self._store(path, None, lambda connection: copy(body, connection.sendall))

    def read(self, path: str, offset: int, size: int) -> Generator[bytes]:
        ftp = self.fs.ftp
        ftp.voidcmd("TYPE I")
        connection = ftp.transfercmd(f"RETR {path}", offset or None)
        try:
            while size and (block := connection.recv(min(size, MIB))):
                size -= len(block)
                yield block
            # The server's last word tells a whole file from a cut one; it is 426 when there was more than we wanted.
            connection.close()
            with contextlib.suppress(error_temp):
                ftp.voidresp()
        except GeneratorExit:
            self.spoiled = True  # what is still to come would be taken for the answer to something else
            raise
        finally:
            connection.close()

    def publish(self, temporary: str, target: str, *, create_only: bool) -> None:
        self.fs.ftp.rename(temporary, target)

    def close(self) -> None:
        self.fs.ftp.close()

    def _remove(self, path: str) -> None:
        self.fs.ftp.delete(path)

    def _store(self, path: str, rest: int | None, send: Callable[[Any], int]) -> int:
        ftp = self.fs.ftp
        ftp.voidcmd("TYPE I")
        connection = ftp.transfercmd(f"STOR {path}", rest)
        try:
            sent = send(connection)
        except BaseException:
            self.spoiled = True
            connection.close()
            raise
        connection.close()
        ftp.voidresp()
        return sent


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
