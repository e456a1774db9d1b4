"""The client library: typed answers, errors that say what to do, and a wait that survives lost connections."""

import io
from pathlib import Path
from typing import BinaryIO, cast

import pytest

import bucketline
from bucketline.async_client import AsyncClient
from bucketline.client import Client, ClientError, Refused, Unreachable
from bucketline.results import Event
from tests.clients import Connect
from tests.command.fake import FakeServer, job_json, problem_json, transfer_json


def test_they_are_what_the_package_exports() -> None:
    assert bucketline.Client is Client
    assert bucketline.AsyncClient is AsyncClient
    with pytest.raises(AttributeError):
        _ = bucketline.Clint


def test_a_submitted_file_gives_a_job_with_types(connect: Connect, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"12345")
    with connect() as client:
        job = client.submit(file, destinations=["archive"])
    assert (job.state, job.size, job.received, job.name) == ("queued", 5, 5, "a.bin")
    assert job.transfers[0].destination == "archive"
    assert job.transfers[0].parts.total == 4
    assert job.raw["links"]["self"].endswith(job.id)


def test_a_file_object_is_sent_from_where_it_stands(connect: Connect, server: FakeServer) -> None:
    body = io.BytesIO(b"skipped, kept")
    body.seek(9)
    with connect() as client:
        client.submit(body, name="x")
    assert server.uploads[0].body == b"kept"
    assert server.uploads[0].headers["Content-Length"] == "4"


@pytest.mark.parametrize("file", [b"bytes", io.StringIO("text"), 7])
def test_what_is_no_binary_file_is_an_error_that_says_what_is(connect: Connect, file: object) -> None:
    with connect() as client:
        for send in (client.submit, client.upload):
            with pytest.raises(ClientError, match=rf"io.BytesIO.* not {type(file).__name__}"):
                send(cast(BinaryIO, file), name="x")


def test_one_destination_may_be_a_text(connect: Connect, server: FakeServer) -> None:
    with connect() as client:
        client.submit(io.BytesIO(b"1"), destinations="media")
        job = client.submit_source({"path": "/srv/a"}, destinations="media")
        server.jobs[job.id]["state"] = "running"
        client.add_destination(job.id, "archive")
    assert server.uploads[0].options["destinations"] == "media"
    assert server.uploads[1].json()["destinations"] == ["media"]
    assert server.commands == [(job.id, "add archive")]


def test_a_source_is_named_and_not_sent(connect: Connect, server: FakeServer) -> None:
    with connect() as client:
        job = client.submit_source(
            {"path": "/srv/in/a.bin"}, idempotency_key="7", destinations=("media",), labels={"a": "b"}, webhook=None
        )
    (sent,) = server.uploads
    assert sent.json() == {"source": {"path": "/srv/in/a.bin"}, "destinations": ["media"], "labels": {"a": "b"}}
    assert (job.state, sent.headers["Content-Type"], sent.headers["Idempotency-Key"]) == (
        "queued", "application/json", '"7"',
    )  # fmt: skip


def test_what_was_handed_over_is_told(connect: Connect, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bucketline.bodies.READ_SIZE", 4)
    told: list[int] = []
    with connect() as client:
        client.submit(io.BytesIO(b"0123456789"), on_sent=told.append)
    assert told == [4, 8, 10]


def test_a_file_that_shrinks_while_it_is_sent_is_an_error_and_not_a_shorter_file(
    connect: Connect, server: FakeServer
) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3)) if self.tell() < 3 else b""

    with connect() as client, pytest.raises(ClientError, match="changed while it was being sent"):
        client.submit(cast(BinaryIO, Shrinking(b"0123456789")))
    assert server.uploads == []


def test_a_job_that_does_not_exist_is_refused_with_the_problem(connect: Connect, server: FakeServer) -> None:
    with connect() as client, pytest.raises(Refused) as caught:
        client.job("nope/../x")
    assert caught.value.status == 404
    assert caught.value.problem.code == "not_found"


def test_503_is_unreachable_because_later_may_help(connect: Connect, server: FakeServer) -> None:
    server.refusals = [problem_json(503, "ledger_unavailable", "Redis is away")]
    with connect() as client, pytest.raises(Unreachable, match="Redis is away"):
        client.submit(io.BytesIO(b"x"))


def test_an_address_that_is_none(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClientError), connect("http://[::1") as client:
        client.stats()


