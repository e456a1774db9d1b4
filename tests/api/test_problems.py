"""Bad input, case by case: each gets its status and code, as problem+json, and leaves nothing behind."""

import json
import re
from typing import Any

import pytest

import engine.errors
from api.problems import TABLE, from_engine, title_of
from engine.errors import EngineError
from tests.api.asking import Asker, form
from tests.api.fakes import FakeService

ID = "01940c9e-0000-7000-8000-000000000000"
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable", "errors"}


def check(answer: Any, status: int, code: str, pointer: str | None = None) -> None:
    document = answer.json()
    assert (answer.status, document["code"]) == (status, code), document
    assert answer.headers["content-type"] == "application/problem+json"
    assert document.keys() == MEMBERS
    assert (document["type"], document["status"], document["title"]) == (f"/problems/{code}", status, title_of(code))
    assert "Traceback" not in document["detail"]
    if pointer is not None:
        assert document["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/nothing", 404, "no_resource"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("GET", f"/v1/jobs/{ID}/nothing", 404, "no_resource"),
        ("PATCH", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/objects/media/k", 405, "method_not_allowed"),
        ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", f"/v1/jobs/{ID}/cancel", 405, "method_not_allowed"),
        ("BREW", "/v1/jobs", 400, "bad_request"),
        ("GET", f"/v1/jobs/{ID}", 404, "not_found"),
        ("GET", "/v1/jobs/*", 404, "not_found"),
        ("GET", "/v1/jobs/%5Ba-z%5D%3F", 404, "not_found"),
        ("GET", f"/v1/jobs/{ID[:-1]}%00", 404, "not_found"),
        ("GET", f"/v1/jobs/{ID.upper()}", 404, "not_found"),
        ("GET", "/v1/jobs/" + "a" * 10_000, 404, "not_found"),
        ("GET", "/v1/jobs/%7B%7D'%22;return%20redis.call", 404, "not_found"),
        ("GET", "/v1/jobs/*/parts", 404, "not_found"),
        ("GET", "/v1/jobs/*/events", 404, "not_found"),
        ("DELETE", "/v1/jobs/*", 404, "not_found"),
        ("POST", "/v1/jobs/*/retry", 404, "not_found"),
        ("POST", f"/v1/jobs/{ID}/pause", 404, "not_found"),
        ("GET", "/v1/destinations/nowhere", 404, "unknown_destination"),
        ("POST", "/v1/destinations/nowhere/check", 404, "unknown_destination"),
        ("GET", "/problems/nothing", 404, "no_resource"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid"),
        ("GET", "/v1/jobs?limit=-1", 422, "invalid"),
        ("GET", "/v1/jobs?limit=1000000000", 422, "invalid"),
        ("GET", "/v1/jobs?limit=ten", 422, "invalid"),
        ("GET", "/v1/jobs?state=runing", 422, "invalid"),
        ("GET", "/v1/jobs?limit=1&limit=2", 422, "invalid"),
        ("GET", "/v1/jobs?cursor=%00", 400, "bad_cursor"),
        ("GET", "/v1/jobs?cursor=" + "a" * 600, 400, "bad_cursor"),
        ("GET", "/v1/jobs?stat=queued", 422, "unknown_option"),
        ("GET", "/v1/jobs?q=%ff", 400, "bad_request"),
        ("GET", f"/v1/jobs/{ID}/parts?dest=x", 422, "unknown_option"),
        ("GET", "/v1/events?since=1", 422, "unknown_option"),
        ("PUT", "/v1/objects/media/", 422, "invalid"),
        ("PUT", "/v1/objects/media", 404, "no_resource"),
        ("PUT", "/v1/objects/nowhere/k", 404, "unknown_destination"),
        ("PUT", "/v1/objects/media/%ff", 422, "invalid"),
        ("PUT", "/v1%2Fobjects/media/k", 404, "no_resource"),
        ("PUT", "/v1/objects/media/k?key=other", 422, "invalid"),
        ("PUT", "/v1/objects/media/k?destinations=archive", 422, "invalid"),
    ],
)
async def test_addresses(ask: Asker, service: FakeService, method: str, target: str, status: int, code: str) -> None:
    check(await ask(method, target), status, code)
    assert service.jobs_by_id == {}


@pytest.mark.parametrize(
    ("query", "status", "code", "pointer"),
    [
        ("destination=media", 422, "unknown_option", "/destination"),
        ("destinations=nowhere", 422, "unknown_destination", "/destinations/0"),
        ("on_conflict=overwrite", 422, "invalid", "/on_conflict"),
        ("priority=urgent", 422, "invalid", "/priority"),
        ("retain_seconds=1e9", 422, "invalid", "/retain_seconds"),
        ("retain_seconds=-5", 422, "invalid", "/retain_seconds"),
        ("labels=justaname", 422, "invalid", "/labels"),
        ("labels=a%3D1,a%3D2", 422, "invalid", "/labels"),
        ("metadata=a%3D%25ff", 422, "invalid", "/metadata"),
        ("name=a&name=b", 422, "invalid", "/name"),
        ("checksum=md5:abc", 400, "bad_checksum", "/checksum"),
        ("checksum=sha256:ABC", 400, "bad_checksum", "/checksum"),
        ("checksum=crc32c:yZRlqg", 400, "bad_checksum", "/checksum"),
        ("checksum=sha256:" + "0" * 64, 422, "checksum_mismatch", None),
        ("source=x", 422, "invalid", "/source"),
        ("a%2Fb=1", 422, "unknown_option", "/a~1b"),
        ("key=../x", 422, "invalid", "/key"),
        ("name=%ff", 400, "bad_request", None),
    ],
)
async def test_options(
    ask: Asker, service: FakeService, query: str, status: int, code: str, pointer: str | None
) -> None:
    check(await ask("POST", f"/v1/jobs?{query}", body=b"x"), status, code, pointer)
    assert service.jobs_by_id == {}


async def test_an_unknown_option_names_the_nearest(ask: Asker) -> None:
    in_query = await ask("POST", "/v1/jobs?destinaton=x", body=b"x")
    in_header = await ask("POST", "/v1/jobs", body=b"x", headers={"Bucketline-Lables": "a=b"})

    assert in_query.json()["detail"].endswith("; did you mean destinations?")
    assert in_header.json()["detail"].endswith("; did you mean labels?")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"content-type": "multipart/form-data"}, 400, "bad_form"),
        ({"content-type": 'multipart/form-data; boundary=""'}, 400, "bad_form"),
        ({"content-type": "multipart/form-data; boundary=" + "a" * 71}, 400, "bad_form"),
        ({"content-digest": "md5=:AAAA:"}, 400, "bad_checksum"),
        ({"content-digest": "sha-256=AAAA"}, 400, "bad_checksum"),
        ({"content-digest": "sha-256=:AAAA:"}, 400, "bad_checksum"),
        ({"repr-digest": "sha-256=:" + "A" * 43 + "=:, sha-256=:" + "B" * 42 + "A=:"}, 400, "bad_checksum"),
        ({"bucketline-name": b"\xff"}, 422, "invalid"),
    ],
)
async def test_headers(ask: Asker, service: FakeService, headers: dict[str, str], status: int, code: str) -> None:
    answer = await ask("POST", "/v1/jobs", body=b"x", headers=headers)

    check(answer, status, code)
    assert answer.received == 0
    assert service.jobs_by_id == {}


