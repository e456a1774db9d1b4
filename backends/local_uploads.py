"""Unfinished uploads of the local backend: what their sessions hold, what their files are called and have in them."""

from __future__ import annotations

import re
import time
from secrets import token_hex
from typing import BinaryIO

import msgspec

from backends import checksums
from backends.base import MIB, Properties, Receipt, Session, SessionInfo
from backends.errors import IntegrityError, InvalidRequest
from backends.local_paths import NAME_MAX, SUFFIX, split_key

_ID = re.compile("[0-9a-f]{20}")
_FILE = re.compile(rf"\.(.+)\.({_ID.pattern}){re.escape(SUFFIX)}", re.DOTALL)


class LocalUpload(msgspec.Struct):
    """One multipart upload; its fields are the session."""

    id: str
    key: str
    size: int = 0
    part_size: int = 1
    properties: Properties = Properties()
    create_only: bool = False

    @classmethod
    def of(cls, session: Session) -> LocalUpload:
        """What a session holds; raises `InvalidRequest` if it is none of ours."""
        try:
            upload = msgspec.convert(session, cls)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"This is no session of a local destination: {error}.") from error
        if not _ID.fullmatch(upload.id) or upload.part_size < 1:
            raise InvalidRequest("This is no session of a local destination: its values are impossible.")
        return upload

    @property
    def session(self) -> Session:
        fields: Session = msgspec.to_builtins(self)
        return fields

    @property
    def temporary_name(self) -> str:
        """The name of the unfinished file: hidden, recognisable, and never too long for the file system."""
        room = NAME_MAX - len(f"..{self.id}{SUFFIX}")
        name = split_key(self.key)[-1].encode()[:room].decode(errors="ignore")
        return f".{name}.{self.id}{SUFFIX}"


def new_id() -> str:
    """Twelve digits of the time in milliseconds, eight by chance: it sorts by age, and tells when it was begun."""
    return f"{time.time_ns() // 1_000_000:012x}{token_hex(4)}"


def found_upload(folders: list[str], name: str) -> SessionInfo | None:
    """The session whose unfinished file has this name in these folders, or None for any other file."""
    match = _FILE.fullmatch(name)
    if match is None:
        return None
    key, upload_id = "/".join([*folders, match.group(1)]), match.group(2)
    return SessionInfo(key, upload_id, int(upload_id[:12], 16), LocalUpload(upload_id, key).session)


def checksum_of(file: BinaryIO, receipts: list[Receipt]) -> str:
    """The checksum of the whole file as it is on disk now, once each part is what its receipt says."""
    whole = 0
    for receipt in receipts:
        part = _crc32c_of_next(file, receipt.size)
        if checksums.crc32c_text(part) != receipt.checksum:
            raise IntegrityError(f"Part {receipt.number} on disk is not the one that its receipt was made for.")
        whole = checksums.combine_crc32c(whole, part, receipt.size)
    return checksums.crc32c_text(whole)


def _crc32c_of_next(file: BinaryIO, size: int) -> int:
    crc32c = 0
    while size:
        block = file.read(min(size, MIB))
        if not block:
            raise IntegrityError("The unfinished upload on disk became shorter.")
        crc32c = checksums.crc32c(block, crc32c)
        size -= len(block)
    return crc32c