@pytest.mark.parametrize("token", ["hush\nBearer", "hush hush", "hüsh", "hush\0"])
def test_a_key_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ClientError, match="is it all of one") as refused:
        Client("http://127.0.0.1:1", token)
    assert "hush" not in str(refused.value)


def test_a_line_break_at_the_end_of_a_key_is_no_part_of_it(server: FakeServer) -> None:
    with Client(server.url, " hush\n") as client:
        client.jobs()
    assert server.authorizations == ["Bearer hush"]


def test_jobs_are_listed(connect: Connect, server: FakeServer) -> None:
    server.jobs = {"1": job_json("1", 5), "2": job_json("2", 6, state="failed")}
    with connect() as client:
        assert [job.id for job in client.jobs().items] == ["1", "2"]
        assert [job.id for job in client.jobs(state="failed").items] == ["2"]


def test_commands(connect: Connect, server: FakeServer) -> None:
    server.jobs = {"1": job_json("1", 5), "2": job_json("2", 5, state="succeeded")}
    with connect() as client:
        assert client.cancel("1").state == "cancelling"
        assert client.pause("1").state == "paused"
        assert client.resume("1").state == "queued"
        assert client.retry("1").state == "queued"
        with pytest.raises(Refused, match="a succeeded job cannot pause"):
            client.pause("2")


def progress(sent: int) -> dict[str, object]:
    return {"id": "1", "state": "running", "received": 10, "sent": sent, "transfers": [transfer_json(sent=sent)]}


def test_wait_follows_the_events_to_the_end(connect: Connect, server: FakeServer) -> None:
    ended = job_json("1", 10, state="succeeded")
    server.jobs = {"1": job_json("1", 10, state="running")}
    server.scripts = [[("1-0", "snapshot", progress(0)), ("2-0", "progress", progress(5)), ("3-0", "end", ended)]]
    seen: list[Event] = []
    with connect() as client:
        job = client.wait("1", on_event=seen.append)
    assert job.succeeded
    assert [(event.type, event.data["sent"]) for event in seen] == [("snapshot", 0), ("progress", 5), ("end", 0)]


def test_a_lost_connection_is_taken_up_where_it_broke(
    connect: Connect, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketline.following.RECONNECT_SECONDS", 0.01)
    server.jobs = {"1": job_json("1", 10, state="running")}
    ended = job_json("1", 10, state="failed")
    server.scripts = [[("1-0", "snapshot", progress(0))], [("2-0", "progress", progress(5))], [("3-0", "end", ended)]]
    with connect() as client:
        assert client.wait("1").state == "failed"
    assert server.streams == [None, "1-0", "2-0"]


def test_a_server_that_stays_away_is_waited_for_and_then_given_up(
    connect: Connect, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketline.following.RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr("bucketline.following.PATIENCE_SECONDS", 0.05)
    with connect("http://127.0.0.1:9") as client, pytest.raises(Unreachable):
        client.wait("1")


def test_the_feed_of_a_server_that_is_not_there_is_an_error_at_once(connect: Connect) -> None:
    with connect("http://127.0.0.1:9") as client, pytest.raises(Unreachable):
        next(client.events())


def test_a_job_that_has_ended_long_ago_is_not_waited_for(connect: Connect, server: FakeServer) -> None:
    server.jobs = {"1": job_json("1", 10, state="cancelled")}
    with connect() as client:
        assert client.wait("1").state == "cancelled"


def test_wait_gives_up_when_it_was_told_to(
    connect: Connect, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketline.following.RECONNECT_SECONDS", 0.01)
    server.jobs = {"1": job_json("1", 10, state="running")}
    server.scripts = [[("1-0", "snapshot", progress(0))] for _ in range(100)]
    with connect() as client, pytest.raises(TimeoutError):
        client.wait("1", timeout=0.1)


def test_waiting_for_a_job_that_does_not_exist_is_an_error_at_once(connect: Connect, server: FakeServer) -> None:
    with connect() as client, pytest.raises(Refused):
        client.wait("404")


def test_what_a_newer_server_adds_does_no_harm(connect: Connect, server: FakeServer) -> None:
    server.jobs = {"1": job_json("1", 10, shiny=True, transfers=[transfer_json(also="new")])}
    with connect() as client:
        assert client.job("1").raw["shiny"] is True
