"""What a file's content type is, where its client does not say: by its name, else by its first bytes."""

from __future__ import annotations

import mimetypes

UNKNOWN = "application/octet-stream"
HEAD_BYTES = 2048
"""How much of a file `sniffed` wants to see."""

#: What is believed of bytes. Nothing that a browser would run: who uploads `photo` must not get it served as a page.
_BELIEVED = ("image/", "audio/", "video/", "font/")
_BELIEVED_WHOLE = frozenset({"application/pdf", "application/gzip", "application/zstd", "application/x-bzip2"})
_RUN_BY_BROWSERS = frozenset({"image/svg+xml"})
_ZIP = b"PK\x03\x04"


def by_name(name: str) -> str | None:
    """What the name's suffix says, or None when it says nothing. `x.tar.gz` is no tar, but a compressed file."""
    guessed, encoding = mimetypes.guess_type(name)
    if encoding:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(encoding)
    return guessed


def sniffed(head: bytes) -> str:
    """What a file's first bytes say; `application/octet-stream` when they say nothing that is safe to believe."""
    if head.startswith(_ZIP):
        return "application/zip"  # documents are zip files too; which, stands further behind
    import puremagic  # 3 MB, and few files need it

    try:
        found = str(puremagic.from_string(head, mime=True))
    except (LookupError, ValueError):  # puremagic.PureError is a LookupError
        return UNKNOWN
    believed = found in _BELIEVED_WHOLE or (found.startswith(_BELIEVED) and found not in _RUN_BY_BROWSERS)
    return found if believed else UNKNOWN
