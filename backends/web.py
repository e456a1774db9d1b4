"""Reads files of web servers: ranges where they have them, and never an address that must not be connected to.

A name is resolved once per connection. Every address that it has is looked at, and the connection is made to one of
those, so that a name which changes its mind in between (rebinding) changes nothing; the certificate is checked against
the name all the same. Redirects are followed one by one, each like the first request. No proxy is used.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from backends.addresses import Address, Place, Rules, closed, place_of
from backends.credentials import Credential
from backends.transport import network_error
from backends.web_answer import Answer, WebRefusal, useful
from backends.web_connections import guarded, pool_of

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
REDIRECTS = 10
_MOVED = (301, 302, 303, 307, 308)

Resolver = Callable[[str, int], list[str]]
"""The addresses of a name, as text."""


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
            "http": pool_of(urllib3.HTTPConnectionPool, guarded(HTTPConnection, self._addresses, header_seconds)),
            "https": pool_of(urllib3.HTTPSConnectionPool, guarded(HTTPSConnection, self._addresses, header_seconds)),
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
                return useful(answer)
            answer.close()
            place = self._next(place, answer.headers.get("location", ""))
        raise WebRefusal(f"{first.origin} redirects more than {REDIRECTS} times.", code="source_refused")

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        """The answer to a POST, whatever it is; no redirect is followed. Raises like `get`."""
        deadline = urllib3.Timeout(total=seconds, connect=min(seconds, CONNECT_SECONDS))
        return self._ask(self._checked(url), headers, "POST", body, deadline)

    def close(self) -> None:
        self._manager.clear()

    def _checked(self, url: str, called: str | None = None) -> Place:
        try:
            place = place_of(url)
        except ValueError as fault:
            raise WebRefusal(str(fault), code="address_refused") from None
        if fault_text := self.rules.fault_of(place, called):
            raise WebRefusal(fault_text, code="address_refused")
        return place

    def _next(self, place: Place, location: str) -> Place:
        """Where a redirect leads; what is not ASCII in it is percent-encoded, as browsers do."""
        if not location:
            raise WebRefusal(f"{place.origin} redirects to nowhere.", code="source_refused")
        raw = location.encode("latin-1", errors="replace")
        target = urljoin(place.origin + place.target, quote(raw, safe="%/:=&?~#+!$,;'@()*[]"))
        following = self._checked(target, f"What {place.origin} redirects to")
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
