"""One trace from the request through the steps to each call on the provider, as OpenTelemetry sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from api.asgi import Composed
from backends.errors import Throttled
from backends.tracing import traceparent
from engine.otel import OtelSpans
from engine.spans import Spans, code_of
from tests.api.asking import Asker
from tests.api.fakes import FakeService
from tests.documents import ROOT
from tests.engine.rig import PART, Rig

CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Told:
    """Where spans end."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = OtelSpans(provider)

    def all(self, name: str = "") -> list[ReadableSpan]:
        return [one for one in self._exporter.get_finished_spans() if not name or one.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.all(name)
        return found


@pytest.fixture
def told() -> Iterator[Told]:
    found = Told()
    yield found
    found.spans.close()


def about(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("bucketline."): value for name, value in (span.attributes or {}).items()}


def parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def submitted_with(rig: Rig, trace: str, data: bytes, **options: Any) -> str:
    prepare = rig.desk.prepare
    rig.desk.prepare = lambda *given, **words: msgspec.structs.replace(  # type: ignore[method-assign]
        prepare(*given, **words), traceparent=trace, request_id="mine"
    )
    return rig.submit(data, **options)


def work_all(rig: Rig) -> None:
    for _ in range(20):
        message = rig.take()
        if message is None:
            return
        rig.process(message)


async def test_a_request_its_steps_and_each_part_are_one_trace(rig: Rig, told: Told) -> None:
    service = FakeService()
    service.spans = rig.runtime.spans = told.spans
    answer = await Asker(Composed(service))("POST", "/v1/jobs", body=b"x", headers={"traceparent": CLIENT})
    spec = service.jobs_by_id[answer.json()["id"]].spec
    job = submitted_with(rig, spec.traceparent, b"x" * (2 * PART + 1), destinations=["media"])
    work_all(rig)

    assert rig.state(job) == "succeeded"
    request = told.one("POST /v1/jobs")
    assert {f"{one.context.trace_id:032x}" for one in told.all() if one.context} == {CLIENT[3:35]}
    assert (request.kind, f"{parent(request):016x}") == (SpanKind.SERVER, CLIENT[36:52])
    assert request.context and spec.traceparent[36:52] == f"{request.context.span_id:016x}"
    assert (request.attributes or {})["http.response.status_code"] == 202
    assert about(request)["jobs"] == (spec.id,)
    for step in ("begin", "part", "complete"):
        assert {parent(one) for one in told.all(step) if one.kind == SpanKind.CONSUMER} == {request.context.span_id}
    parts = sorted((one for one in told.all("part")), key=lambda one: about(one)["part"])
    puts = sorted((one for one in told.all("put_part")), key=lambda one: about(one)["part"])
    assert [parent(put) for put in puts] == [part.context.span_id for part in parts if part.context]
    assert [about(put)["bytes"] for put in puts] == [PART, PART, 1]
    assert about(puts[1]) == {
        "job": job, "transfer": f"{job}/0", "destination": "media", "step": "part", "part": 2, "attempt": 1,
        "request_id": "mine", "bytes": PART, "outcome": "ok",
    }  # fmt: skip
    assert {one.kind for one in puts} == {SpanKind.CLIENT}


def test_a_failure_is_told_by_its_code_and_the_next_attempt_is_another_span(rig: Rig, told: Told) -> None:
    rig.runtime.spans = told.spans
    seen: list[str] = []
    backend = rig.runtime.store("media").backend
    put_whole = backend.put_whole  # type: ignore[attr-defined]

    def fails_once(*words: Any, **more: Any) -> Any:
        seen.append(traceparent.get())
        if len(seen) == 1:
            raise Throttled("A text with a secret in it.")
        return put_whole(*words, **more)

    backend.put_whole = fails_once  # type: ignore[attr-defined]
    job = submitted_with(rig, CLIENT, b"small", destinations=["media"])
    rig.work(f"{job}/0")
    rig.books.later(60)
    rig.work(f"{job}/0", mint=int(rig.transfer(job)["mint"]))

    puts = told.all("put_whole")
    assert [(about(one)["attempt"], about(one)["outcome"]) for one in puts] == [(1, "throttled"), (2, "ok")]
    assert [one.status.status_code.name for one in puts] == ["ERROR", "UNSET"]
    assert seen == [f"{CLIENT[:36]}{one.context.span_id:016x}-01" for one in puts if one.context]
    assert "secret" not in "".join(one.to_json() for one in told.all())
    assert traceparent.get() == ""


def test_without_tracing_the_parent_is_passed_on(rig: Rig) -> None:
    span = Spans().start("anything", CLIENT)
    with span:
        span.set("a", 1)
        span.fail("timed_out")

    assert span.traceparent == CLIENT
    assert (code_of(Throttled("x")), code_of(ValueError("x"))) == ("throttled", "ValueError")


async def test_probes_are_not_traced(told: Told) -> None:
    service = FakeService()
    service.spans = told.spans
    ask = Asker(Composed(service))
    await ask("GET", "/livez")
    await ask("GET", "/metrics")
    await ask("GET", "/v1/stats")

    assert [one.name for one in told.all()] == ["GET /v1/stats"]


def test_nothing_of_it_is_imported_unless_it_is_wanted() -> None:
    code = "import sys, api.asgi, engine.service, engine.worker, engine.middleware\n"
    code += "from engine.config import Settings; from engine.spans import spans_of\n"
    code += "assert not spans_of(Settings.from_env({}), 'x').tracing\n"
    code += "assert not [name for name in sys.modules if name.startswith(('opentelemetry.exporter', 'engine.otel'))]"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