PART = b'--b\r\nContent-Disposition: form-data; name="file"%s\r\n%s\r\nx\r\n'
FIELD = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_form"),
        (PART % (b"", b""), 400, "bad_form"),
        (PART % (b"", b"") + b"--b", 400, "bad_form"),
        (b"x" * 70_000 + b"\r\n" + PART % (b"", b"") + END, 400, "bad_form"),
        (PART % (b"", b"") + END + b"x" * 70_000, 400, "bad_form"),
        ((PART % (b"", b"")) * 65 + END, 400, "bad_form"),
        (PART % (b"", b"X: " + b"a" * 9000 + b"\r\n") + END, 400, "bad_form"),
        (PART % (b"", b"Content-Transfer-Encoding: base64\r\n") + END, 400, "bad_form"),
        (PART % (b"", b" folded\r\n") + END, 400, "bad_form"),
        (PART % (b'; filename="a"; filename="b"', b"") + END, 400, "bad_form"),
        (PART % (b'; filename="a\xff"', b"") + END, 400, "bad_form"),
        (PART % (b"; filename*=latin9''a%20b", b"") + END, 400, "bad_form"),
        (PART % (b'; filename="a\x00b"', b"") + END, 422, "invalid"),
        (PART % (b"; filename*=UTF-8''a%0d%0ab", b"") + END, 422, "invalid"),
        (b"--b\r\n\r\nx\r\n" + END, 400, "bad_form"),
        (b"--b\r\nContent-Type: a/b\r\n\r\nx\r\n" + END, 400, "bad_form"),
        (b'--b\r\nContent-Disposition: attachment; name="file"\r\n\r\nx\r\n' + END, 400, "bad_form"),
        (b"--bGARBAGE\r\n" + PART % (b"", b"") + END, 400, "bad_form"),
        (END, 422, "invalid"),
        (FIELD % (b"name", b"x") + END, 422, "invalid"),
        (b'--b\r\nContent-Disposition: form-data; name="flie"; filename="x"\r\n\r\nx\r\n' + END, 422, "unknown_option"),
        (FIELD % (b"colour", b"x") + END, 422, "unknown_option"),
        (FIELD % (b"name", b"\xff") + END, 422, "invalid"),
        (FIELD % (b"labels", b"[]") + END, 422, "invalid"),
        (FIELD % (b"labels", b"{") + END, 400, "bad_json"),
        (FIELD % (b"name", b"x" * 65_537) + END, 413, "field_too_large"),
        (PART % (b"", b"") + FIELD % (b"file", b"x" * 1_000_001) + END, 413, "too_large"),
        ((PART % (b"", b"")) * 2 + FIELD % (b"key", b"k") + END, 422, "invalid"),
    ],
)  # fmt: skip
async def test_forms(ask: Asker, service: FakeService, body: bytes, status: int, code: str) -> None:
    answer = await ask("POST", "/v1/jobs", body=body, headers={"content-type": "multipart/form-data; boundary=b"})

    check(answer, status, code)
    assert service.jobs_by_id == {}
    assert all(reception.ended == "discarded" for reception in service.receptions)


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"[" * 60_000, 400, "bad_json", ""),
        (b"9" * 5000, 400, "bad_json", ""),
        (b'{"retain_seconds": NaN}', 400, "bad_json", ""),
        (b'{"name": "\\ud800"}', 400, "bad_json", ""),
        ('{"name": "x"}'.encode("utf-16"), 400, "bad_json", ""),
        (b"\xef\xbb\xbf{}", 400, "bad_json", ""),
        (b'{"name": "a", "name": "b"}', 400, "bad_json", ""),
        (b'{"labels": {"a": "1", "a": "2"}}', 400, "bad_json", ""),
        (b"", 400, "bad_json", ""),
        (b"{", 400, "bad_json", ""),
        (b"[]", 422, "invalid", ""),
        (b'"text"', 422, "invalid", ""),
        (b"{}", 422, "invalid", "/source"),
        (b'{"source": "x"}', 422, "invalid", "/source"),
        (b'{"source": {"path": 7}}', 422, "invalid", "/source/path"),
        (b'{"source": {"path": ""}}', 422, "invalid", "/source/path"),
        (b'{"source": {"pfad": "x"}}', 422, "unknown_option", "/source/pfad"),
        (b'{"source": {"url": ""}}', 422, "invalid", "/source/url"),
        (b'{"source": {"url": "http://x", "credentials": ""}}', 422, "invalid", "/source/credentials"),
        (b'{"source": {"url": "http://x", "key": "y"}}', 422, "invalid", "/source/key"),
        (b'{"source": {"credentials": "x"}}', 422, "invalid", "/source"),
        (b'{"source": {"uri": "http://x"}}', 422, "unknown_option", "/source/uri"),
        (b'{"source": {"destination": "media"}}', 422, "invalid", "/source/key"),
        (b'{"source": {"key": "film"}}', 422, "invalid", "/source"),
        (b'{"source": {"path": "/x", "destination": "media"}}', 422, "invalid", "/source"),
        (b'{"source": {"path": "/x", "key": "film"}}', 422, "invalid", "/source/key"),
        (b'{"source": {"path": "/x"}, "retain_seconds": true}', 422, "invalid", "/retain_seconds"),
        (b'{"source": {"path": "/x"}, "retain_seconds": 1.5}', 422, "invalid", "/retain_seconds"),
        (b'{"source": {"path": "/x"}, "retain_seconds": -1}', 422, "invalid", "/retain_seconds"),
        (b'{"source": {"path": "/x"}, "name": 7}', 422, "invalid", "/name"),
        (b'{"source": {"path": "/x"}, "destinations": [1]}', 422, "invalid", "/destinations/0"),
        (b'{"source": {"path": "/x"}, "metadata": {"a/b": null}}', 422, "invalid", "/metadata/a~1b"),
        (b'{"source": {"path": "/x"}, "colour": "red"}', 422, "unknown_option", "/colour"),
        (b'{"source": {"path": "/x"}, "name": "' + b"x" * 65_536 + b'"}', 413, "too_large", None),
    ],
)
async def test_json(
    ask: Asker, service: FakeService, body: bytes, status: int, code: str, pointer: str | None
) -> None:  # fmt: skip
    check(await ask("POST", "/v1/jobs", body=body, headers={"content-type": "application/json"}), status, code, pointer)
    assert service.jobs_by_id == {}


