"""Which pages of other sites may call, and what they may read of the answers (CORS, as the Fetch standard has it).

There are no cookies here, so nothing is ever allowed "with credentials": a page sends its key or token itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from api.asgi_types import Headers

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_EXPOSED = b", ".join(
    (
        b"Location",
        b"Content-Location",
        b"ETag",
        b"Link",
        b"Retry-After",
        b"Preference-Applied",
        b"Idempotent-Replayed",
        b"X-Request-ID",
        b"RateLimit",
        b"RateLimit-Policy",
        b"WWW-Authenticate",
        *(f"Tus-{name}".encode() for name in ("Resumable", "Version", "Extension", "Max-Size", "Checksum-Algorithm")),
        *(f"Upload-{name}".encode() for name in ("Offset", "Length", "Defer-Length", "Metadata", "Expires", "Concat")),
        b"Bucketline-Job",
    )
)
_REMEMBER_SECONDS = b"7200"  # what Chromium keeps a preflight for at most


class Cors:
    """`origins`: exact ones, as `https://app.example.com`, or `*` for every page. None: no page of another site."""

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may call. `*` does not count for `null`, which any page can make itself."""
        return origin in self._origins or (b"*" in self._origins and origin != b"null")

    def names(self, origin: bytes) -> bool:
        """Whether this very origin was given: `*` is not enough where no key stands between a page and the files."""
        return origin in self._origins

    def headers(self, request: Iterable[tuple[bytes, bytes]]) -> Headers:
        """What an answer to this request carries, an error just as well: a page can read why it was refused."""
        if not self._origins:
            return []
        found: Headers = [(b"vary", b"Origin")]
        origin = _only(request, b"origin")
        if origin is not None and self.allows(origin):
            found += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED)]
        return found

    def preflight(self, method: str, request: Sequence[tuple[bytes, bytes]]) -> Headers | None:
        """What the answer to a preflight carries besides; None when this is none, or not from an allowed page."""
        origin = _only(request, b"origin")
        asked = _only(request, b"access-control-request-method")
        if method != "OPTIONS" or origin is None or asked is None or not self.allows(origin):
            return None
        answer = [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _REMEMBER_SECONDS)]
        wanted = _only(request, b"access-control-request-headers")
        if wanted and _NAMES.fullmatch(wanted):
            # Whatever it wants to send: options travel in headers of their own names, and all of them are checked.
            answer.append((b"access-control-allow-headers", wanted))
        return answer


def _only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    values = [value.strip() for field, value in headers if field == name]
    return values[0] if len(values) == 1 else None
