"""A push parser for `multipart/form-data` that hands file bytes on without keeping them.

Falcon's own parser costs two to three times a raw body (measured 2026-11) and answers an empty body with an assertion;
so this small one is used instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from api.limits import FORM_HEADER_BYTES, FORM_IGNORED_BYTES, FORM_PARTS
from api.problems import Problem

_BOUNDARY = re.compile(r"""(?:^|;)\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?=;|$)""", re.IGNORECASE)
_BOUNDARY_CHARACTERS = re.compile(r"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER = re.compile(r"""\s*;\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))""")
_EXTENDED = re.compile(r"([A-Za-z0-9_-]+)'[A-Za-z0-9-]*'(.*)")


@dataclass(frozen=True)
class PartStart:
    """A new part; `filename` is what the client said, unchanged."""

    name: str
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True)
class PartEnd:
    """The part that started last is complete."""


Event = PartStart | PartEnd | bytes


def boundary_of(content_type: str) -> bytes:
    """The boundary parameter of a multipart content type."""
    match = _BOUNDARY.search(content_type)
    boundary = (match[1] or match[2]) if match else ""
    if not _BOUNDARY_CHARACTERS.fullmatch(boundary):
        raise _bad("The Content-Type has no usable boundary.")
    return boundary.encode()


def _bad(detail: str) -> Problem:
    return Problem("bad_form", detail)


@dataclass
class FormParser:
    """Feed it the body: it yields starts, bytes and ends of parts in order. `finish` refuses a form that was cut."""

    boundary: bytes
    _held: bytes = b"\r\n"  # the first boundary stands at the start of a line, also on the first line
    _state: str = "preamble"
    _parts: int = 0
    _skipped: int = 0
    _delimiter: bytes = field(init=False)

    def __post_init__(self) -> None:
        self._delimiter = b"\r\n--" + self.boundary

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events of these bytes."""
        if self._state == "end":
            self._skip(len(data))
            return
        buffer = self._held + data if self._held else data
        self._held = b""
        at: int | None = 0
        while at is not None:
            begin = at
            if self._state == "preamble":
                at = self._preamble(buffer, begin)
            elif self._state == "border":
                at = self._border(buffer, begin)
            elif self._state == "headers":
                block, at = self._headers(buffer, begin)
                if block is not None:
                    yield self._start(block)
            else:
                stop, at = self._data(buffer, begin)
                if stop > begin:
                    yield buffer[begin:stop]
                if at is not None:
                    yield PartEnd()

    def finish(self) -> None:
        """The body is over: refuse a form whose final boundary did not come."""
        if self._state != "end":
            raise _bad("The body is empty." if self._held == b"\r\n" else "The form's final boundary is missing.")

    def _preamble(self, buffer: bytes, begin: int) -> int | None:
        found = buffer.find(self._delimiter, begin)
        if found >= 0:
            self._skip(found - begin)
            self._state = "border"
            return found + len(self._delimiter)
        keep = min(len(buffer) - begin, len(self._delimiter) - 1)
        self._held = buffer[len(buffer) - keep :]
        self._skip(len(buffer) - begin - keep)
        return None

    def _skip(self, size: int) -> None:
        self._skipped += size
        if self._skipped > FORM_IGNORED_BYTES:
            raise _bad(f"More than {FORM_IGNORED_BYTES} bytes stand outside the form's boundaries.")

    def _border(self, buffer: bytes, begin: int) -> int | None:
        """What stands behind a boundary: `--` ends the form, otherwise the line ends (after optional blanks)."""
        if buffer.startswith(b"--", begin):
            self._state = "end"
            self._skip(len(buffer) - begin)
            return None
        at = begin
        while buffer[at : at + 1] in (b" ", b"\t"):
            at += 1
        if buffer.startswith(b"\r\n", at):
            self._state = "headers"
            return at + 2
        if len(buffer) - at < 2 and len(buffer) - begin < 256 and buffer[at:] in (b"", b"\r", b"-"):
            self._held = buffer[begin:]
            return None
        raise _bad("A boundary is followed by something else.")

    def _headers(self, buffer: bytes, begin: int) -> tuple[bytes | None, int | None]:
        if buffer.startswith(b"\r\n", begin):
            raise _bad("A part has no Content-Disposition.")
        end = buffer.find(b"\r\n\r\n", begin)
        if max(end, len(buffer) if end < 0 else 0) - begin > FORM_HEADER_BYTES:
            raise _bad(f"The headers of a part are longer than {FORM_HEADER_BYTES} bytes.")
        if end < 0:
            self._held = buffer[begin:]
            return None, None
        self._parts += 1
        if self._parts > FORM_PARTS:
            raise _bad(f"A form may have {FORM_PARTS} parts.")
        self._state = "data"
        return buffer[begin:end], end + 4

    def _data(self, buffer: bytes, begin: int) -> tuple[int, int | None]:
        found = buffer.find(self._delimiter, begin)
        if found >= 0:
            self._state = "border"
            return found, found + len(self._delimiter)
        stop = self._possible_delimiter(buffer, begin)
        self._held = buffer[stop:]
        return stop, None

    def _possible_delimiter(self, buffer: bytes, begin: int) -> int:
        """Where a delimiter may begin that the next bytes complete; the end of the buffer when none can."""
        at = buffer.find(b"\r", max(begin, len(buffer) - len(self._delimiter) + 1))
        while at >= 0:
            if self._delimiter.startswith(buffer[at:]):
                return at
            at = buffer.find(b"\r", at + 1)
        return len(buffer)

    def _start(self, block: bytes) -> PartStart:
        headers = _header_lines(block)
        if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
            raise _bad("Content-Transfer-Encoding is not supported: send the bytes as they are.")
        kind, parameters = _disposition(headers.get("content-disposition", ""))
        if kind != "form-data" or "name" not in parameters:
            raise _bad("Each part needs Content-Disposition: form-data with a name.")
        return PartStart(parameters["name"], _filename(parameters), headers.get("content-type"))