async def test_a_chunked_body_beyond_the_limit_is_dropped_midway(ask: Asker, service: FakeService) -> None:
    answer = await ask("PUT", "/v1/objects/media/k", body=[b"x" * 600_000, b"x" * 600_000, b"x"], chunked=True)

    check(answer, 413, "too_large")
    assert answer.received == 2
    assert service.receptions[0].ended == "discarded"


async def test_a_command_that_the_state_does_not_allow(ask: Asker, service: FakeService) -> None:
    job_id = service.add()

    check(await ask("DELETE", f"/v1/jobs/{job_id}"), 409, "conflict")
    service.move(job_id, "succeeded")
    for verb in ("cancel", "pause", "resume", "retry"):
        check(await ask("POST", f"/v1/jobs/{job_id}/{verb}"), 409, "conflict")


async def test_a_ledger_that_is_away_is_503_everywhere(ask: Asker, service: FakeService) -> None:
    service.away = True

    for method, target in (
        ("GET", "/v1/jobs"),
        ("GET", f"/v1/jobs/{ID}"),
        ("PUT", "/v1/objects/media/k"),
        ("GET", f"/v1/jobs/{ID}/events"),
    ):
        answer = await ask(method, target)
        check(answer, 503, "ledger_unavailable")
        assert (answer.headers["retry-after"], answer.json()["retryable"]) == ("2", True)


