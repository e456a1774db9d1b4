"""The two channels of a request as the gate hands them on: what is received comes late, what is sent is marked."""

from __future__ import annotations

from api.access_log import Entry
from api.asgi_types import Headers, Message, Receive, Send
from api.once import Attempt


class LateReceive:
    """A `receive` whose first event is empty; the real first one is waited for only when somebody asks again."""

    def __init__(self, receive: Receive, send: Send | None, entry: Entry) -> None:
        self._receive = receive
        self._send = send
        self._entry = entry
        self._asked = False

    async def __call__(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": True}
        if self._send:
            send, self._send = self._send, None
            await send({"type": "http.response.informational", "status": 100, "headers": []})
        message = await self._receive()
        self._entry.received += len(message.get("body", b""))
        return message


async def nothing() -> Message:
    """A `receive` without anything to receive."""
    return {"type": "http.disconnect"}


class MarkedSend:
    """A `send` that puts on every answer what all of them carry, and remembers its status."""

    def __init__(self, send: Send, request_id: str, cors: Headers) -> None:
        self.send = send
        self._common: Headers = [
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"server", b"bucketline"),
            *cors,
        ]
        self.status = self.sent = 0
        self.more: Headers = []
        self.attempt: Attempt | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.attempt is not None and self.status >= 400:
                await self.attempt.end(failed=True)  # first, so that whoever tries again at once really does
            message["headers"] = [*message.get("headers", ()), *self._common, *self.more]
        else:
            self.sent += len(message.get("body", b""))
        await self.send(message)
