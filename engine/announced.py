"""The checksum that a client announces for its file: how it is written, what it asks for, whether the bytes have it."""

from __future__ import annotations

import base64
import binascii
import re

from engine import keys
from engine.digests import Digest
from engine.errors import ChecksumMismatch
from engine.models import JobSpec


def fault_of_checksum(checksum: str | None) -> str | None:
    """Why a client cannot announce this, or None."""
    if checksum is None:
        return None
    algorithm, colon, value = checksum.partition(":")
    if algorithm == "sha256" and re.fullmatch(r"[0-9a-f]{64}", value):
        return None
    if algorithm == "crc32c" and colon:
        try:
            if len(base64.b64decode(value, validate=True)) == 4:
                return None
        except (ValueError, binascii.Error):
            pass
    return "A checksum is sha256:<64 lower-case hex digits> or crc32c:<base64 of 4 big-endian bytes>."


def wanted_digests(spec: JobSpec) -> set[str]:
    """Digests that must be computed beside the CRC32C while the bytes arrive."""
    asked = (spec.checksum or "").startswith("sha256:") or "sha256" in keys.fields_of(
        spec.key_template if spec.key is None else ""
    )
    return {"sha256"} if asked else set()


def check_digest(spec: JobSpec, digest: Digest) -> None:
    """Raises ChecksumMismatch unless the bytes are those that the client announced."""
    if spec.checksum is None:
        return
    algorithm, _, value = spec.checksum.partition(":")
    found = digest.sha256 if algorithm == "sha256" else digest.crc32c_base64
    if found != value:
        raise ChecksumMismatch(
            f"The {algorithm} of the bytes received is {found}, announced was {value}; nothing was kept."
        )
