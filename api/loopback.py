"""What is asked of Host and Origin where no key is asked for: only this machine is served then."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from api.cors import Cors
from api.fields import Fields
from api.problems import Problem

_LOOPBACK_4 = re.compile(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}")


def check_host(fields: Fields) -> None:
    """Raises for a name that may be anybody's: DNS rebinding."""
    host = fields.one(b"host")
    if not host:
        raise Problem("bad_request", "The Host header is missing.")
    if not is_loopback(_host_name(host)):
        raise Problem("host_refused", "Without an API key only loopback names are served; set BUCKETLINE_API_KEY.")


def check_origin(fields: Fields, cors: Cors) -> None:
    """Raises for pages of other sites, unless the operator named them."""
    for value in fields.all(b"origin"):
        if cors.names(value):
            continue
        try:
            name = urlsplit(value.decode("latin-1")).hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name):
            raise Problem(
                "origin_refused",
                "Without an API key only pages of this machine may call, "
                "and of sites that BUCKETLINE_CORS_ORIGINS names (`*` counts only with a key).",
            )


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(name: str) -> bool:
    """Whether a host name always means this machine (no look-up: DNS may lie)."""
    name = name.lower().rstrip(".")
    return name in ("localhost", "::1") or name.endswith(".localhost") or bool(_LOOPBACK_4.fullmatch(name))
