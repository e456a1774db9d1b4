"""The headers of tus 1.0.0: read strictly where bytes depend on them, and leniently where clients are known to be."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

from api.limits import LARGEST_LENGTH
from api.problems import Problem
from engine.sums import CHECKSUMS, Sum

VERSION = "1.0.0"
PATH = "/v1/tus"
CHUNK_TYPE = "application/offset+octet-stream"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration,concatenation"
MARKS = [(b"tus-resumable", VERSION.encode())]
"""What every answer below the address carries, refusals too."""
_ADDRESS = re.compile(rf"(?:https?://[^/?#\s]+)?(?:/[^?#\s]*)?{PATH}/([^/?#\s]+)/?")
_NUMBER = re.compile(r"[0-9]+")


def is_tus(path: str) -> bool:
    return path == PATH or path.startswith(PATH + "/")


def capabilities(max_size: int | None) -> dict[str, str]:
    """The answer to OPTIONS, also where it is a browser's preflight."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        "Tus-Max-Size": str(LARGEST_LENGTH if max_size is None else max_size),
    }


def check_version(req: Any) -> None:
    """412 for any version but ours; only looking may leave it out."""
    given = req.get_header("Tus-Resumable")
    if given != VERSION and not (given is None and req.method in ("GET", "HEAD")):
        raise Problem("tus_version", f"Send `Tus-Resumable: {VERSION}`.", headers={"Tus-Version": VERSION})


def number(req: Any, name: str) -> int | None:
    """The whole number in a header; None without it."""
    text = req.get_header(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Problem("bad_request", f"{name} takes a whole number that is not negative.")
    length = as_length(text)
    if length > LARGEST_LENGTH:
        raise Problem("too_large", "No file is that large.")
    return length


def as_length(digits: str) -> int:
    """The number; of one that is longer than any length, one that is too large as well."""
    return int(digits.lstrip("0")[:20] or 0)


def concat(req: Any) -> list[str] | None:
    """Of a creation: the uploads that a final one is made of, none for a partial one; None without Upload-Concat."""
    header = req.get_header("Upload-Concat")
    if header is None or header.strip() == "partial":
        return None if header is None else []
    kind, _, addresses = header.strip().partition(";")
    if kind.strip() != "final" or not addresses.split():
        raise Problem("bad_request", "Upload-Concat takes `partial`, or `final;` and the addresses of partial uploads.")
    if req.get_header("Upload-Length") is not None or req.get_header("Upload-Defer-Length") is not None:
        raise Problem("bad_request", "A final upload is as long as its parts: it has no length of its own.")
    return [_upload_of(address) for address in addresses.split()]


def _upload_of(address: str) -> str:
    """The id in a relative or absolute address, whatever a proxy put before the path."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise Problem("bad_request", f"{address[:200]!r} is not the address of an upload ({PATH}/…).")
    return found[1]


def length(req: Any) -> int | None:
    """Of a creation: the length, or None where it is deferred; exactly one of the two headers says so."""
    given, deferred = number(req, "Upload-Length"), req.get_header("Upload-Defer-Length")
    if deferred not in (None, "1"):
        raise Problem("bad_request", "Upload-Defer-Length takes 1 and nothing else.")
    if (given is None) == (deferred is None):
        raise Problem("bad_request", "Send either Upload-Length or `Upload-Defer-Length: 1`.")
    return given


def metadata(header: str | None) -> Iterator[tuple[str, str]]:
    """Names and values of Upload-Metadata. What cannot be read is passed over."""
    for item in (header or "").split(","):
        name, _, value = item.strip().partition(" ")
        try:
            text = b64decode(value.strip(), validate=True).decode()
        except ValueError:
            continue
        if name:
            yield name, text


def checksum(req: Any) -> Sum | None:
    """What Upload-Checksum promises."""
    header = req.get_header("Upload-Checksum")
    if header is None:
        return None
    algorithm, _, text = header.strip().partition(" ")
    try:
        return Sum(algorithm, text.strip())
    except ValueError as error:
        raise Problem("bad_checksum", f"Upload-Checksum is an algorithm and base64: {error}.") from None


def date(seconds: float) -> str:
    """A time as HTTP writes it."""
    return formatdate(seconds, usegmt=True)
