"""One answer of a web server: what its header lines say of the file, its body, and whether it can be used."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import ClassVar

import urllib3
from urllib3.exceptions import HTTPError

from backends.addresses import Place
from backends.base import MIB
from backends.errors import ConnectionFailed, PermanentError, Throttled, TimedOut, TransientError, Unavailable
from backends.transport import network_error, retry_after

SLOWEST_BYTES_PER_SECOND = 1024
PATIENCE_SECONDS = 60.0
_BLOCK = MIB
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MISSING = (404, 410)
_PASSING = (408, 425, 429)


class WebRefusal(PermanentError):
    """The file cannot be had, and asking again cannot help; `code` says why."""

    title: ClassVar[str] = "The web server's file cannot be had"


class Answer:
    """One answer with its body still on the wire. To be closed, or read to its end."""

    def __init__(self, place: Place, response: urllib3.BaseHTTPResponse) -> None:
        self.place = place
        """Who answered, at the end of all redirects."""
        self.status = response.status
        self.headers = response.headers
        self._response = response

    @property
    def size(self) -> int | None:
        """Of the body as announced; None when nothing was."""
        text = self.headers.get("content-length", "")
        return int(text) if re.fullmatch(r"\d{1,18}", text) else None

    @property
    def etag(self) -> str:
        """The strong entity tag; '' for a weak one or none."""
        tag = self.headers.get("etag", "").strip()
        return tag if re.fullmatch(r'"[\x21\x23-\x7e]{0,1000}"', tag) else ""

    @property
    def modified(self) -> str:
        text = self.headers.get("last-modified", "").strip()
        return text if re.fullmatch(r"[\x20-\x7e]{1,60}", text) else ""

    @property
    def range(self) -> tuple[int, int, int] | None:
        """First byte, last byte and the size of the whole, of an answer that is a range and says so."""
        found = _RANGE.fullmatch(self.headers.get("content-range", "").strip()) if self.status == 206 else None
        return (int(found[1]), int(found[2]), int(found[3])) if found else None

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def file_name(self) -> str:
        """What Content-Disposition calls the file; '' for nothing."""
        message = Message()
        message["content-disposition"] = self.headers.get("content-disposition", "").replace("\r", "").replace("\n", "")
        try:
            named = [value for name, value in message.get_params([], "content-disposition") if name == "filename"]
            named.sort(key=lambda value: not isinstance(value, tuple))  # filename* before filename (RFC 6266)
            return collapse_rfc2231_value(named[0]) if named else ""
        except (LookupError, UnicodeError, ValueError):
            return ""

    def blocks(self) -> Iterator[bytes]:
        """The body as it is on the wire. Ending before its announced length is a TransientError, and so is crawling."""
        began, seen = time.monotonic(), 0
        try:
            while block := self._response.read1(_BLOCK, decode_content=False):
                seen += len(block)
                took = time.monotonic() - began
                if took > PATIENCE_SECONDS and seen < took * SLOWEST_BYTES_PER_SECOND:
                    raise TimedOut(f"{self.place.origin} sends less than {SLOWEST_BYTES_PER_SECOND} bytes per second.")
                yield bytes(block)
            if self.size is not None and seen != self.size:
                raise ConnectionFailed(f"{self.place.origin} announced {self.size} bytes and sent {seen}.")
        except (HTTPError, OSError) as error:
            raise network_error(error, self.place.origin) from None
        finally:
            self.close()

    def close(self) -> None:
        """What is still on the wire is left there; an empty rest keeps the connection."""
        self._response.close()


def useful(answer: Answer) -> Answer:
    """An answer that has the file, or says that a condition was not met; any other is an error."""
    status, origin = answer.status, answer.place.origin
    if status in (412, 416):
        return answer
    if status in (200, 206):
        if answer.size is None and answer.headers.get("transfer-encoding", "").strip().lower() != "chunked":
            answer.close()
            # Its end could not be told from a broken connection, neither in the body nor in the headers.
            raise WebRefusal(f"{origin} does not say where the file ends.", code="source_refused")
        coding = answer.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("identity", ""):
            return answer
        answer.close()
        raise WebRefusal(
            f"{origin} compresses the file ({coding[:40]}), though it was asked not to.", code="source_refused"
        )
    answer.close()
    if status in _MISSING:
        raise WebRefusal(f"{origin} answers {status}: there is no such file.", code="source_missing")
    if status in _PASSING or status >= 500:
        raise _passing(status, f"{origin} answers {status}.", retry_after(answer.headers))
    raise WebRefusal(f"{origin} answers {status}.", code="source_refused")


def _passing(status: int, detail: str, after: float | None) -> TransientError:
    kind = Throttled if status == 429 or (status == 503 and after is not None) else Unavailable
    return kind(detail, retry_after=after)
