"""Spans of OpenTelemetry. Imported only where they are wanted: it takes the extra `otel`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as Traced
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine.spans import NOTHING, Kind, Span, Spans

_CONTEXT = TraceContextTextMapPropagator()
_KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}


class OtelSpan(Span):
    """One that is told."""

    def __init__(self, traced: Traced) -> None:
        found = traced.get_span_context()
        super().__init__(f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}")
        self._traced = traced

    def set(self, name: str, value: Any) -> None:
        if value not in ("", None):
            self._traced.set_attribute(name, value)

    def fail(self, code: str) -> None:
        self._traced.set_attribute("error.type", code)
        self._traced.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._traced.end()


class OtelSpans(Spans):
    """Spans of a provider: where they go, and which are sampled, is its own."""

    tracing = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("bucketline")

    def start(self, name: str, parent: str, kind: Kind = "internal", about: Mapping[str, Any] = NOTHING) -> Span:
        context = _CONTEXT.extract({"traceparent": parent})
        told = {key: value for key, value in about.items() if value not in ("", None)}
        return OtelSpan(self._tracer.start_span(name, context, _KINDS[kind], told))

    def close(self) -> None:
        self._provider.shutdown()


def exporting(service: str) -> OtelSpans:
    """Spans that go out by OTLP over HTTP. OTEL_* say where, by OpenTelemetry's own rules."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # Named in code it would win over the operator's own name.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelSpans(provider)
