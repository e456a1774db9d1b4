"""Looking at jobs, listing them, commanding them; destinations and health."""

import pytest

from tests.api.asking import Asker
from tests.api.fakes import FakeService


async def test_a_job_has_a_strong_tag_and_can_be_asked_for_changes(ask: Asker, service: FakeService) -> None:
    job_id = service.add(name="a.txt")

    first = await ask("GET", f"/v1/jobs/{job_id}")
    same = await ask("GET", f"/v1/jobs/{job_id}", headers={"if-none-match": f'"x", {first.headers["etag"]}'})
    service.move(job_id, "succeeded")
    later = await ask("GET", f"/v1/jobs/{job_id}", headers={"if-none-match": first.headers["etag"]})

    assert (first.status, first.headers["retry-after"], first.json()["name"]) == (200, "1", "a.txt")
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (later.status, later.json()["state"]) == (200, "succeeded")
    assert later.headers["etag"] != first.headers["etag"]
    assert "retry-after" not in later.headers


async def test_the_list_is_paged_and_keeps_its_filters(ask: Asker, service: FakeService) -> None:
    for index in range(3):
        service.add(name=f"é{index}", labels={"team": "red"})
    service.add(name="other")

    first = await ask("GET", "/v1/jobs?label.team=red&limit=2&q=%C3%A9")
    link = first.headers["link"]
    second = await ask("GET", link[1 : link.index(">")])

    assert link == '</v1/jobs?label.team=red&limit=2&q=%C3%A9&cursor=2>; rel="next"'
    assert [job["name"] for job in first.json()["items"] + second.json()["items"]] == ["é2", "é1", "é0"]
    assert (second.json()["next_cursor"], "link" in second.headers) == (None, False)


async def test_the_list_filters_by_state_and_destination(ask: Asker, service: FakeService) -> None:
    service.move(service.add(destinations=["archive"]), "running")
    service.add()

    found = (await ask("GET", "/v1/jobs?state=running&destination=archive")).json()["items"]

    assert [job["state"] for job in found] == ["running"]


async def test_commands_answer_202_then_200(ask: Asker, service: FakeService) -> None:
    job_id = service.add()

    answers = [await ask("POST", f"/v1/jobs/{job_id}/pause") for _ in range(2)]
    resumed = await ask("POST", f"/v1/jobs/{job_id}/resume")
    cancelled = await ask("POST", f"/v1/jobs/{job_id}/cancel", body=b"")

    assert [(answer.status, answer.json()["state"]) for answer in answers] == [(202, "paused"), (200, "paused")]
    assert (resumed.status, resumed.json()["state"]) == (202, "queued")
    assert (cancelled.status, cancelled.json()["state"]) == (202, "cancelling")


async def test_a_finished_job_can_be_forgotten(ask: Asker, service: FakeService) -> None:
    job_id = service.add()
    service.move(job_id, "failed")

    gone = await ask("DELETE", f"/v1/jobs/{job_id}")

    assert (gone.status, gone.body) == (204, b"")
    assert (await ask("GET", f"/v1/jobs/{job_id}")).status == 404


async def test_parts(ask: Asker, service: FakeService) -> None:
    job_id = service.add()

    answer = await ask("GET", f"/v1/jobs/{job_id}/parts?destination=media")

    assert answer.json()["items"][0]["destination"] == "media"


async def test_destinations(ask: Asker) -> None:
    listed = (await ask("GET", "/v1/destinations")).json()["items"]
    one = (await ask("GET", "/v1/destinations/archive")).json()
    checked = (await ask("POST", "/v1/destinations/archive/check")).json()

    assert [item["name"] for item in listed] == ["media", "archive"]
    assert (one["name"], checked["ok"]) == ("archive", True)


async def test_ready_is_503_with_the_reason_while_something_is_missing(ask: Asker, service: FakeService) -> None:
    ready = await ask("GET", "/readyz")
    service.is_ready = False
    missing = await ask("GET", "/readyz")

    assert (ready.status, ready.json()["ready"]) == (200, True)
    assert (missing.status, missing.json()["checks"]["redis"]["ok"]) == (503, False)
    assert missing.headers["retry-after"] == "2"


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/v1/jobs", "/v1/destinations"])
async def test_head_answers_as_get_without_its_body(ask: Asker, path: str) -> None:
    head, get = await ask("HEAD", path), await ask("GET", path)

    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", get.headers["content-length"])


async def test_every_answer_is_marked(ask: Asker) -> None:
    for path in ("/livez", "/nothing"):
        headers = (await ask("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["server"] == "bucketline"


async def test_what_can_be_looked_at_has_a_head(ask: Asker, service: FakeService) -> None:
    job_id = service.add()
    job = f"/v1/jobs/{job_id}"
    for path in (job, f"{job}/parts", "/v1/stats", "/problems/not_found", "/v1/destinations/media"):
        answer = await ask("HEAD", path)
        assert (answer.status, answer.body) == (200, b""), path


async def test_what_is_not_new_is_kept_as_long_as_what_is(ask: Asker, service: FakeService) -> None:
    job_id = service.add()
    seen = await ask("GET", f"/v1/jobs/{job_id}")
    same = await ask("GET", f"/v1/jobs/{job_id}", headers={"if-none-match": seen.headers["etag"]})

    assert same.status == 304
    assert same.headers["cache-control"] == seen.headers["cache-control"] == "no-cache"


async def test_an_object_says_how_it_is_written(ask: Asker) -> None:
    answer = await ask("OPTIONS", "/v1/objects/media/k")

    assert (answer.status, answer.headers["allow"]) == (204, "OPTIONS, PUT")
