"""Unfinished uploads of the local backend: what their sessions hold, and what their files are called."""

from __future__ import annotations

import re
import time
from secrets import token_hex

import msgspec

from backends.base import Properties, Session, SessionInfo
from backends.errors import InvalidRequest
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
