"""Server-sent events: from lines of text to events, by the rules of the WHATWG standard."""

from collections.abc import Iterable, Iterator

import msgspec


class ServerSent(msgspec.Struct):
    """One event as it was sent. `id` is the last one seen, which a client that comes back names."""

    id: str
    type: str
    data: str


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines of a byte stream, ended by LF or CRLF; nothing else ends one (file names may hold U+2028)."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")


def parse(lines: Iterable[str], last_id: str = "") -> Iterator[ServerSent]:
    """Events from the lines of a stream, without their line ends. Comments and an unfinished last event are dropped."""
    kind, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield ServerSent(last_id, kind or "message", "\n".join(data))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value
