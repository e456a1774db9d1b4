"""The extended attribute in which a local file carries what the file system has no other place for."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from backends.base import Properties
from backends.errors import InvalidRequest

ATTRIBUTE = "user.bucketline"


class Attributes(msgspec.Struct, omit_defaults=True):
    """What the extended attribute holds. The checksum counts as long as the file's size and time are the same."""

    session: str = ""
    properties: Properties = Properties()
    checksum: str | None = None
    size: int = -1
    modified_ns: int = -1

    def valid_checksum(self, state: os.stat_result) -> str | None:
        return self.checksum if (self.size, self.modified_ns) == (state.st_size, state.st_mtime_ns) else None


def read(file: BinaryIO) -> Attributes:
    try:
        return msgspec.json.decode(os.getxattr(file.fileno(), ATTRIBUTE), type=Attributes)
    except (OSError, msgspec.MsgspecError):
        return Attributes()  # not made by us, or on a file system without attributes


def write(file: BinaryIO, attributes: Attributes) -> None:
    """Attach the attributes to the open file as it is now; raises `InvalidRequest` if they are too large."""
    state = os.fstat(file.fileno())
    attributes = msgspec.structs.replace(attributes, size=state.st_size, modified_ns=state.st_mtime_ns)
    try:
        os.setxattr(file.fileno(), ATTRIBUTE, msgspec.json.encode(attributes))
    except OSError as error:
        if error.errno in (errno.E2BIG, errno.ENOSPC):  # file systems differ in how they say too large
            raise InvalidRequest("The metadata is too large for an extended attribute.") from error
        raise


def kept_at(root: Path) -> bool:
    """Whether files at `root`, or at its nearest folder that exists, may carry extended attributes of users."""
    nearest = next(path for path in (root, *root.absolute().parents) if path.is_dir())
    try:
        os.getxattr(nearest, ATTRIBUTE)
    except OSError as error:
        return error.errno == errno.ENODATA
    return True