async def test_what_nobody_foresaw_is_500_without_a_word_of_it(
    ask: Asker, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode() -> None:
        raise RuntimeError("secret inside")

    service.health.stats = explode  # type: ignore[assignment]
    answer = await ask("GET", "/v1/stats", headers={"x-request-id": "r-1"})

    check(answer, 500, "unexpected")
    assert "secret" not in answer.body.decode()
    assert "r-1" in caplog.text
    assert "secret inside" in caplog.text


async def test_405_says_what_is_allowed(ask: Asker) -> None:
    assert "GET" in (await ask("DELETE", "/v1/jobs")).headers["allow"]
    assert (await ask("POST", "/v1/objects/media/k")).headers["allow"] == "PUT"
    assert (await ask("GET", f"/v1/jobs/{ID}/cancel")).json()["detail"] == "This address takes POST, OPTIONS."


async def test_nobody_gets_xml(ask: Asker) -> None:
    check(await ask("GET", "/nothing", headers={"accept": "application/xml"}), 404, "no_resource")


async def test_head_has_the_headers_only(ask: Asker) -> None:
    answer = await ask("HEAD", "/nothing")

    assert (answer.status, answer.body) == (404, b"")


async def test_the_type_of_a_problem_leads_somewhere(ask: Asker) -> None:
    document = (await ask("GET", "/problems/spool_full")).json()

    assert document == {"code": "spool_full", "title": title_of("spool_full"), "status": 507, "retryable": True}


def every_engine_error() -> list[type[EngineError]]:
    return [
        item for item in vars(engine.errors).values()
        if isinstance(item, type) and issubclass(item, EngineError)
    ]  # fmt: skip


def test_every_code_of_the_engine_has_a_status_and_a_title() -> None:
    assert {error.code for error in every_engine_error()} <= TABLE.keys()
    assert engine.errors.TITLES.keys() <= TABLE.keys()
    assert all(title_of(code) and re.fullmatch("[a-z_]+", code) for code in TABLE)


def test_a_code_without_a_status_is_still_answered(caplog: pytest.LogCaptureFixture) -> None:
    problem = from_engine(EngineError("new", code="brand_new", retryable=True))

    assert (problem.status, problem.title, problem.code) == (503, "Brand new", "brand_new")
    assert "brand_new" in caplog.text


async def test_a_problem_in_a_form_is_json_too(ask: Asker) -> None:
    kind, body = form(("file", "x"), ("labels", '{"a": 1}'))

    document = (await ask("POST", "/v1/jobs", body=body, headers={"content-type": kind})).json()

    assert json.dumps(document["errors"]) == '[{"pointer": "/labels/a", "detail": "A string is needed."}]'
