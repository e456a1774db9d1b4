"""Reads files of web servers: ranges where they have them, and never an address that must not be connected to.

A name is resolved once per connection. Every address that it has is looked at, and the connection is made to one of
those, so that a name which changes its mind in between (rebinding) changes nothing; the certificate is checked against
the name all the same. Redirects are followed one by one, each like the first request. No proxy is used.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from email.utils import collapse_rfc2231_value
from ipaddress import ip_address
from typing import Any, ClassVar
from urllib.parse import quote, urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from backends.addresses import Address, Place, Rules, closed, place_of
from backends.base import MIB
from backends.credentials import Credential
from backends.errors import ConnectionFailed, PermanentError, Throttled, TimedOut, TransientError, Unavailable
from backends.transport import network_error, retry_after

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
HEADER_SECONDS = 60.0
"""For all header lines of an answer, however busily they trickle in."""
SLOWEST_BYTES_PER_SECOND = 1024
PATIENCE_SECONDS = 60.0
REDIRECTS = 10
_BLOCK = MIB
_MOVED = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MISSING = (404, 410)
_PASSING = (408, 425, 429)

Resolver = Callable[[str, int], list[str]]
"""The addresses of a name, as text."""


class WebRefusal(PermanentError):
    """The file cannot be had, and asking again cannot help; `code` says why."""

    title: ClassVar[str] = "The web server's file cannot be had"


class Answer:
    """One answer with its body still on the wire. To be closed, or read to its end."""

    def __init__(self, place: Place, response: urllib3.BaseHTTPResponse) -> None:
        self.place = place
        """Who answered, at the end of all redirects."""
        self.status = response.status
        self.headers = response.headers
        self._response = response

    @property
    def size(self) -> int | None:
        """Of the body as announced; None when nothing was."""
        text = self.headers.get("content-length", "")
        return int(text) if re.fullmatch(r"\d{1,18}", text) else None

    @property
    def etag(self) -> str:
        """The strong entity tag; '' for a weak one or none."""
        tag = self.headers.get("etag", "").strip()
        return tag if re.fullmatch(r'"[\x21\x23-\x7e]{0,1000}"', tag) else ""

    @property
    def modified(self) -> str:
        text = self.headers.get("last-modified", "").strip()
        return text if re.fullmatch(r"[\x20-\x7e]{1,60}", text) else ""

    @property
    def range(self) -> tuple[int, int, int] | None:
        """First byte, last byte and the size of the whole, of an answer that is a range and says so."""
        found = _RANGE.fullmatch(self.headers.get("content-range", "").strip()) if self.status == 206 else None
        return (int(found[1]), int(found[2]), int(found[3])) if found else None

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def file_name(self) -> str:
        """What Content-Disposition calls the file; '' for nothing."""
        message = Message()
        message["content-disposition"] = self.headers.get("content-disposition", "").replace("\r", "").replace("\n", "")
        try:
            named = [value for name, value in message.get_params([], "content-disposition") if name == "filename"]
            named.sort(key=lambda value: not isinstance(value, tuple))  # filename* before filename (RFC 6266)
            return collapse_rfc2231_value(named[0]) if named else ""
        except (LookupError, UnicodeError, ValueError):
            return ""

    def blocks(self) -> Iterator[bytes]:
        """The body as it is on the wire. Ending before its announced length is a TransientError, and so is crawling."""
        began, seen = time.monotonic(), 0
        try:
            while block := self._response.read1(_BLOCK, decode_content=False):
                seen += len(block)
                took = time.monotonic() - began
                if took > PATIENCE_SECONDS and seen < took * SLOWEST_BYTES_PER_SECOND:
                    raise TimedOut(f"{self.place.origin} sends less than {SLOWEST_BYTES_PER_SECOND} bytes per second.")
                yield bytes(block)
            if self.size is not None and seen != self.size:
                raise ConnectionFailed(f"{self.place.origin} announced {self.size} bytes and sent {seen}.")
        except (HTTPError, OSError) as error:
            raise network_error(error, self.place.origin) from None
        finally:
            self.close()

    def close(self) -> None:
        """What is still on the wire is left there; an empty rest keeps the connection."""
        self._response.close()


class Web:
    """One per worker process; safe for threads."""

    def __init__(
        self,
        rules: Rules,
        resolver: Resolver | None = None,
        *,
        ca_file: str | None = None,
        header_seconds: float | None = None,
    ) -> None:
        self.rules = rules
        self._resolver = resolver or resolve
        more: dict[str, Any] = {"ca_certs": ca_file} if ca_file else {}
        self._manager = urllib3.PoolManager(num_pools=32, maxsize=16, **more)
        self._manager.pool_classes_by_scheme = {
            "http": _pool(urllib3.HTTPConnectionPool, _guarded(HTTPConnection, self._addresses, header_seconds)),
            "https": _pool(urllib3.HTTPSConnectionPool, _guarded(HTTPSConnection, self._addresses, header_seconds)),
        }
        self._timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS)

    def get(self, url: str, headers: Mapping[str, str], credential: Credential | None = None) -> Answer:
        """The answer to a GET, behind all redirects: a success, or 412 or 416 where a condition was not met.

        Raises WebRefusal, or a TransientError where asking again may help. Credentials go to the origin of `url` only,
        and only when they are for it.
        """
        first = place = self._checked(url)
        if credential is not None and first.origin not in credential.origins:
            raise WebRefusal(f"These credentials are not for {first.origin}.", code="source_refused")
        for _ in range(REDIRECTS + 1):
            own = dict(credential.headers) if credential is not None and place.origin == first.origin else {}
            answer = self._ask(place, {**headers, **own, "accept-encoding": "identity", "accept": "*/*"})
            if answer.status not in _MOVED:
                return _useful(answer)
            answer.close()
            place = self._next(place, answer.headers.get("location", ""))
        raise WebRefusal(f"{first.origin} redirects more than {REDIRECTS} times.", code="source_refused")

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        """The answer to a POST, whatever it is; no redirect is followed. Raises like `get`."""
        deadline = urllib3.Timeout(total=seconds, connect=min(seconds, CONNECT_SECONDS))
        return self._ask(self._checked(url), headers, "POST", body, deadline)

    def close(self) -> None:
        self._manager.clear()

    def _checked(self, url: str) -> Place:
        try:
            place = place_of(url)
        except ValueError as fault:
            raise WebRefusal(str(fault), code="address_refused") from None
        if fault_text := self.rules.fault_of(place):
            raise WebRefusal(fault_text, code="address_refused")
        return place

    def _next(self, place: Place, location: str) -> Place:
        """Where a redirect leads; what is not ASCII in it is percent-encoded, as browsers do."""
        if not location:
            raise WebRefusal(f"{place.origin} redirects to nowhere.", code="source_refused")
        raw = location.encode("latin-1", errors="replace")
        following = self._checked(urljoin(place.origin + place.target, quote(raw, safe="%/:=&?~#+!$,;'@()*[]")))
        if place.scheme == "https" and following.scheme == "http":
            raise WebRefusal(f"{place.origin} redirects from https to http.", code="address_refused")
        return following

    def _ask(
        self,
        place: Place,
        headers: Mapping[str, str],
        method: str = "GET",
        body: bytes | None = None,
        timeout: urllib3.Timeout | None = None,
    ) -> Answer:
        try:
            pool = self._manager.connection_from_host(place.host, place.port, place.scheme)
            response = pool.urlopen(
                method, place.target, body, {"user-agent": "bucketline", **headers}, timeout=timeout or self._timeout,
                retries=False, redirect=False, preload_content=False, decode_content=False,
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            raise network_error(error, place.origin) from None
        return Answer(place, response)

    def _addresses(self, host: str, port: int) -> list[str]:
        """Every address of the name, all of which may be connected to."""
        found = self._resolver(host, port)
        if not found or not all(self.rules.allow(host, _address(text)) for text in found):
            raise WebRefusal(closed(host, self.rules.setting), code="address_refused")
        return found


def resolve(host: str, port: int) -> list[str]:
    """What the system says a name means now."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


