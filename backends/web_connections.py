"""Connections to web servers that are made only to addresses that were looked at, and do not wait for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

HEADER_SECONDS = 60.0
"""For all header lines of an answer, however busily they trickle in."""


def pool_of(base: type[Any], connection: type[Any]) -> type[Any]:
    """The class of pools that have connections of this class."""
    return type(f"Guarded{base.__name__}", (base,), {"ConnectionCls": connection})


def guarded(base: type[Any], addresses: Callable[[str, int], list[str]], header_seconds: float | None) -> type[Any]:
    """The connection class that connects to an address that was looked at, and does not wait for headers for ever."""

    class Guarded(base):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            try:
                found = addresses(self.host, self.port)
            except (socket.gaierror, UnicodeError) as error:
                raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
            failure: OSError | None = None
            for address in found:
                try:
                    return create_connection((address, self.port), self.timeout, socket_options=self.socket_options)
                except OSError as error:
                    failure = error
            if isinstance(failure, TimeoutError):
                raise ConnectTimeoutError(self, "timed out") from failure
            raise NewConnectionError(self, "no connection") from failure

        def getresponse(self) -> Any:
            sock, late = self.sock, threading.Event()
            stopper = threading.Timer(header_seconds or HEADER_SECONDS, _shut, (sock, late))
            stopper.daemon = True
            stopper.start()
            try:
                response = super().getresponse()
            finally:
                stopper.cancel()
            if late.is_set():  # http.client takes the end of the connection for the end of the headers
                response.close()
                raise TimeoutError("the headers took too long")
            return response

    return Guarded


def _shut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
