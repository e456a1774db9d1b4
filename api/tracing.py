"""What a request is called elsewhere: the W3C trace context that it may bring along."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def traceparent_of(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The `traceparent` of a request, or '': one that is not of the W3C's form counts as none, and so do two.

    Of a version to come only what version 00 knows is taken, as the recommendation has it.
    """
    given = [value for name, value in headers if name == b"traceparent"]
    found = _FORM.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[4]):
        return ""
    if not found[2].strip(b"0") or not found[3].strip(b"0"):
        return ""
    return f"00{found[0][2:55].decode()}"


def trace_id_of(traceparent: str) -> str:
    """The id of the whole trace."""
    return traceparent[3:35]
