"""Where a request comes from is kept when it has the form that the W3C gives it, and with the job."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.asgi import Composed
from api.tracing import trace_id_of, traceparent_of
from tests.api.asking import Asker
from tests.api.fakes import FakeService

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        (GOOD, GOOD),
        (f" {GOOD} ", GOOD),
        (f"cc-{TRACE}-{SPAN}-01", GOOD),
        (f"cc-{TRACE}-{SPAN}-01-what-comes", GOOD),
        (f"00-{TRACE}-{SPAN}-01-more", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (GOOD.upper(), ""),
        (GOOD[:-1], ""),
        ("", ""),
    ],
)
def test_only_the_form_of_the_recommendation_counts(given_text: str, kept: str) -> None:
    assert traceparent_of([(b"traceparent", given_text.encode())]) == kept


def test_two_count_as_none() -> None:
    assert traceparent_of([(b"traceparent", GOOD.encode())] * 2) == ""
    assert traceparent_of([]) == trace_id_of("") == ""
    assert trace_id_of(GOOD) == TRACE


@given(st.binary(max_size=80))
def test_whatever_comes_the_answer_has_the_form_or_is_empty(value: bytes) -> None:
    assert re.fullmatch(r"(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?", traceparent_of([(b"traceparent", value)]))


async def test_both_are_kept_with_the_job() -> None:
    service = FakeService()
    ask = Asker(Composed(service))
    answer = await ask("POST", "/v1/jobs", body=b"x", headers={"X-Request-ID": "mine", "traceparent": GOOD})
    other = await ask("POST", "/v1/jobs", body=b"x", headers={"traceparent": "nonsense"})

    spec = service.jobs_by_id[answer.json()["id"]].spec
    assert (spec.request_id, spec.traceparent) == ("mine", GOOD)
    assert answer.headers["x-request-id"] == "mine"
    spec = service.jobs_by_id[other.json()["id"]].spec
    assert (spec.request_id, spec.traceparent) == (other.headers["x-request-id"], "")
