"""Reads one `[credentials.NAME]` table of plugins.toml: headers that imports from some web servers are sent with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.addresses import place_of
from backends.destinations import Surroundings
from backends.expansion import expand

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE = re.compile(r"[\x20-\x7e]{1,4096}")
_OURS = frozenset(
    ("host", "range", "if-range", "if-match", "accept-encoding", "content-length", "transfer-encoding", "connection")
)


@dataclass(frozen=True)
class Credential:
    """Headers that are sent to some origins and nobody else, such as `https://files.example`."""

    headers: Mapping[str, str]
    origins: frozenset[str]

    def __repr__(self) -> str:
        return f"Credential(origins={sorted(self.origins)!r})"


def read_credential(name: str, table: dict[str, Any], around: Surroundings) -> Credential | None:
    """The headers and where they may go, or None after recording what is wrong with the table."""
    place, faults = f"[credentials.{name}]", around.faults
    before = len(faults.found)
    for key in table:
        if key not in ("headers", "hosts"):
            faults.add_unknown(f"{place} {key}", "key", key, ("headers", "hosts"))
    headers, hosts = table.get("headers"), table.get("hosts")
    if not isinstance(headers, dict) or not headers:
        faults.add(f"{place} headers", 'takes a table, { Authorization = "Bearer ${TOKEN}" }')
        headers = {}
    if not isinstance(hosts, list) or not hosts:
        faults.add(f"{place} hosts", 'takes a list of the hosts they may be sent to, ["files.example"]')
        hosts = []
    origins = {_origin(host, place, around) for host in hosts}
    read = {header: _value(header, value, place, around) for header, value in headers.items()}
    return None if len(faults.found) > before else Credential(read, frozenset(origins))


def _origin(host: Any, place: str, around: Surroundings) -> str:
    """A host stands for https; plain http has to be written out, for it sends the headers in the clear."""
    text = host if isinstance(host, str) else ""
    try:
        found = place_of(text if "://" in text else f"https://{text}")
    except ValueError:
        around.faults.add(f"{place} hosts", f"{host!r} is no host", "write files.example, or http://10.0.0.5:8080")
        return ""
    if found.target != "/":
        around.faults.add(f"{place} hosts", f"{host!r} has a path", "headers go to whole hosts")
    return found.origin


def _value(header: str, value: Any, place: str, around: Surroundings) -> str:
    where, faults = f"{place} headers.{header}", around.faults
    if not _HEADER.fullmatch(header) or header.lower() in _OURS:
        faults.add(where, "is no header that can be set")
    if not isinstance(value, str):
        faults.add(where, "takes text")
        return ""
    around.check_secret(where, value)
    before = len(faults.found)
    found = str(expand(value, around.environ, faults, where))
    if len(faults.found) == before and not _VALUE.fullmatch(found):
        faults.add(where, "is empty, too long, or has characters that no header may have")
    return found
