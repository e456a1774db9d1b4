"""/metrics of one API process: its requests by route, never by what a client may make up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.asgi import Composed
from api.routes import UNKNOWN, Routes
from tests.api.asking import Asker
from tests.api.fakes import FakeService

ROUTES = Routes(create_app(FakeService()).templates)
JOB = "01940c9e-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/v1/jobs", "/v1/jobs"),
        (f"/v1/jobs/{JOB}", "/v1/jobs/{job_id}"),
        (f"/v1/jobs/{JOB}/events", "/v1/jobs/{job_id}/events"),
        (f"/v1/jobs/{JOB}/webhooks/x/replay", "/v1/jobs/{job_id}/webhooks/{delivery}/replay"),
        ("/v1/objects/media/a/b/c", "/v1/objects/{destination}/{key}"),
        ("/v1/tus/x", "/v1/tus/{upload_id}"),
        ("/metrics", "/metrics"),
        (f"/v1/jobs/{JOB}/nothing", UNKNOWN),
        ("/wp-login.php", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_path_is_known_by_its_template(path: str, route: str) -> None:
    assert ROUTES.of(path) == route


@given(st.text(alphabet="/abv1jostu{}%", max_size=30))
def test_whatever_is_asked_for_the_names_are_few(path: str) -> None:
    assert ROUTES.of(path) in {*create_app(FakeService()).templates, UNKNOWN}


async def test_every_answer_is_counted_refusals_too() -> None:
    service = FakeService()
    ask = Asker(Composed(service, api_key="a-key"))
    await ask("GET", "/livez", headers={"Authorization": "Bearer a-key"})
    await ask("GET", f"/v1/jobs/{JOB}")
    await ask("BREW", "/coffee/with/a/name/of/its/own", headers={"Authorization": "Bearer a-key"})

    batch = service.counters.batch()
    assert batch is not None
    requests = {tuple(name.split("\t")[1:]) for name in batch.amounts if "requests_total" in name}
    assert requests == {
        ("GET", "/livez", "200"), ("GET", "/v1/jobs/{job_id}", "401"), ("other", "unknown", "404"),
    }  # fmt: skip


async def test_the_answer_is_prometheus_text() -> None:
    answer = await Asker(Composed(FakeService()))("GET", "/metrics")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"# TYPE bucketline_jobs gauge" in answer.body
