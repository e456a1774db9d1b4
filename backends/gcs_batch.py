"""Many small requests in one, by Google's batch endpoint: encoding them, and reading which of them succeeded.

Google takes up to 100 at once, answers them in any order, and tells by `Content-ID` which answer is whose. Emulators
leave the `Content-ID` out and answer in order. Uploads cannot be batched.
Source: https://cloud.google.com/storage/docs/batch
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import Message

PATH = "/batch/storage/v1"
MOST = 50  # of the 100 that Google allows: an answer, with its headers and an error in each, is to fit in 64 KiB
_BOUNDARY = "bucketline-batch"
CONTENT_TYPE = f"multipart/mixed; boundary={_BOUNDARY}"


def encode(method: str, targets: Sequence[str]) -> bytes:
    """The body of the batch: the same method on each target, none with a body of its own."""
    items = (
        f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <{index}>\r\n\r\n"
        f"{method} {target} HTTP/1.1\r\nContent-Length: 0\r\n\r\n\r\n"
        for index, target in enumerate(targets)
    )
    return f"{''.join(items)}--{_BOUNDARY}--\r\n".encode("ascii")


def statuses(content_type: str, body: bytes) -> dict[int, int]:
    """The status of each request by its index, as far as the answer tells it: the others may or may not be done."""
    boundary = _boundary(content_type)
    if not boundary:
        return {}
    found: dict[int, int] = {}
    for place, item in enumerate(body.split(b"--" + boundary)[1:]):
        status = re.search(rb"^HTTP/1\.[01] (\d{3})\b", item, re.MULTILINE)
        named = re.search(rb"^Content-ID: *<response-(\d{1,3})>", item, re.MULTILINE | re.IGNORECASE)
        if status:
            found[int(named[1]) if named else place] = int(status[1])
    return found


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    return (header.get_boundary() or "").encode("latin-1", "replace")
