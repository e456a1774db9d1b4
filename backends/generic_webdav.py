"""Files on a WebDAV server, by webdav4's client and requests of our own."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Generator
from typing import Any
from urllib.parse import quote

from backends.base import MIB, Body
from backends.checksums import crc32c
from backends.errors import IntegrityError, ShortBody
from backends.generic_files import Files, Seen


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
        asked["Accept-Encoding"] = "identity"  # as it is stored, and in the pieces that arrive: joining them costs most
        with self.fs.client.http.stream("GET", self._address(path), headers=asked) as answer:
            _expect(answer, (200, 206), "GET")
            skip = offset if answer.status_code == 200 else 0  # it does not know ranges: all of it comes
            for block in answer.iter_bytes():
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

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._reader.read(wanted)
        if wanted and not data:
            raise ShortBody(f"The source ended {self._left} bytes before its promised size.")
        self._crc, self._left = crc32c(data, self._crc), self._left - len(data)
        return data

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
