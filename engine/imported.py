"""A source at a web server that has ranges, pinned by the validator that its server gave it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from backends.errors import ConnectionFailed
from backends.web_answer import Answer
from engine.errors import EngineError, SourceCorrupt
from engine.models import Source

PROBE = {"range": "bytes=0-0"}

Get = Callable[[Mapping[str, str]], Answer]
"""Asks for the source with these headers; raises EngineError or a TransientError."""


class WebOrigin:
    """Fits `engine.drawn.Origin`."""

    def __init__(self, get: Get, source: Source, size: int) -> None:
        self._get = get
        self._source = source
        self._size = size

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """If-Range asks for the range of the pinned content, or else for the whole of what is there now."""
        answer = self._ask(offset, offset + size - 1)
        seen = 0
        for block in answer.blocks():
            seen += len(block)
            if seen > size:
                answer.close()
                raise ConnectionFailed(f"{answer.place.origin} sends more than the {size} bytes it was asked for.")
            yield block

    def check(self) -> None:
        if self._size:
            self._ask(0, 0).close()

    def _ask(self, first: int, last: int) -> Answer:
        """The answer with just these bytes of the pinned content."""
        answer = self._get({"range": f"bytes={first}-{last}", "if-range": self._source.etag or self._source.modified})
        same = answer.range == (first, last, self._size)
        if self._source.etag:
            same = same and answer.etag == self._source.etag
        else:
            same = same and answer.modified in ("", self._source.modified)  # a server need not repeat it
        if not same:
            answer.close()
            raise SourceCorrupt(
                f"What {answer.place.origin} has is not what it was when the import began.", code="source_changed"
            )
        return answer


def pinned_by(source: Source, answer: Answer) -> Source | None:
    """The source as it is from now on; None when this answer to PROBE says that it cannot be read in ranges."""
    if answer.range is None or answer.range[:2] != (0, 0) or not (answer.etag or answer.modified):
        return None
    return msgspec.structs.replace(source, seen=True, etag=answer.etag, modified=answer.modified)


def plain(answer: Answer) -> Answer:
    """An answer that is the whole file."""
    if answer.status != 200:
        answer.close()
        raise EngineError(f"{answer.place.origin} answers {answer.status} to a plain request.", code="source_refused")
    return answer