def _address(text: str) -> Address:
    return ip_address(text.partition("%")[0])


def _pool(base: type[Any], connection: type[Any]) -> type[Any]:
    return type(f"Guarded{base.__name__}", (base,), {"ConnectionCls": connection})


def _guarded(base: type[Any], addresses: Callable[[str, int], list[str]], header_seconds: float | None) -> type[Any]:
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


def _useful(answer: Answer) -> Answer:
    """An answer that has the file, or says that a condition was not met; any other is an error."""
    status, origin = answer.status, answer.place.origin
    if status in (412, 416):
        return answer
    if status in (200, 206):
        if answer.size is None and answer.headers.get("transfer-encoding", "").strip().lower() != "chunked":
            answer.close()
            # Its end could not be told from a broken connection, neither in the body nor in the headers.
            raise WebRefusal(f"{origin} does not say where the file ends.", code="source_refused")
        coding = answer.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("identity", ""):
            return answer
        answer.close()
        raise WebRefusal(
            f"{origin} compresses the file ({coding[:40]}), though it was asked not to.", code="source_refused"
        )
    answer.close()
    if status in _MISSING:
        raise WebRefusal(f"{origin} answers {status}: there is no such file.", code="source_missing")
    if status in _PASSING or status >= 500:
        raise _passing(status, f"{origin} answers {status}.", retry_after(answer.headers))
    raise WebRefusal(f"{origin} answers {status}.", code="source_refused")


def _passing(status: int, detail: str, after: float | None) -> TransientError:
    kind = Throttled if status == 429 or (status == 503 and after is not None) else Unavailable
    return kind(detail, retry_after=after)
