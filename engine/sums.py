"""The checksums that chunks of an upload may be sent with."""

from __future__ import annotations

import hashlib
from base64 import b64decode

from backends.checksums import crc32c

CHECKSUMS = ("sha1", "sha256", "md5", "crc32c")


class Sum:
    """The checksum that a chunk was sent with, and the one that it has. Raises ValueError for one nobody can read."""

    def __init__(self, algorithm: str, expected: str) -> None:
        if algorithm not in CHECKSUMS:
            raise ValueError(f"known are {', '.join(CHECKSUMS)}")
        self.algorithm = algorithm
        self._expected = b64decode(expected, validate=True)
        self._crc = 0
        self._hash = None if algorithm == "crc32c" else hashlib.new(algorithm, usedforsecurity=False)
        if len(self._expected) != len(self._found()):
            raise ValueError(f"it has not the length of a {algorithm}")

    def update(self, data: bytes) -> None:
        if self._hash is None:
            self._crc = crc32c(data, self._crc)
        else:
            self._hash.update(data)

    def matches(self) -> bool:
        return self._expected == self._found()

    def _found(self) -> bytes:
        return self._crc.to_bytes(4, "big") if self._hash is None else self._hash.digest()
