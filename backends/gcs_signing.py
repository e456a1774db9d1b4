"""Addresses that open one object for a while, by Google's V4 signing process with everything in the query."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

from backends.errors import InvalidRequest

LONGEST_SECONDS = 7 * 24 * 3600
_ALGORITHM = "GOOG4-RSA-SHA256"


def signed_address(
    address: str,
    signer: str,
    sign: Callable[[bytes], bytes],
    expires_seconds: int,
    *,
    query: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> str:
    """`address` for GET by anybody. `signer` is a service account's e-mail, and `sign` makes its RSA signature.

    The path of `address` is percent-encoded already; `query` goes along signed.
    """
    if not 1 <= expires_seconds <= LONGEST_SECONDS:
        raise InvalidRequest("A signed address of Google Cloud Storage lasts from 1 second to 7 days.")
    parts = urlsplit(address)
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/auto/storage/goog4_request"
    words = {
        **(query or {}),
        "X-Goog-Algorithm": _ALGORITHM,
        "X-Goog-Credential": f"{signer}/{scope}",
        "X-Goog-Date": stamp,
        "X-Goog-Expires": str(expires_seconds),
        "X-Goog-SignedHeaders": "host",
    }
    known = urlencode(sorted(words.items()), quote_via=quote, safe="~")
    request = "\n".join(["GET", parts.path, known, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD"])
    digest = hashlib.sha256(request.encode()).hexdigest()
    signature = sign("\n".join([_ALGORITHM, stamp, scope, digest]).encode()).hex()
    return f"{address}?{known}&X-Goog-Signature={signature}"
