"""Following events through lost connections: when to connect again, from which event on, and when to give up."""

import time
from collections.abc import Iterator
from typing import Any, Self

import msgspec

from bucketline import sse
from bucketline.exchange import Answer, segment, stranger
from bucketline.faults import Unreachable
from bucketline.results import TERMINAL, Event, Job

# The API pings every 15 s: silence of three pings means that the line is dead.
SILENCE_SECONDS = 45.0
RECONNECT_SECONDS = 0.5
PATIENCE_SECONDS = 60.0  # how long a server that was there may stay away


class Following:
    """The events of one job until its end, or of all jobs (`id` is None) for ever.

    `known`: a server that does not answer the first time is waited for too. `timeout`: seconds in all.
    """

    def __init__(
        self, id: str | None, last: str | None, patience: float, *, known: bool = False, timeout: float | None = None
    ) -> None:
        self.path = "/v1/events" if id is None else f"/v1/jobs/{segment(id)}/events"
        self.over = False
        self._ends = id is not None
        self._last = last or ""
        self._patience = patience
        self._known = known
        self._lost_at = 0.0
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._parser = sse.Parser()

    @classmethod
    def to_the_end(cls, id: str, timeout: float | None) -> Self:
        """For whoever waits for a job."""
        return cls(id, None, PATIENCE_SECONDS, known=True, timeout=timeout)

    def headers(self) -> dict[str, str]:
        """What the next connection says."""
        return {"Accept": "text/event-stream"} | ({"Last-Event-ID": self._last} if self._last else {})

    def silence(self) -> float:
        """How long the next connection may be silent."""
        if self._deadline is None:
            return SILENCE_SECONDS
        return max(0.1, min(SILENCE_SECONDS, self._deadline - time.monotonic()))

    def answered(self, answer: Answer) -> None:
        """The head of an answer (with its content, where it is an error). 204: the event named was the last one."""
        if answer.status not in (200, 204):
            raise answer.error()
        if answer.status == 200 and not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise stranger(answer.url)
        self.over = answer.status == 204
        self._parser = sse.Parser(self._last)

    def events(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in this chunk."""
        self._check_time()
        for sent in self._parser.feed(chunk):
            self._known, self._lost_at, self._last = True, 0.0, sent.id or self._last
            self.over = self._ends and sent.type == "end"
            yield Event(sent.id, sent.type, msgspec.json.decode(sent.data, type=dict[str, Any]))
            if self.over:
                return

    def lost(self, error: Unreachable | None = None) -> float:
        """The line ended: the seconds until the next try. Raises when it is time to give up."""
        self._check_time()
        now = time.monotonic()
        if error is not None and (not self._known or (self._lost_at and now - self._lost_at > self._patience)):
            raise error
        self._lost_at = self._lost_at or now
        return RECONNECT_SECONDS

    def _check_time(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutError("the job has not ended in time")


def ended(event: Event) -> Job | None:
    """The job, if this event carries its end."""
    if event.type in ("end", "snapshot") and event.data.get("state") in TERMINAL:
        return Job.read(event.data)
    return None
