"""What an S3 upload's session holds, and what the answers of S3 say, as values of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from backends.base import ObjectInfo, Receipt, Session, SessionInfo
from backends.checksums import PREFIX, combine_crc32c, crc32c_text, crc32c_value
from backends.errors import InvalidRequest
from backends.s3_metadata import decode, told_properties


class Opened(msgspec.Struct):
    """What a session says. One that was found at the provider knows no plan, and can only be aborted or listed."""

    key: str
    upload_id: str
    size: Annotated[int, msgspec.Meta(ge=0)] = 0
    part_size: Annotated[int, msgspec.Meta(ge=1)] = 1
    create_only: bool = False
    checksum: str = ""
    """How the provider sums this upload, as it confirmed it: `FULL_OBJECT`, `COMPOSITE` or not at all."""


def opened_of(session: Session) -> Opened:
    try:
        return msgspec.convert(session, Opened)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is no session of an S3 upload: {error}.") from None


def listed_part(part: Receipt, *, with_checksum: bool) -> dict[str, Any]:
    """A part as completing names it."""
    named: dict[str, Any] = {"PartNumber": part.number, "ETag": f'"{part.etag}"'}
    if with_checksum and part.checksum:
        named["ChecksumCRC32C"] = part.checksum.removeprefix(PREFIX)
    return named


def whole_checksum(found: list[Receipt]) -> dict[str, str]:
    """The CRC32C of the object from those of its parts, if all are known: then S3 verifies the whole as well."""
    whole = 0
    for part in found:
        crc = crc32c_value(part.checksum)
        if crc is None:
            return {}
        whole = combine_crc32c(whole, crc, part.size)
    return {"ChecksumCRC32C": crc32c_text(whole).removeprefix(PREFIX)}


def object_info(key: str, answer: Mapping[str, Any]) -> ObjectInfo:
    """An object, as a look at it (HEAD) tells of it."""
    return ObjectInfo(
        key=key,
        size=answer["ContentLength"],
        etag=answer.get("ETag", "").strip('"') or None,
        version=version_of(answer.get("VersionId")),
        checksum=_object_checksum(answer),
        content_type=answer.get("ContentType"),
        metadata=decode(answer.get("Metadata", {})),
        properties=told_properties(answer),
    )


def _object_checksum(answer: Mapping[str, Any]) -> str | None:
    """The CRC32C of the whole object. A composite one (`…-7`) is a checksum of checksums and says nothing to others."""
    crc = answer.get("ChecksumCRC32C")
    if not crc or "-" in crc or answer.get("ChecksumType") == "COMPOSITE":
        return None
    return f"{PREFIX}{crc}"


def version_of(value: str | None) -> str | None:
    """A bucket without versioning has none; some servers call it `null`."""
    return None if value in (None, "", "null") else value


def receipt_of(part: Mapping[str, Any]) -> Receipt:
    crc = part.get("ChecksumCRC32C")
    return Receipt(part["PartNumber"], part["Size"], part["ETag"].strip('"'), f"{PREFIX}{crc}" if crc else "")


def session_info(upload: Mapping[str, Any]) -> SessionInfo:
    begun = upload.get("Initiated")
    started_at_ms = int(begun.timestamp() * 1000) if begun else None
    session: Session = {"key": upload["Key"], "upload_id": upload["UploadId"]}
    return SessionInfo(upload["Key"], upload["UploadId"], started_at_ms, session)
