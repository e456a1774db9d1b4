"""What a request is called is found again: in its job, in the worker's log, and with the parts at the provider."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests import documents
from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("size", "on"), [(1000, "put"), (6 << 20, "part")])
def test_a_trace_is_carried_to_the_part_requests(stack: Stack, provider: Provider, size: int, on: str) -> None:
    provider.fail(on, "error", status=503, code="SlowDown", having={"traceparent": TRACEPARENT})
    headers = {"traceparent": TRACEPARENT, "X-Request-ID": "the-view-that-uploads"}
    job = stack.talk.http.post("/v1/jobs", content=b"x" * size, headers=headers).json()
    other = stack.talk.submit(b"x")

    found = stack.check_end(job["id"])
    stack.check_end(other["id"])
    assert provider.store.faults[0]["times"] == 0  # it met a request of the job, which carried this very header
    assert (found["request_id"], found["traceparent"]) == ("the-view-that-uploads", TRACEPARENT)
    lines = {line for line in stack.processes[0].said().splitlines() if "step failed" in line or "job ended" in line}
    named = {line for line in lines if f"trace_id={TRACE}" in line and "request_id=the-view-that-uploads" in line}
    assert {"step failed", "job ended"} == {
        what for what in ("step failed", "job ended") if any(what in one for one in named)
    }
    assert {line for line in lines if other["id"] in line and "trace_id" not in line} == lines - named


class Collector:
    """Takes spans as a collector does, by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    known = {one.key: one.value.string_value for one in resource.resource.attributes}
                    service = known["service.name"]
                    collector.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def named(self, name: str) -> list[tuple[str, Span]]:
        return [one for one in list(self.spans) if one[1].name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def test_a_collector_gets_one_trace_of_api_and_worker(
    make_stack: MakeStack, provider: Provider, collector: Collector
) -> None:
    (block,) = [one for one in documents.blocks("docs/tracing.md") if one.language == "sh"]
    (exports,) = [line for line in block.text.splitlines() if line.startswith("export ")]
    tracing = dict(re.findall(r"(\w+)=(\S+)", exports.replace("http://collector.internal:4318", collector.url)))
    assert tracing == {"BUCKETLINE_TRACING": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    tracing["OTEL_BSP_SCHEDULE_DELAY"] = "200"
    stack = make_stack('default = "s3"\n' + provider.table("s3"), **tracing).start()
    headers = {"traceparent": TRACEPARENT}
    job = stack.talk.http.post("/v1/jobs", content=b"x" * (6 << 20), headers=headers).json()
    stack.check_end(job["id"])
    eventually(lambda: tree(collector.spans) == documented_tree(), "the spans are those of the drawing")

    (service, request), *others = collector.named("POST /v1/jobs")
    assert not others and (service, request.parent_span_id.hex()) == ("bucketline-api", TRACEPARENT[36:52])
    service, part = collector.named("part")[0]
    assert (service, part.parent_span_id) == ("bucketline-worker", request.span_id)
    assert {span.parent_span_id for _, span in collector.named("put_part")} == {
        span.span_id for _, span in collector.named("part")
    }


Step = tuple[str, str, str]
"""What a span is below, its name and its kind."""


def tree(spans: list[tuple[str, Span]]) -> set[Step]:
    """What came of the trace, but for the looks at what there is: a step begins so where an answer was late or lost."""
    mine = [span for _, span in list(spans) if span.trace_id.hex() == TRACE]
    names = {span.span_id: span.name for span in mine}
    kinds = {number: name.removeprefix("SPAN_KIND_").lower() for name, number in Span.SpanKind.items()}
    found = {(names.get(span.parent_span_id, ""), span.name, kinds[span.kind]) for span in mine}
    return {step for step in found if step[1] not in ("list_sessions", "stat")}


def documented_tree() -> set[Step]:
    """As docs/tracing.md draws it, without what it says behind."""
    found: set[Step] = set()
    above: list[str] = []
    for line in documents.block("docs/tracing.md", "spans").splitlines():
        branch, name, kind = re.findall(r"^([│├└─ ]*)(.+?)  +(\w+)", line)[0]
        above[len(branch) // 4 :] = [name]
        found.add((above[-2] if len(above) > 1 else "", name, kind))
    return found


def test_tracing_without_its_extra_ends_the_start(make_stack: MakeStack, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    stack = make_stack('[destinations.media]\nbackend = "local"\nroot = "objects"\n')
    path = f"{tmp_path}:{stack.environ['PYTHONPATH']}"
    up = stack.run("up", "up", "--port", 0, BUCKETLINE_TRACING="otlp", PYTHONPATH=path)

    assert up.wait() == 78
    assert "BUCKETLINE_TRACING=otlp needs OpenTelemetry" in up.said() and "bucketline[otel]" in up.said()
