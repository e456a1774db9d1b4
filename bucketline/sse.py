"""Server-sent events: from bytes to events, by the rules of the WHATWG standard."""

from collections.abc import Iterator

import msgspec


class ServerSent(msgspec.Struct):
    """One event as it was sent. `id` is the last one seen, which a client that comes back names."""

    id: str
    type: str
    data: str


class Parser:
    """Takes a stream as it comes. Comments are dropped, and so is an event that was not finished."""

    def __init__(self, last_id: str = "") -> None:
        self._id = last_id
        self._rest = b""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ServerSent]:
        """The events that end in this chunk. To be used up before the next one is fed."""
        # LF or CRLF end a line; nothing else does (file names may hold U+2028).
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode(errors="replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> ServerSent | None:
        if not line:
            return self._end()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _end(self) -> ServerSent | None:
        kind, data = self._kind or "message", self._data
        self._kind, self._data = "", []
        return ServerSent(self._id, kind, "\n".join(data)) if data else None