def _header_lines(block: bytes) -> dict[str, str]:
    try:
        lines = block.decode().split("\r\n")
    except UnicodeDecodeError:
        raise _bad("The headers of a part must be UTF-8.") from None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or name.lower() in headers:
            raise _bad("The headers of a part cannot be read.")
        headers[name.lower()] = value.strip()
    return headers


def _disposition(value: str) -> tuple[str, dict[str, str]]:
    kind, _, _ = value.partition(";")
    parameters: dict[str, str] = {}
    at = len(kind)
    while match := _PARAMETER.match(value, at):
        name = match[1].lower()
        if name in parameters:
            raise _bad(f"Content-Disposition says {name} twice.")
        parameters[name] = _unquote(match[2]) if match[2] is not None else match[3]
        at = match.end()
    if value[at:].strip(" ;"):
        raise _bad("Content-Disposition cannot be read.")
    return kind.strip().lower(), parameters


def _unquote(text: str) -> str:
    # Browsers write a quotation mark as %22 and leave backslashes alone; older curl escapes both with a backslash.
    return re.sub(r'\\(["\\])', r"\1", text).replace("%22", '"')


def _filename(parameters: dict[str, str]) -> str | None:
    extended = parameters.get("filename*")
    if extended is None:
        return parameters.get("filename")
    match = _EXTENDED.fullmatch(extended)
    try:
        if match and match[1].lower() in ("utf-8", "iso-8859-1"):
            return unquote_to_bytes(match[2]).decode(match[1])
    except ValueError:
        pass
    raise _bad("filename* cannot be read: UTF-8''percent-encoded is needed.")


def file_name(filename: str | None) -> str | None:
    """The last component of what a client calls its file, or None when nothing is left of it.

    Control characters (NUL, line ends…) are refused rather than repaired.
    """
    if not filename:
        return None
    if any(ord(character) < 32 or ord(character) == 127 for character in filename):
        raise Problem(
            "invalid",
            "The file's name holds control characters.",
            errors=[{"pointer": "/name", "detail": "Control characters are not allowed in names."}],
        )
    name = re.split(r"[/\\]", filename)[-1]
    return None if name in ("", ".", "..") else name
