"""Server-sent events as a browser sees them."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from api.asgi import Composed
from api.events import frame
from tests.api.asking import Asker, Exchange
from tests.api.fakes import FakeEvent, FakeService


async def frames(exchange: Exchange, count: int) -> list[bytes]:
    return [await exchange.frames.get() or b"" for _ in range(count)]


def parsed(text: bytes) -> dict[str, Any]:
    fields: Iterable[list[str]] = (line.split(": ", 1) for line in text.decode().strip().splitlines())
    found: dict[str, Any] = dict(fields)
    return {**found, "data": json.loads(found["data"])}


async def test_a_job_is_watched_from_a_snapshot_to_its_end(ask: Asker, service: FakeService) -> None:
    job_id = service.add(name="two\nlines")

    async with ask.open(f"/v1/jobs/{job_id}/events") as exchange:
        retry, snapshot = await frames(exchange, 2)
        service.move(job_id, "running")
        service.move(job_id, "succeeded")
        state, end, closed = await frames(exchange, 3)

    assert exchange.answer.headers["content-type"] == "text/event-stream"
    assert exchange.answer.headers["cache-control"] == "no-cache, no-transform"
    assert exchange.answer.headers["x-accel-buffering"] == "no"
    assert retry == b"retry: 3000\n\n"
    assert parsed(snapshot)["event"] == "snapshot"
    assert parsed(snapshot)["data"]["name"] == "two\nlines"
    assert (parsed(state)["event"], parsed(end)["event"]) == ("state", "end")
    assert parsed(end)["data"]["state"] == "succeeded"
    assert closed == b""


async def test_a_reader_comes_back_where_it_left_off(ask: Asker, service: FakeService) -> None:
    job_id = service.add()
    service.move(job_id, "running")
    service.move(job_id, "succeeded")
    ids = [event.id for event in service.jobs_by_id[job_id].events]

    by_header = await ask("GET", f"/v1/jobs/{job_id}/events", headers={"last-event-id": ids[0]})
    by_query = await ask("GET", f"/v1/jobs/{job_id}/events?last_event_id={ids[1]}")
    at_the_end = await ask("GET", f"/v1/jobs/{job_id}/events?last_event_id={ids[2]}")
    unknown = await ask("GET", f"/v1/jobs/{job_id}/events?last_event_id=999-9")

    assert by_header.body.count(b"event:") == 2
    assert by_query.body.count(b"event: end") == 1
    assert (at_the_end.status, at_the_end.body) == (204, b"")
    assert (unknown.status, unknown.body.count(b"event: end")) == (200, 1)


async def test_a_quiet_stream_is_kept_alive(service: FakeService) -> None:
    ask = Asker(Composed(service, ping_seconds=0.01))

    async with ask.open(f"/v1/jobs/{service.add()}/events") as exchange:
        _, _, ping, again = await frames(exchange, 4)

    assert ping == again == b": ping\n\n"


async def test_a_stop_ends_the_streams(service: FakeService) -> None:
    app = Composed(service)

    async with Asker(app).open(f"/v1/jobs/{service.add()}/events") as exchange:
        await frames(exchange, 2)
        app.stop()
        (closed,) = await frames(exchange, 1)

    assert closed == b""


async def test_a_stop_refuses_new_files_and_says_so(service: FakeService) -> None:
    app = Composed(service)
    app.stop()
    ask = Asker(app)

    refused = await ask("PUT", "/v1/objects/media/k", body=b"x")
    ready = await ask("GET", "/readyz")

    assert (refused.status, refused.json()["code"], refused.received) == (503, "stopping", 0)
    assert (ready.status, ready.json()["checks"]["process"]["ok"]) == (503, False)


async def test_a_ledger_lost_midway_ends_the_stream(ask: Asker, service: FakeService) -> None:
    job_id = service.add()
    service.events_fail = True

    answer = await ask("GET", f"/v1/jobs/{job_id}/events")

    assert (answer.status, answer.body.count(b"event:")) == (200, 1)


@pytest.mark.parametrize("last", ["x" * 129, "a\tb"])
async def test_an_impossible_event_id_is_refused(ask: Asker, service: FakeService, last: str) -> None:
    answer = await ask("GET", f"/v1/jobs/{service.add()}/events", headers={"last-event-id": last})

    assert (answer.status, answer.json()["code"]) == (400, "bad_cursor")


def test_data_is_one_line_whatever_is_in_it() -> None:
    text = frame(FakeEvent("1-0", "state", {"name": "a\r\nb\u2028\n\nevent: end"}))

    assert len(text.splitlines()) == 4
