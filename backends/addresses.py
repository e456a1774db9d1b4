"""Which addresses of the web may be connected to: what a request for an import says is not trusted. No I/O.

What a name means is known only when it is resolved, and only for that moment. So a URL is looked at twice: what it
says for certain when a job is submitted (`Rules.fault_of`), and what it resolves to when a connection is made
(`Rules.allow`, which `backends.web` asks about the very address that it then connects to).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]")
_URL = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
"""Printable ASCII without spaces and backslashes, which some readers take for slashes."""
LONGEST_URL = 8000

#: Not on the internet, or not for us: RFC 6890 and what came after it, and Azure's address for its own machines.
_CLOSED_V4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
]  # fmt: skip
_OPEN_V6 = IPv6Network("2000::/3")
"""Global unicast; everything else of IPv6 is local, reserved or multicast."""
_CLOSED_V6 = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20")]
#: Ranges whose addresses stand for one of IPv4, and where in them it stands, in bits from the right.
_EMBEDDING = [
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::/96"), 0),  # compatible
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
]
#: Where clouds hand out credentials to whoever asks. A host name in the allow-list does not open these.
METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"))
)


class Place(NamedTuple):
    """Where a URL leads. `host` is lower case, an IPv6 address without brackets; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")

    @property
    def shown(self) -> str:
        """The URL as it may be told: a query often holds a signature."""
        path, question, _ = self.target.partition("?")
        return self.origin + path + ("?…" if question else "")

    @property
    def name(self) -> str:
        """The last segment of the path; '' when there is none that is text."""
        try:
            return unquote(self.target.partition("?")[0].rpartition("/")[2], errors="strict")
        except UnicodeDecodeError:
            return ""


def place_of(url: str) -> Place:
    """Takes a URL apart, strictly: whatever two readers could understand differently is a ValueError."""
    if len(url) > LONGEST_URL or not _URL.fullmatch(url):
        raise ValueError(
            f"A URL is at most {LONGEST_URL} printable ASCII characters without spaces and backslashes; "
            "write others percent-encoded, and names of hosts in their ASCII form (xn--…)."
        )
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ValueError("Only http and https can be imported from.")
    if "@" in parts.netloc:
        raise ValueError("A URL with a user or password in it is refused; use credentials of plugins.toml.")
    host, colon, port = parts.netloc.rpartition(":") if re.search(r":\d*$", parts.netloc) else (parts.netloc, "", "")
    if not _HOST.fullmatch(host) or (colon and not (port and 0 < int(port[:6]) < 65536)):
        raise ValueError("The URL has no host name or port that can be understood.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host.strip("[]").lower(), int(port) if port else _PORTS[parts.scheme], target)


@dataclass(frozen=True)
class Rules:
    """What the operator allows: ports, and beyond the internet the hosts and networks that are named."""

    ports: frozenset[int] = frozenset({80, 443})
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    setting: str = "BUCKETLINE_IMPORT"
    """What the names of the settings begin with, for whoever must change them."""

    @classmethod
    def of(cls, ports: tuple[int, ...], allowed: tuple[str, ...], setting: str = "BUCKETLINE_IMPORT") -> Rules:
        """From the settings: `allowed` are host names, addresses and networks as 10.0.0.0/8."""
        read = [(text, network_of(text)) for text in allowed]
        hosts = frozenset(text.lower().rstrip(".") for text, network in read if network is None)
        networks = tuple(network for _, network in read if network is not None)
        return cls(frozenset(ports), hosts, networks, setting)

    def fault_of(self, place: Place, called: str | None = None) -> str | None:
        """Why this place cannot be imported from, as far as that is certain without asking anybody; or None. The text
        calls it by its host, or as `called` says: where a server inside redirects to is nobody's concern.
        """
        faults = []
        if place.port not in self.ports:
            known = ", ".join(map(str, sorted(self.ports)))
            faults.append(f"Port {place.port} may not be connected to; {known} may ({self.setting}_PORTS).")
        literal = literal_of(place.host)
        named = place.host.rstrip(".").rpartition(".")[2] == "localhost" and not self._opened(place.host)
        if named or (literal is not None and not self.allow(place.host, literal)):
            faults.append(closed(called or place.host, self.setting))
        return " ".join(faults) or None

    def allow(self, host: str, address: Address) -> bool:
        """Whether a connection may be made to this address, to which the name `host` resolved now."""
        if any(address.version == network.version and address in network for network in self.networks):
            return True
        inner = embedded(address)
        if METADATA & {address, inner}:
            return False
        return self._opened(host) or is_public(address)

    def _opened(self, host: str) -> bool:
        return host.lower().rstrip(".") in self.hosts


def closed(host: str, setting: str = "BUCKETLINE_IMPORT") -> str:
    """What whoever asked is told; not which address it is, which would tell what the network inside looks like."""
    return (
        f"{host} is at an address that may not be connected to: it is private, local or reserved. "
        f"The operator can open hosts and networks with {setting}_ALLOW."
    )


def network_of(text: str) -> Network | None:
    """The network or address that the text is; None for a name."""
    try:
        return ip_network(text)
    except ValueError:
        return None


def literal_of(host: str) -> Address | None:
    """The address that a host is, in every spelling that resolvers take (`127.1`, `0x7f.1`, `2130706433`); or None."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def embedded(address: Address) -> Address:
    """The address of IPv4 that one of IPv6 stands for; any other address is itself."""
    if isinstance(address, IPv6Address):
        for network, shift in _EMBEDDING:
            if address in network:
                return IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet. An own table: `ipaddress.is_global` differs between versions."""
    inner = embedded(address)
    if isinstance(inner, IPv4Address):
        return not any(inner in network for network in _CLOSED_V4)
    return inner in _OPEN_V6 and not any(inner in network for network in _CLOSED_V6)
