"""`POST /v1/jobs/{id}/destinations`: what it takes, what it answers, and who may ask."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.asking import Answer, Asker
from tests.api.fakes import FakeService

JSON = {"content-type": "application/json"}


async def add(ask: Asker, job_id: str, document: Any, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return await ask("POST", f"/v1/jobs/{job_id}/destinations", body=body, headers=JSON | headers)


async def test_something_new_is_202_and_nothing_new_is_200(ask: Asker, service: FakeService) -> None:
    job_id = service.add()

    first = await add(ask, job_id, {"destinations": ["archive"]})
    again = await add(ask, job_id, {"destinations": ["archive", "media"]})
    one_name = await add(ask, job_id, {"destinations": "archive"})

    assert (first.status, first.headers["location"]) == (202, f"/v1/jobs/{job_id}")
    assert (again.status, one_name.status) == (200, 200)
    assert [one["destination"] for one in again.json()["transfers"]] == ["media", "archive"]
    assert [(one["action"], one["job"], one["destination"]) for one in service.notes] == [("add", job_id, "archive")]


async def test_it_can_be_waited_for(ask: Asker, service: FakeService) -> None:
    job_id = service.add()

    answer = await add(ask, job_id, {"destinations": ["archive"]}, prefer="wait=0")

    assert (answer.status, answer.headers["preference-applied"]) == (202, "wait=0")


@pytest.mark.parametrize(
    ("document", "status", "code", "pointer"),
    [
        ({}, 422, "invalid", "/destinations"),
        ({"destinations": []}, 422, "invalid", "/destinations"),
        ({"destinations": [""]}, 422, "invalid", "/destinations/0"),
        ({"destinations": ["archive", 1]}, 422, "invalid", "/destinations/1"),
        ({"destinations": None}, 422, "invalid", "/destinations"),
        ({"destinations": ["nowhere"]}, 422, "unknown_destination", "/destinations/0"),
        ({"destinations": ["archive"], "key": "other"}, 422, "unknown_option", "/key"),
        (["archive"], 422, "invalid", ""),
        (b"{", 400, "bad_json", ""),
        (b"", 400, "bad_json", ""),
    ],
)
async def test_what_cannot_be_is_refused(
    ask: Asker, service: FakeService, document: Any, status: int, code: str, pointer: str
) -> None:
    answer = await add(ask, service.add(), document)

    problem = answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert [one["pointer"] for one in problem["errors"]] == [pointer]


async def test_jobs_that_are_none(ask: Asker) -> None:
    for job_id in ("x", "01940c9e-0000-7000-8000-000000000001"):
        assert (await add(ask, job_id, {"destinations": ["archive"]})).status == 404


async def test_another_type_of_body(ask: Asker, service: FakeService) -> None:
    answer = await ask("POST", f"/v1/jobs/{service.add()}/destinations", body=b"destinations=archive")

    assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
