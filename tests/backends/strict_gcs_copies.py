"""What the strict GCS server does for copies on its own side, and for addresses with a signature in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import uuid4


def verify(address: str, host: str, signers: Mapping[str, Any], now: datetime | None = None) -> str:
    """Why a V4 signed GET is refused; empty if its signature is that of a known account, and still holds.

    `signers` are public RSA keys by e-mail address.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    parts = urlsplit(address)
    words = dict(parse_qsl(parts.query, keep_blank_values=True))
    signature = bytes.fromhex(words.pop("X-Goog-Signature"))
    email, _, scope = words["X-Goog-Credential"].partition("/")
    stamp = words["X-Goog-Date"]
    begun = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if scope != f"{stamp[:8]}/auto/storage/goog4_request" or words["X-Goog-SignedHeaders"] != "host":
        return "SignatureDoesNotMatch"
    if (now or datetime.now(UTC)) > begun + timedelta(seconds=int(words["X-Goog-Expires"])):
        return "ExpiredToken"
    query = "&".join(f"{quote(name, safe='')}={quote(words[name], safe='')}" for name in sorted(words))
    request = f"GET\n{parts.path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"GOOG4-RSA-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    if email not in signers:
        return "AccessDenied"
    try:
        signers[email].verify(signature, text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return "SignatureDoesNotMatch"
    return ""


class Rewrites:
    """Copies under way, by their token: each call copies so many bytes, and the last makes the object."""

    def __init__(self, step: int) -> None:
        self.step = step
        self._under_way: dict[str, tuple[tuple[str, str, str, str], int]] = {}

    def advance(self, asked: tuple[str, str, str, str], size: int, token: str) -> dict[str, Any] | None:
        """The answer while there is more to do; None once everything is copied. Raises KeyError for a wrong token."""
        known, copied = self._under_way.pop(token) if token else (asked, 0)
        if known != asked:
            raise KeyError(token)
        copied = min(size, copied + self.step)
        if copied == size:
            return None
        token = uuid4().hex
        self._under_way[token] = (asked, copied)
        told = {"totalBytesRewritten": str(copied), "objectSize": str(size), "done": False}
        return {"kind": "storage#rewriteResponse", **told, "rewriteToken": token}


def finished(size: int, resource: dict[str, Any]) -> dict[str, Any]:
    told = {"totalBytesRewritten": str(size), "objectSize": str(size), "done": True}
    return {"kind": "storage#rewriteResponse", **told, "resource": resource}
