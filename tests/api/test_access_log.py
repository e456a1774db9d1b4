"""The access log tells every request, and no secret, wherever a client puts it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access_log import AccessLog
from api.asgi import Composed
from engine.access import Grant, Identity
from tests.api.asking import CUT, Asker
from tests.api.fakes import FakeService

BOOTSTRAP = "the+bootstrap/key=of~these-tests"
KEY = f"bl_{'a1' * 6}_{'K' * 43}"
TOKEN = f"blt_{'b2' * 8}_{'T' * 43}"
SECRETS = (BOOTSTRAP, KEY, TOKEN)


class Logged:
    """An application with an access log that stays in memory."""

    def __init__(self) -> None:
        self.service = FakeService()
        self.raw: list[bytes] = []
        grant = Grant(scopes=("submit", "read"))
        self.service.gate.known[KEY] = Identity(key="a1a1a1", grants=(grant,))
        self.service.gate.known[TOKEN] = Identity(key="a1a1a1", grants=(grant,), token="b2b2b2")
        log = AccessLog(BOOTSTRAP, self.raw.append)
        self.ask = Asker(Composed(self.service, api_key=BOOTSTRAP, max_size=1000, access_log=log))

    @property
    def lines(self) -> list[Any]:
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in self.raw)
        return [json.loads(line) for line in self.raw]


@pytest.fixture
def logged() -> Logged:
    return Logged()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_a_submission_has_a_line(logged: Logged) -> None:
    answer = await logged.ask(
        "POST",
        "/v1/jobs?key=films/a.mp4&labels=a%3Db",
        body=b"x" * 100,
        headers={**bearer(KEY), "X-Request-ID": "mine"},
    )

    (line,) = logged.lines
    job = answer.json()["id"]
    assert line.pop("time").endswith("Z")
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "method": "POST",
        "path": "/v1/jobs",
        "query": ["key", "labels"],
        "status": 202,
        "bytes_received": 100,
        "bytes_sent": len(answer.body),
        "request_id": "mine",
        "remote": "127.0.0.1",
        "key": "a1a1a1",
        "jobs": [job],
    }


async def test_a_token_is_told_by_its_id_and_a_job_by_its_address(logged: Logged) -> None:
    job = logged.service.add()
    await logged.ask("GET", f"/v1/jobs/{job}/parts", headers=bearer(TOKEN))

    (line,) = logged.lines
    assert (line["key"], line["token"], line["jobs"]) == ("a1a1a1", "b2b2b2", [job])


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/v1/jobs", {}, 401),
        ("GET", "/v1/audit", bearer(KEY), 403),
        ("GET", "/nowhere", bearer(BOOTSTRAP), 404),
        ("PATCH", "/v1/jobs", bearer(BOOTSTRAP), 405),
        ("GET", "/livez", {}, 200),
    ],
)
async def test_refusals_have_a_line(logged: Logged, method: str, target: str, headers: Any, status: int) -> None:
    await logged.ask(method, target, headers=headers)

    assert [line["status"] for line in logged.lines] == [status]


async def test_who_leaves_has_a_line_with_what_had_come(logged: Logged) -> None:
    await logged.ask("PUT", "/v1/objects/media/k", body=[b"x" * 30, CUT], headers=bearer(KEY), chunked=True)

    (line,) = logged.lines
    assert (line["bytes_received"], line.get("jobs")) == (30, None)


async def test_all_jobs_of_a_form_are_named(logged: Logged) -> None:
    part = '--b\r\nContent-Disposition: form-data; name="file"; filename="{}"\r\n\r\nx\r\n'
    body = (part.format("a") + part.format("b") + "--b--\r\n").encode()
    answer = await logged.ask(
        "POST", "/v1/jobs", body=body, headers={**bearer(KEY), "Content-Type": "multipart/form-data; boundary=b"}
    )

    assert logged.lines[0]["jobs"] == [job["id"] for job in answer.json()["jobs"]]


def encoded(text: str, times: int) -> str:
    for _ in range(times):
        text = "".join(f"%{ord(letter):02x}" for letter in text) if times % 2 else quote(text, safe="")
    return text


PLACES = [
    ("GET", "/v1/jobs/{}", {}),
    ("PUT", "/v1/objects/media/a/{}/b", {}),
    ("GET", "/{}", {}),
    ("GET", "/v1/jobs?access_token={}", {}),
    ("GET", "/v1/jobs?{}", {}),
    ("GET", "/v1/jobs?q={}&q={}", {}),
    ("GET", "/v1/jobs?a{}b=1", {}),
    ("GET", "/v1/events?access_token={}", {}),
    ("DELETE", "/v1/tokens/{}", {}),
    ("GET", "/livez?token={}", {}),
    ("POST", "/v1/jobs", {"X-Request-ID": "{}"}),
    ("POST", "/v1/jobs", {"X-Request-ID": "a{}"}),
    ("POST", "/v1/jobs", {"traceparent": "{}"}),
    ("POST", "/v1/jobs", {"Cookie": "{}", "X-Forwarded-For": "{}", "Referer": "{}", "User-Agent": "{}"}),
    ("POST", "/v1/jobs", {"Authorization": "Bearer {}"}),
    ("POST", "/v1/jobs", {"Authorization": "Basic {}"}),
    ("{}", "/v1/jobs", {}),
]


@given(place=st.sampled_from(PLACES), secret=st.sampled_from(SECRETS), times=st.integers(0, 6))
def test_no_secret_can_appear(place: Any, secret: str, times: int) -> None:
    logged = Logged()
    method, target, headers = place
    shown = encoded(secret, times)
    given_headers = {name: value.replace("{}", secret if times < 2 else shown) for name, value in headers.items()}
    request = logged.ask(method.replace("{}", secret), target.replace("{}", shown), headers=given_headers)
    asyncio.run(request)  # type: ignore[arg-type]

    (line,) = logged.raw
    text = line.decode()
    for _ in range(8):
        assert secret not in text
        text = unquote(text)
