"""What is traced, as spans: a request, the acceptance of a job, a step, a call on a provider. These here trace nothing.

`engine.otel` makes real ones, where BUCKETLINE_TRACING says so; nothing of OpenTelemetry is imported otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from engine.records import Lease

if TYPE_CHECKING:
    from engine.config import Settings

NOTHING: Mapping[str, Any] = {}
Kind = Literal["server", "client", "consumer", "internal"]


class Span:
    """Something that takes a while. `traceparent` is what belongs to it in turn; '' for no trace at all."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def set(self, name: str, value: Any) -> None:
        """Says more of it; '' and None say nothing."""

    def fail(self, code: str) -> None:
        """It did not do what it should."""

    def end(self) -> None:
        """It is over."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(code_of(error))
        self.end()


class Spans:
    """Makes spans. These ones pass on what they are given, and cost nothing."""

    tracing = False

    def start(self, name: str, parent: str, kind: Kind = "internal", about: Mapping[str, Any] = NOTHING) -> Span:
        """A span begins, in the trace that `parent` names, or in one of its own."""
        return Span(parent)

    def close(self) -> None:
        """Sends what is left."""


def spans_of(settings: Settings, service: str) -> Spans:
    """What the settings say. `service`: what this process is called among others."""
    if settings.tracing != "otlp":
        return Spans()
    from engine.otel import exporting

    return exporting(service)


def of_step(held: Lease) -> dict[str, Any]:
    """What a step is found by."""
    return {
        "bucketline.job": held.job,
        "bucketline.transfer": held.transfer,
        "bucketline.destination": held.destination,
        "bucketline.step": held.step,
        "bucketline.part": held.number or None,
        "bucketline.attempt": held.attempt,
        "bucketline.request_id": held.spec.request_id,
    }


def code_of(error: BaseException) -> str:
    """The code of an error, never its text: that may name what a trace has no business with."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else type(error).__name__
