"""/metrics of a real stack, as Prometheus reads it."""

from __future__ import annotations

import subprocess

from prometheus_client.parser import text_string_to_metric_families

from engine.measures import MEASURES
from tests.e2e.provider import Provider
from tests.e2e.stack import Stack
from tests.monitoring import expressions, names_in
from tests.servers import eventually, program

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(stack: Stack) -> tuple[dict[str, str], Samples]:
    """The kind of each family by its name, and every sample."""
    answer = stack.talk.http.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    families = list(text_string_to_metric_families(answer.text))
    samples = {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}
    return {family.name: family.type for family in families}, samples


def value(stack: Stack, name: str, **labels: str) -> float | None:
    return scrape(stack)[1].get((name, frozenset(labels.items())))


def settled(stack: Stack, expected: float, name: str, **labels: str) -> None:
    """Workers tell once a second."""
    eventually(lambda: value(stack, name, **labels) == expected, f"{name} {labels} is {expected}")


def test_a_scrape_shows_what_happened(stack: Stack, provider: Provider, five_parts: bytes) -> None:
    provider.fail("part", "error", status=503, code="SlowDown", times=2)
    job = stack.talk.submit(five_parts)["id"]
    stack.check_end(job)
    small = stack.talk.submit(b"x" * 1000)["id"]
    stack.check_end(small)
    stack.talk.http.get(f"/v1/jobs/{job}/nothing/of/that/kind")

    settled(stack, 6, "bucketline_part_attempts_total", destination="s3", outcome="ok")
    settled(stack, 2, "bucketline_part_attempts_total", destination="s3", outcome="throttled")
    settled(stack, 2, "bucketline_failures_total", destination="s3", decision="retry")
    kinds, samples = scrape(stack)
    known = {name.removesuffix("_total"): one.kind for name, one in MEASURES.items()}
    assert kinds == known
    found = {(name, *sorted(labels)): amount for (name, labels), amount in samples.items()}
    to_s3 = ("destination", "s3")
    assert found["bucketline_jobs", ("state", "succeeded")] == 2
    assert found["bucketline_jobs_ended_total", ("state", "succeeded")] == 2
    assert found["bucketline_received_bytes_total",] == found["bucketline_sent_bytes_total",] == len(five_parts) + 1000
    assert found["bucketline_part_bytes_total", to_s3] == len(five_parts) + 1000
    assert found["bucketline_part_seconds_count", to_s3] == 6
    assert found["bucketline_part_seconds_bucket", to_s3, ("le", "+Inf")] == 6
    assert found["bucketline_step_attempts_total", to_s3, ("outcome", "ok"), ("step", "complete")] == 1
    assert found["bucketline_http_requests_total", ("method", "POST"), ("route", "/v1/jobs"), ("status", "202")] == 2
    assert found["bucketline_http_requests_total", ("method", "GET"), ("route", "unknown"), ("status", "404")] == 1
    assert found["bucketline_workers", ("node", "here")] == 1
    assert found["bucketline_worker_threads", ("node", "here")] == 2
    assert found["bucketline_queue_messages", ("queue", "parts.here")] == 0
    assert found["bucketline_redis_up",] == 1
    assert not any(job in str(one) for one in found)


def test_prometheus_own_tools_take_it_and_dashboard_and_alerts_find_everything_there(stack: Stack) -> None:
    stack.check_end(stack.talk.submit(b"x" * (6 << 20))["id"])
    settled(stack, 1, "bucketline_step_attempts_total", destination="s3", step="complete", outcome="ok")

    text = stack.talk.http.get("/metrics").content
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    shown = {name for name, _ in scrape(stack)[1]}
    assert {name for expression in expressions() for name in names_in(expression)} - shown == {"up"}


def test_a_worker_that_is_killed_or_leaves_takes_nothing_back(stack: Stack) -> None:
    stack.check_end(stack.talk.submit(b"one")["id"])
    settled(stack, 1, "bucketline_part_attempts_total", destination="s3", outcome="ok")
    stack.processes[0].kill()
    second = stack.worker()
    stack.check_end(stack.talk.submit(b"two")["id"])
    second.ask_to_leave()
    second.wait()

    assert value(stack, "bucketline_part_attempts_total", destination="s3", outcome="ok") == 2


def test_without_redis_it_still_answers(stack: Stack) -> None:
    assert value(stack, "bucketline_redis_up") == 1
    stack.valkey.kill()
    kinds, samples = scrape(stack)

    assert samples["bucketline_redis_up", frozenset()] == 0
    assert "bucketline_spool_used_bytes" in kinds
    stack.valkey.start()
    settled(stack, 1, "bucketline_redis_up")
    assert value(stack, "bucketline_http_requests_total", method="GET", route="/metrics", status="200") is not None
