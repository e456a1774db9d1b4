"""Files on an FTP server, by fsspec's file system for it and ftplib underneath."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Generator
from ftplib import FTP, FTP_TLS, error_perm, error_temp
from typing import Any

from backends.base import MIB, Body
from backends.body import copy
from backends.generic_files import Files, Seen


class FtpFiles(Files):
    """FTP: a connection for each thread, and parts only at the end of what is there."""

    @staticmethod
    def settings(connect_seconds: float, read_seconds: float) -> dict[str, Any]:
        return {"timeout": read_seconds, "use_listings_cache": False}

    @staticmethod
    def class_for(found: Any) -> Any:
        """The same, but with `tls = true` it looks at the server's certificate, which fsspec's own does not."""

        class Knowing(found):  # type: ignore[misc]
            def __init__(self, *names: Any, ca_file: str | None = None, verify: bool = True, **options: Any) -> None:
                self._ca_file, self._verify = ca_file, verify
                super().__init__(*names, **options)

            def _connect(self) -> None:
                if self.tls is not True:
                    super()._connect()
                    return
                self.ftp = FTP()  # to be closed at its end, should the certificates not be readable
                context = ssl.create_default_context(cafile=self._ca_file)
                if not self._verify:
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                self.ftp = FTP_TLS(timeout=self.timeout, encoding=self.encoding, context=context)
                self.ftp.connect(self.host, self.port)
                self.ftp.login(*self.cred)

        return Knowing

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
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()  # tells the server that this is the end, and no cut
        connection.close()
        ftp.voidresp()
        return sent
