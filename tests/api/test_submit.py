"""Submitting: raw bodies, forms, JSON and addresses become jobs, or nothing at all."""

import asyncio
import base64
import hashlib
import json

import pytest

from api.ingest import wait_seconds
from tests.api.asking import CUT, Asker, form
from tests.api.fakes import FakeService


async def test_a_raw_body_becomes_a_job(ask: Asker, service: FakeService) -> None:
    answer = await ask(
        "POST", "/v1/jobs?key=a/b.txt&labels=team%3Dred", body=b"hello", headers={"content-type": "text/plain"}
    )

    assert answer.status == 202
    job = answer.json()
    assert answer.headers["location"] == answer.headers["content-location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["retry-after"] == "1"
    assert (job["key"], job["content_type"], job["labels"]) == ("a/b.txt", "text/plain", {"team": "red"})
    assert service.content(job["id"]) == b"hello"


async def test_a_body_without_bytes_is_a_file_too(ask: Asker, service: FakeService) -> None:
    answer = await ask("PUT", "/v1/objects/media/empty", body=b"")

    assert answer.status == 202
    assert service.content(answer.json()["id"]) == b""


async def test_a_chunked_body_has_no_declared_size(ask: Asker, service: FakeService) -> None:
    answer = await ask("PUT", "/v1/objects/media/k", body=[b"one", b"", b"two", b""], chunked=True)

    assert service.content(answer.json()["id"]) == b"onetwo"


@pytest.mark.parametrize(
    ("rest", "key"),
    [
        ("a//b", "a//b"),
        ("%2e%2e%2fpasswd%20x", None),  # decodes to ../passwd x, which the engine refuses
        ("a%252e%252e%252fb", "a%2e%2e%2fb"),
        ("what%3F%23now", "what?#now"),
        ("%7B%7D%24*", "{}$*"),
        ("folder/", "folder/"),
        ("%E6%97%A5%E6%9C%AC/%C3%A9", "日本/é"),
        ("a+b%2Bc", "a+b+c"),
        ("./x", "./x"),
    ],
)
async def test_a_key_in_the_address_is_kept_byte_for_byte(ask: Asker, rest: str, key: str | None) -> None:
    answer = await ask("PUT", f"/v1/objects/archive/{rest}", body=b"x")

    if key is None:
        assert (answer.status, answer.json()["errors"][0]["pointer"]) == (422, "/key")
    else:
        assert answer.json()["key"] == key
        assert answer.json()["name"] == (key.rpartition("/")[2] or "upload")
        assert answer.json()["transfers"][0]["destination"] == "archive"


@pytest.mark.parametrize("key", ["a%5Cb", "a/" + "x" * 256, "a%0Ab", "a/.", "a/"])
async def test_a_key_whose_end_is_no_file_name_is_a_key_all_the_same(ask: Asker, key: str) -> None:
    answer = await ask("PUT", f"/v1/objects/media/{key}", body=b"x")

    assert (answer.status, answer.json()["name"]) == (202, "upload")


async def test_put_takes_any_content_type(ask: Asker, service: FakeService) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await ask("PUT", "/v1/objects/media/k", body=b"{}", headers={"content-type": kind})
        assert (answer.status, answer.json()["content_type"]) == (202, kind)


async def test_a_type_that_says_nothing_leaves_it_to_the_name(ask: Asker) -> None:
    bytes_only = {"content-type": "application/octet-stream"}
    kind, body = form(("file", "x", "a.mp4"))
    body = body.replace(b"\r\n\r\nx", b"\r\nContent-Type: Application/Octet-Stream; charset=binary\r\n\r\nx")

    by_key = await ask("PUT", "/v1/objects/media/films/a.mp4", body=b"x", headers=bytes_only)
    by_name = await ask("POST", "/v1/jobs?name=a.mp4", body=b"x", headers=bytes_only)
    in_form = await ask("POST", "/v1/jobs", body=body, headers={"content-type": kind})

    found = [by_key.json(), by_name.json(), in_form.json()["jobs"][0]]
    assert [job["content_type"] for job in found] == [None] * 3, "the engine has the last word"


@pytest.mark.parametrize("target", ["/v1/jobs?name=a", "/v1/jobs?name=a.mp4&content_type=application/octet-stream"])
async def test_where_the_name_says_nothing_or_the_option_is_given_it_stands(ask: Asker, target: str) -> None:
    answer = await ask("POST", target, body=b"x", headers={"content-type": "application/octet-stream"})

    assert answer.json()["content_type"] == "application/octet-stream"


async def test_options_have_one_name_in_every_place(ask: Asker) -> None:
    in_query = await ask(
        "POST", "/v1/jobs?destinations=media,archive&metadata=a%3D1,b%3D2%252C3&on_conflict=fail", body=b"x"
    )
    in_headers = await ask(
        "POST",
        "/v1/jobs",
        body=b"x",
        headers={
            "Bucketline-Destinations": "media, archive",
            "Bucketline-Metadata": "a=1, b=2%2C3",
            "Bucketline-On-Conflict": "fail",
        },
    )
    kind, body = form(
        ("metadata", '{"a":"1","b":"2,3"}'), ("destinations", "media,archive"), ("file", "x"), ("on_conflict", "fail")
    )
    in_form = await ask("POST", "/v1/jobs", body=body, headers={"content-type": kind})

    found = [in_query.json(), in_headers.json(), in_form.json()["jobs"][0]]
    assert [job["metadata"] for job in found] == [{"a": "1", "b": "2,3"}] * 3
    assert [[transfer["destination"] for transfer in job["transfers"]] for job in found] == [["media", "archive"]] * 3


async def test_a_form_with_several_files_makes_several_jobs(ask: Asker, service: FakeService) -> None:
    kind, body = form(("file", "one", "a.txt"), ("labels", '{"k":"v"}'), ("file", b"\r\n--b0undar", "C:\\x\\b.txt"))

    answer = await ask(
        "POST", "/v1/jobs", body=[body[i : i + 7] for i in range(0, len(body), 7)], headers={"content-type": kind}
    )

    jobs = answer.json()["jobs"]
    assert answer.status == 202
    assert [(job["name"], job["labels"]) for job in jobs] == [("a.txt", {"k": "v"}), ("b.txt", {"k": "v"})]
    assert [service.content(job["id"]) for job in jobs] == [b"one", b"\r\n--b0undar"]


async def test_an_error_after_the_files_keeps_none_of_them(ask: Asker, service: FakeService) -> None:
    kind, body = form(("file", "one"), ("file", "two"), ("destinations", "nowhere"))

    answer = await ask("POST", "/v1/jobs", body=body, headers={"content-type": kind})

    assert (answer.status, answer.json()["code"]) == (422, "unknown_destination")
    assert [reception.ended for reception in service.receptions] == ["discarded", "discarded"]
    assert service.jobs_by_id == {}


async def test_a_source_is_submitted_as_json(ask: Asker, service: FakeService) -> None:
    document = {"source": {"path": "/data/film.mp4"}, "destinations": ["archive"], "labels": {"a": "b"}}

    answer = await ask(
        "POST",
        "/v1/jobs",
        body=json.dumps(document).encode(),
        headers={"content-type": "application/json; charset=utf-8"},
    )

    assert answer.status == 202
    assert service.jobs_by_id[answer.json()["id"]].spec.source.path == "/data/film.mp4"


async def test_prefer_wait_answers_200_when_the_job_is_done(ask: Asker, service: FakeService) -> None:
    service.finish_at_once = True

    answer = await ask("PUT", "/v1/objects/media/k", body=b"x", headers={"prefer": "respond-async, wait=999"})

    assert (answer.status, answer.json()["state"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=60"
    assert "retry-after" not in answer.headers


async def test_prefer_wait_answers_202_when_the_time_is_up(ask: Asker) -> None:
    answer = await ask("PUT", "/v1/objects/media/k", body=b"x", headers={"prefer": "wait=0"})

    assert (answer.status, answer.headers["preference-applied"]) == (202, "wait=0")


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [("wait=5", 5), ('respond-async; wait = "7"', 7), ("wait=" + "9" * 5000, 60), ("wait=0005", 5), ("wait=-1", None)],
)
def test_the_seconds_of_a_preference(prefer: str, seconds: int | None) -> None:
    assert wait_seconds(prefer, 60) == seconds


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
async def test_digest_headers_are_verified(ask: Asker, service: FakeService, header: str, algorithm: str) -> None:
    digest = base64.b64encode(hashlib.new(algorithm.replace("-", ""), b"hello").digest()).decode()

    right = await ask(
        "PUT", "/v1/objects/media/k", body=b"hello", headers={header: f"{algorithm}=:{digest}:, md5=:AAAA:"}
    )
    wrong = await ask("PUT", "/v1/objects/media/k", body=b"hullo", headers={header: f"{algorithm}=:{digest}:"})

    assert right.status == 202
    assert (wrong.status, wrong.json()["code"]) == (422, "checksum_mismatch")
    assert service.receptions[-1].ended == "discarded"
    assert len(service.jobs_by_id) == 1


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/tokens"])
async def test_the_digest_of_json(ask: Asker, service: FakeService, path: str, header: str, algorithm: str) -> None:
    body = b'{"source": {"path": "/data/a"}}' if path == "/v1/jobs" else b'{"prefix": "a/"}'
    digest = base64.b64encode(hashlib.new(algorithm.replace("-", ""), body).digest()).decode()
    headers = {"content-type": "application/json", header: f"{algorithm}=:{digest}:"}

    wrong = await ask("POST", path, body=body.replace(b"/", b"b", 1), headers=headers)
    made = dict(service.jobs_by_id), dict(service.gate.known)
    right = await ask("POST", path, body=body, headers=headers)

    assert (wrong.status, wrong.json()["code"]) == (422, "checksum_mismatch")
    assert made == ({}, {})
    assert right.status in (201, 202)


async def test_the_digest_of_a_form_is_that_of_the_whole_form(ask: Asker) -> None:
    kind, body = form(("file", "x"))
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()

    answer = await ask(
        "POST", "/v1/jobs", body=body, headers={"content-type": kind, "content-digest": f"sha-256=:{digest}:"}
    )

    assert answer.status == 202


async def test_a_body_that_is_cut_leaves_nothing(ask: Asker, service: FakeService) -> None:
    kind, body = form(("file", "x" * 50))
    declared = await ask("PUT", "/v1/objects/media/k", body=[b"ab", CUT], headers={"content-length": "10"})
    chunked = await ask("PUT", "/v1/objects/media/k", body=[b"ab", CUT], chunked=True)
    short = await ask("PUT", "/v1/objects/media/k", body=b"ab", headers={"content-length": "10"})
    in_form = await ask(
        "POST", "/v1/jobs", body=[body[:90], CUT], headers={"content-type": kind, "content-length": str(len(body))}
    )

    for answer in (declared, chunked, short, in_form):
        assert (answer.status, answer.json()["code"]) == (400, "truncated")
    assert {reception.ended for reception in service.receptions} == {"discarded"}
    assert service.jobs_by_id == {}


async def test_a_lost_ledger_at_accept_keeps_the_bytes(ask: Asker, service: FakeService) -> None:
    service.lost_at_accept = True

    answer = await ask("PUT", "/v1/objects/media/k", body=b"x")

    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert service.receptions[-1].ended == ""


async def test_the_spool_filling_up_midway_ends_the_reception(ask: Asker, service: FakeService) -> None:
    service.full_after = 3

    answer = await ask("PUT", "/v1/objects/media/k", body=[b"ab", b"cd"])

    assert (answer.status, answer.json()["retryable"]) == (507, True)
    assert service.receptions[-1].ended == "discarded"


async def test_a_client_that_leaves_while_its_job_is_accepted_loses_nothing(ask: Asker, service: FakeService) -> None:
    service.go_on.clear()
    request = asyncio.create_task(ask("PUT", "/v1/objects/media/k", body=b"x"))
    await service.accepting.wait()

    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    service.go_on.set()
    await service.accepted.wait()

    assert service.receptions[0].ended == "accepted"
