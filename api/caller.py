"""What the gate found out about a request, and every handler may ask."""

from __future__ import annotations

from dataclasses import dataclass

from api.access import Visit
from api.access_log import Entry
from api.asgi_types import Receive
from api.doorman import Sender
from api.once import Attempt
from api.service import Service
from engine.access import Identity
from engine.errors import EngineError


@dataclass(frozen=True, slots=True)
class Caller:
    """It stands in `scope["bucketline"]`."""

    request_id: str
    declared: int | None
    """The declared length of the body; None for a chunked one, 0 without a body."""
    media_type: str
    receive: Receive
    """Where the rest of the body comes from, once the framework has had its first event."""
    visit: Visit
    remote: str = ""
    """The address of whoever connected; behind a proxy that is the proxy."""
    forwarded: str = ""
    """What a proxy says of whom it serves; anybody can say that."""
    sender: Sender | None = None
    entry: Entry | None = None
    """Its line in the access log."""
    traceparent: str = ""
    attempt: Attempt | None = None
    """What it is by its Idempotency-Key."""

    @property
    def token_in_query(self) -> bool:
        """Whether the address holds a secret."""
        return self.sender is not None and self.sender.token_in_query

    async def lives(self) -> bool:
        """Whether the key or the token of this request still does."""
        try:
            return self.sender is None or self.sender.again is None or await self.sender.again() is not None
        except EngineError:
            return True  # Redis is away, and says so by itself

    @property
    def who(self) -> Identity:
        return self.visit.who

    @property
    def owner(self) -> str:
        """The key to which belongs what is submitted."""
        return self.visit.who.key

    def note(self, service: Service, action: str, **fields: str) -> None:
        """Writes into the audit log what this caller has just done."""
        if self.entry is not None:
            self.entry.seen(fields.get("job", ""))
        service.note(
            action, key=self.owner, token=self.who.token, request=self.request_id, remote=self.remote,
            forwarded=self.forwarded, **fields,
        )  # fmt: skip
