"""The header fields of a request that say how its body is to be read."""

from __future__ import annotations

from api.limits import LARGEST_LENGTH
from api.problems import Problem


class Fields:
    """The header fields of one request. What nobody could understand rightly is a Problem."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for field, value in self._headers if field == name]

    def one(self, name: bytes) -> str | None:
        """The first value of a field."""
        return next((value.decode("latin-1") for field, value in self._headers if field == name), None)

    def length(self) -> int | None:
        """The declared length of the body; None for a chunked one, 0 without a body."""
        codings = self.all(b"transfer-encoding")
        if codings:
            # The parser takes a body in an unknown coding for an empty one: it must not become an empty file.
            if [coding.strip().lower() for coding in codings] != [b"chunked"]:
                raise Problem("unknown_coding", "Only `Transfer-Encoding: chunked` is understood.")
            return None
        text = self.one(b"content-length") or "0"
        if not text.isascii() or not text.isdigit():
            raise Problem("bad_request", "Content-Length is not a number.")
        if len(text) > 19 or int(text) > LARGEST_LENGTH:
            raise Problem("too_large", "No file is that large.")
        return int(text)


def check_expectation(fields: Fields) -> bool:
    """Whether the client waits for `100 Continue`."""
    expectation = fields.one(b"expect")
    if expectation is None:
        return False
    if expectation.strip().lower() != "100-continue":
        raise Problem("expectation_failed", "Only 100-continue can be met.")
    return True


def check_encoding(fields: Fields) -> None:
    """Raises unless the body is the file itself."""
    encodings = [value.strip().lower() for value in fields.all(b"content-encoding")]
    if any(encoding not in (b"", b"identity") for encoding in encodings):
        raise Problem("unsupported_encoding", "Files are stored as they come: send the body without Content-Encoding.")
