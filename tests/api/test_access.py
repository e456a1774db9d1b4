"""Keys and tokens at the guard: who gets in, to what, and that a refusal reads nothing of the body."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from api.access import NO_KEY, NOT_VALID, begins_upload, scope_of
from api.app import create_app
from api.asgi import Composed
from engine.access import Grant, Identity, Quotas
from engine.errors import LedgerUnavailable
from tests.api.asking import CUT, Answer, Asker, form
from tests.api.fakes import FakeAdmitted, FakeService

BOOTSTRAP = "the-operator-s-own-key"
SECRET = "s" * 43


def key_text(number: int = 1) -> str:
    return f"bl_{number:012x}_{SECRET}"


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


@pytest.fixture
def app(service: FakeService) -> Composed:
    return Composed(service, max_size=1_000_000, api_key=BOOTSTRAP)


@pytest.fixture
def ask(app: Composed) -> Asker:
    return Asker(app, {"host": "files.example"})


NONE = UUID(int=7)
"""The id of no job."""


class Keys:
    """Callers that the fake gate knows."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self._count = 0

    def add(self, *scopes: str, quotas: Quotas = Quotas(), **grant: Any) -> dict[str, str]:  # noqa: B008
        """The header of a new key."""
        self._count += 1
        text = key_text(self._count)
        granted = Grant(scopes=scopes or ("submit", "read", "control"), **grant)
        self.service.gate.known[text] = Identity(key=text[3:15], grants=(granted,), quotas=quotas)
        return bearer(text)


@pytest.fixture
def keys(service: FakeService) -> Keys:
    return Keys(service)


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    problem = answer.json()
    assert (answer.status, problem["code"], answer.received) == (status, code, 0), problem
    return dict(problem)


PUT = ("PUT", "/v1/objects/media/photos/a.jpg")


# -- who gets in


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer"},
        bearer("wrong"),
        bearer(key_text()),
        bearer(key_text()[:-1]),
        bearer(f"blt_{1:016x}_{SECRET}"),
        {"authorization": BOOTSTRAP},
        bearer(BOOTSTRAP[:-1]),
        bearer("bl_\xe9"),
    ],
)
async def test_without_a_valid_key_nothing_is_read(ask: Asker, headers: dict[str, str]) -> None:
    answer = await ask(*PUT, body=b"x" * 10, headers=headers)

    problem = refused(answer, 401, "unauthorized")
    given = headers.get("authorization", "").startswith("Bearer ")
    assert problem["detail"] == (NOT_VALID if given else NO_KEY)  # one answer for all that are wrong
    assert answer.headers["www-authenticate"].startswith('Bearer realm="bucketline"')


async def test_a_malformed_key_asks_nobody(ask: Asker, service: FakeService) -> None:
    await ask("GET", "/v1/jobs", headers=bearer("bl_short"))

    assert service.gate.asked == ["bl_short"]  # and the gate knows by its form: no call to Redis (tests/engine)


async def test_two_keys_are_one_too_many(ask: Asker, keys: Keys) -> None:
    mine = keys.add()["authorization"]

    answer = await ask(*PUT, body=b"x", headers=[("authorization", mine), ("authorization", f"Bearer {BOOTSTRAP}")])

    refused(answer, 400, "bad_request")


@pytest.mark.parametrize("name", ["anything", "access_token", "key"])
async def test_a_key_in_the_address_is_refused_even_a_valid_one(ask: Asker, keys: Keys, name: str) -> None:
    text = keys.add()["authorization"].split()[1]
    for secret in (text, BOOTSTRAP, text.replace("_", "%5F")):
        answer = await ask("PUT", f"{PUT[1]}?{name}={secret}", body=b"x", headers=bearer(text))
        refused(answer, 400, "key_in_query")


async def test_while_redis_is_away_the_bootstrap_key_works_and_others_hear_of_it(
    ask: Asker, keys: Keys, service: FakeService
) -> None:
    mine = keys.add()
    service.away = True

    problem = refused(await ask(*PUT, body=b"x", headers=mine), 503, "ledger_unavailable")
    assert problem["retryable"]
    assert (await ask("GET", "/v1/destinations", headers=bearer(BOOTSTRAP))).status == 200


async def test_who_lives_and_is_ready_is_told_to_everybody(ask: Asker) -> None:
    assert (await ask("GET", "/livez")).status == 200
    assert (await ask("GET", "/readyz")).status == 200
    assert (await ask("GET", "/")).status == 200


# -- scopes


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/jobs", "submit"),
        ("PUT", "/v1/objects/media/a/b", "submit"),
        ("PUT", "/v1/objects/media/a\nb", "submit"),
        ("POST", "/v1/tus", "submit"),
        ("PATCH", "/v1/tus/1", "submit"),
        ("HEAD", "/v1/tus/1", "submit"),
        ("DELETE", "/v1/tus/1", "submit"),
        ("GET", "/v1/jobs", "read"),
        ("HEAD", "/v1/jobs/1", "read"),
        ("GET", "/v1/jobs/1/events", "read"),
        ("GET", "/v1/events", "read"),
        ("GET", "/v1/destinations", "read"),
        ("POST", "/v1/jobs/1/cancel", "control"),
        ("POST", "/v1/jobs/1/retry", "control"),
        ("POST", "/v1/jobs/1/destinations", "submit"),
        ("DELETE", "/v1/jobs/1", "control"),
        ("POST", "/v1/jobs/1/webhooks/2/replay", "control"),
        ("POST", "/v1/destinations/media/check", "admin"),
        ("GET", "/v1/stats", "admin"),
        ("GET", "/metrics", "metrics"),
        ("GET", "/v1/audit", "admin"),
        ("GET", "/problems/invalid", ""),
        ("OPTIONS", "/v1/jobs", ""),
        ("DELETE", "/v1/something/new", "admin"),
        ("TRACE", "/v1/jobs", "admin"),
    ],
)
def test_every_address_needs_a_scope_and_what_is_new_needs_the_highest(method: str, path: str, scope: str) -> None:
    assert scope_of(method, path) == scope


@pytest.mark.parametrize(
    ("scope", "method", "target"),
    [
        ("read", "POST", "/v1/jobs"),
        ("read", "PUT", "/v1/objects/media/k"),
        ("submit", "GET", "/v1/jobs"),
        ("submit", "GET", f"/v1/jobs/{NONE}"),
        ("submit", "GET", f"/v1/jobs/{NONE}/events"),
        ("read", "POST", f"/v1/jobs/{NONE}/cancel"),
        ("read", "DELETE", f"/v1/jobs/{NONE}"),
        ("control", "POST", "/v1/destinations/media/check"),
        ("control", "GET", "/v1/stats"),
        ("control", "GET", "/v1/audit"),
    ],
)
async def test_a_scope_that_is_missing_is_named(ask: Asker, keys: Keys, scope: str, method: str, target: str) -> None:
    answer = await ask(method, target, body=b"x" if method in ("POST", "PUT") else None, headers=keys.add(scope))

    problem = refused(answer, 403, "forbidden")
    needed = scope_of(method, target)
    assert repr(needed) in problem["detail"]
    assert f'error="insufficient_scope", scope="{needed}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("POST", "/v1/objects/media/k", "PUT"),
        ("DELETE", "/v1/objects/media/a/b", "PUT"),
        ("PUT", "/v1/jobs", "GET, HEAD, POST, OPTIONS"),
    ],
)
async def test_a_slip_of_the_method_is_no_want_of_a_right(
    ask: Asker, keys: Keys, method: str, target: str, allow: str
) -> None:
    for key in (keys.add("submit"), bearer(BOOTSTRAP)):
        answer = await ask(method, target, body=b"x", headers=key)

        problem = refused(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allow
        assert problem["detail"] == f"This address takes {allow}."


async def test_admin_may_do_everything(ask: Asker, keys: Keys) -> None:
    admin = keys.add("admin")

    assert (await ask(*PUT, body=b"x", headers=admin)).status == 202
    assert (await ask("GET", "/v1/jobs", headers=admin)).status == 200
    assert (await ask("GET", "/v1/stats", headers=admin)).status == 200


# -- destinations and prefixes


@pytest.mark.parametrize(
    "target",
    [
        "/v1/objects/archive/photos/a.jpg",
        "/v1/objects/media/photos",
        "/v1/objects/media/photos-evil/a.jpg",
        "/v1/objects/media/Photos/a.jpg",
        "/v1/objects/media/photos%252Fa.jpg",
        "/v1/objects/media/%70hotos%E2%81%84a.jpg",
        "/v1/objects/media/phot%CC%81os/a.jpg",
        "/v1/objects/media/other/photos/a.jpg",
    ],
)
async def test_an_address_outside_is_refused_unread(ask: Asker, keys: Keys, target: str) -> None:
    narrow = keys.add(destinations=("media",), prefixes=("photos/",))

    problem = refused(await ask("PUT", target, body=b"x" * 10, headers=narrow), 403, "forbidden")
    assert problem["errors"][0]["pointer"] in ("/destinations", "/key")


@pytest.mark.parametrize("key", ["photos/../x", "photos/..", "photos/%2e%2e/x", "photos/a/../../x"])
async def test_a_key_that_climbs_is_refused_unread(ask: Asker, keys: Keys, key: str) -> None:
    answer = await ask("PUT", f"/v1/objects/media/{key}", body=b"x", headers=keys.add(prefixes=("photos/",)))

    refused(answer, 422, "invalid")


@pytest.mark.parametrize("target", ["/v1/objects/media/photos/a.jpg", "/v1/objects/media/%70hotos%2Fa.jpg"])
async def test_an_address_inside_is_taken_however_it_is_written(
    ask: Asker, keys: Keys, service: FakeService, target: str
) -> None:
    answer = await ask("PUT", target, body=b"x", headers=keys.add(destinations=("media",), prefixes=("photos/",)))

    assert (answer.status, answer.json()["key"]) == (202, "photos/a.jpg")


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("key=other/a", {}),
        ("key=photos-evil/a", {}),
        ("", {"bucketline-key": "other/a"}),
        ("key_template=other/{id}", {}),
        ("key_template={name}/photos", {}),
        ("", {"bucketline-key-template": "photos{id}/{name}"}),
        ("destinations=archive&key=photos/a", {}),
        ("destinations=media,archive&key=photos/a", {}),
        ("destinations=media&key=photos/a", {"bucketline-destinations": "archive"}),
    ],
)
async def test_options_that_lead_outside_are_refused_unread(
    ask: Asker, keys: Keys, query: str, headers: dict[str, str]
) -> None:
    narrow = keys.add(destinations=("media",), prefixes=("photos/",))
    answer = await ask(
        "POST", f"/v1/jobs?{query}", body=b"x" * 10, headers={**narrow, "content-type": "image/jpeg", **headers}
    )

    refused(answer, 403, "forbidden")


async def test_the_address_and_the_option_cannot_contradict_each_other(ask: Asker, keys: Keys) -> None:
    narrow = keys.add(prefixes=("photos/",))
    for query in ("key=other/a", "destinations=archive"):
        refused(await ask("PUT", f"{PUT[1]}?{query}", body=b"x", headers=narrow), 422, "invalid")


async def test_who_writes_to_one_folder_writes_there_by_default(ask: Asker, keys: Keys) -> None:
    narrow = keys.add(prefixes=("photos/",))

    raw = await ask("POST", "/v1/jobs?name=a.jpg", body=b"x", headers={**narrow, "content-type": "image/jpeg"})
    kind, body = form(("file", b"one", "b.jpg"))
    sent = await ask("POST", "/v1/jobs", body=body, headers={**narrow, "content-type": kind})

    assert raw.json()["key"] == "photos/1/a.jpg"
    assert sent.json()["jobs"][0]["key"] == "photos/1/b.jpg"


async def test_two_folders_are_a_choice_that_is_not_made_for_anybody(ask: Asker, keys: Keys) -> None:
    answer = await ask(
        "POST", "/v1/jobs", body=b"x", headers={**keys.add(prefixes=("a/", "b/")), "content-type": "image/jpeg"}
    )

    assert refused(answer, 403, "forbidden")["errors"][0]["pointer"] == "/key_template"


@pytest.mark.parametrize(
    ("name", "value"), [("key", "other/a"), ("key_template", "other/{name}"), ("destinations", "archive")]
)
@pytest.mark.parametrize("late", [False, True])
async def test_form_fields_that_lead_outside_leave_nothing(
    ask: Asker, keys: Keys, service: FakeService, name: str, value: str, late: bool
) -> None:
    fields: list[Any] = [(name, value), ("file", b"content", "a.jpg")]
    kind, body = form(*(reversed(fields) if late else fields))
    narrow = keys.add(destinations=("media",), prefixes=("photos/",))

    answer = await ask("POST", "/v1/jobs", body=body, headers={**narrow, "content-type": kind})

    assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    assert service.jobs_by_id == {}


async def test_a_file_of_the_server_needs_an_admin(ask: Asker, keys: Keys) -> None:
    document = b'{"source": {"path": "/srv/in/a"}}'
    for headers, status in ((keys.add(), 403), (keys.add("admin"), 202), (bearer(BOOTSTRAP), 202)):
        answer = await ask("POST", "/v1/jobs", body=document, headers={**headers, "content-type": "application/json"})
        assert answer.status == status, answer.json()


BOTH = ("submit", "read")


@pytest.mark.parametrize(
    ("scopes", "grant", "source", "pointer"),
    [
        (BOTH, {}, {"destination": "archive", "key": "a/b"}, None),
        (BOTH, {}, {"url": "https://files.example/a"}, None),
        (("submit",), {}, {"destination": "archive", "key": "a/b"}, "/source"),
        (("submit",), {}, {"url": "https://files.example/a"}, None),
        (BOTH, {"destinations": ("media",)}, {"destination": "media", "key": "a/b"}, None),
        (BOTH, {"destinations": ("media",)}, {"destination": "archive", "key": "a/b"}, "/source/destination"),
        (BOTH, {"prefixes": ("a/",)}, {"destination": "archive", "key": "a/b"}, None),
        (BOTH, {"prefixes": ("a/",)}, {"destination": "archive", "key": "ab/c"}, "/source/key"),
        (BOTH, {"max_size": 5}, {"destination": "media", "key": "a/b"}, "/source"),
        (BOTH, {"max_size": 5}, {"url": "https://files.example/a"}, "/source"),
    ],
)
async def test_a_source_is_read_only_where_the_key_may_write(
    ask: Asker, keys: Keys, scopes: tuple[str, ...], grant: dict[str, Any], source: dict[str, str], pointer: str | None
) -> None:
    narrow = keys.add(*scopes, **grant)
    headers = {**narrow, "content-type": "application/json"}
    document = json.dumps({"source": source, "destinations": ["media"]}).encode()

    answer = await ask("POST", "/v1/jobs", body=document, headers=headers)

    if pointer is None:
        assert answer.status == 202, answer.json()
    else:
        problem = answer.json()
        assert (answer.status, problem["code"], problem["errors"][0]["pointer"]) == (403, "forbidden", pointer)


async def test_the_largest_file_of_a_key(ask: Asker, keys: Keys, service: FakeService) -> None:
    small = keys.add(max_size=5)

    refused(await ask(*PUT, body=b"123456", headers=small), 413, "too_large")
    assert (await ask(*PUT, body=b"12345", headers=small)).status == 202
    cut = await ask(*PUT, body=[b"1234", b"56"], chunked=True, headers=small)
    assert (cut.status, len(service.jobs_by_id)) == (413, 1)
    kind, body = form(("file", b"123456", "a"))
    sent = await ask("POST", "/v1/jobs", body=body, headers={**small, "content-type": kind})
    assert (sent.status, len(service.jobs_by_id)) == (413, 1)


async def test_destinations_of_others_are_not_shown(ask: Asker, keys: Keys) -> None:
    narrow = keys.add(destinations=("media",))

    shown = await ask("GET", "/v1/destinations", headers=narrow)
    assert [one["name"] for one in shown.json()["items"]] == ["media"]
    assert (await ask("GET", "/v1/destinations/media", headers=narrow)).status == 200
    hidden = await ask("GET", "/v1/destinations/archive", headers=narrow)
    absent = await ask("GET", "/v1/destinations/nowhere", headers=narrow)
    assert (
        (hidden.status, hidden.json()["code"]) == (absent.status, absent.json()["code"]) == (404, "unknown_destination")
    )


# -- jobs of others


async def submit(ask: Asker, headers: dict[str, str]) -> str:
    answer = await ask(*PUT, body=b"x", headers=headers)
    assert answer.status == 202, answer.json()
    return str(answer.json()["id"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("HEAD", ""), ("GET", "/parts"), ("GET", "/events"), ("DELETE", ""), ("POST", "/cancel"),
     ("POST", "/pause"), ("POST", "/resume"), ("POST", "/retry")],
)  # fmt: skip
async def test_a_job_of_somebody_else_is_like_one_that_is_not_there(
    ask: Asker, keys: Keys, service: FakeService, method: str, path: str
) -> None:
    mine, other = keys.add(), keys.add()
    job = await submit(ask, mine)

    foreign = await ask(method, f"/v1/jobs/{job}{path}", headers=other)
    absent = await ask(method, f"/v1/jobs/{uuid4()}{path}", headers=other)

    assert foreign.status == absent.status == 404
    if method != "HEAD":
        same = ("type", "title", "status", "detail", "code", "retryable", "errors")
        assert [foreign.json()[name] for name in same] == [absent.json()[name] for name in same]
    assert service.jobs_by_id[job].state == "queued"


async def test_a_list_has_one_s_own_jobs_and_an_admin_sees_all(ask: Asker, keys: Keys) -> None:
    mine, other, admin = keys.add(), keys.add(), keys.add("admin")
    own = await submit(ask, mine)
    foreign = await submit(ask, other)

    async def listed(headers: dict[str, str], query: str = "") -> list[str]:
        answer = await ask("GET", f"/v1/jobs{query}", headers=headers)
        assert answer.status == 200, answer.json()
        return [job["id"] for job in answer.json()["items"]]

    assert await listed(mine) == [own]
    assert await listed(mine, f"?q={foreign}") == []
    assert await listed(other) == [foreign]
    assert await listed(admin) == await listed(bearer(BOOTSTRAP)) == [foreign, own]
    assert await listed(admin, "?owner=000000000001") == [own]
    assert await listed(mine, "?owner=000000000001") == [own]
    answer = await ask("GET", "/v1/jobs?owner=000000000002", headers=mine)
    assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    assert (await ask("GET", "/v1/jobs?owner=*", headers=admin)).status == 422


async def test_the_feed_of_all_jobs_tells_of_one_s_own(ask: Asker, keys: Keys, service: FakeService) -> None:
    mine, other = keys.add(), keys.add()
    async with ask.open("/v1/events", headers=mine) as exchange:
        await exchange.frames.get()  # retry
        foreign, own = await submit(ask, other), await submit(ask, mine)
        frame = await exchange.frames.get()

    assert frame is not None
    assert own.encode() in frame
    assert foreign.encode() not in frame


# -- quotas

QUOTAS = Quotas(requests_per_minute=10, bytes_per_day=1000, jobs=3)


async def test_what_is_left_is_told_with_every_answer(ask: Asker, keys: Keys, service: FakeService) -> None:
    service.gate.answer = FakeAdmitted(requests=4, bytes=300, jobs=1)

    answer = await ask(*PUT, body=b"x", headers=keys.add(quotas=QUOTAS))

    assert answer.headers["ratelimit-policy"] == (
        '"requests";q=10;w=60, "bytes";q=1000;qu="content-bytes";w=86400, "jobs";q=3;qu="concurrent-requests"'
    )
    assert answer.headers["ratelimit"] == '"requests";r=6;t=42, "bytes";r=700;t=86382, "jobs";r=2'


@pytest.mark.parametrize(("what", "wait"), [("requests", "42"), ("bytes", "86382"), ("jobs", "10")])
async def test_a_quota_that_is_used_up_is_said_before_the_body(
    ask: Asker, keys: Keys, service: FakeService, what: str, wait: str
) -> None:
    service.gate.answer = FakeAdmitted(what, 10, 1000, 3)

    answer = await ask(*PUT, body=b"x" * 10, headers=keys.add(quotas=QUOTAS))

    assert refused(answer, 429, "quota_exceeded")["retryable"]
    assert answer.headers["retry-after"] == wait
    assert '"requests";r=0' in answer.headers["ratelimit"]


async def test_a_file_that_no_day_has_room_for_is_too_large(ask: Asker, keys: Keys) -> None:
    refused(await ask(*PUT, body=b"x" * 1001, headers=keys.add(quotas=QUOTAS)), 413, "too_large")


async def test_an_unannounced_body_may_have_what_is_left(ask: Asker, keys: Keys, service: FakeService) -> None:
    service.gate.answer = FakeAdmitted(bytes=995)
    mine = keys.add(quotas=QUOTAS)

    fits = await ask(*PUT, body=[b"12", b"345"], chunked=True, headers=mine)
    larger = await ask(*PUT, body=[b"123", b"456"], chunked=True, headers=mine)

    assert (fits.status, larger.status) == (202, 413)
    await asyncio.sleep(0.01)  # it is given back behind the answer
    assert [used for _, _, used in service.gate.left] == [5, 0]


async def test_only_keys_with_quotas_are_counted(ask: Asker, keys: Keys, service: FakeService) -> None:
    service.gate.answer = FakeAdmitted("requests")

    assert (await ask(*PUT, body=b"x", headers=keys.add())).status == 202
    assert (await ask(*PUT, body=b"x", headers=bearer(BOOTSTRAP))).status == 202


@pytest.mark.parametrize(
    ("target", "body", "given_back"),
    [
        ("/v1/objects/media/ok", [b"12345"], False),
        ("/v1/objects/media/a/../b", [b"12345"], True),
        ("/v1/objects/media/cut", [b"123", CUT], True),
    ],
)
async def test_what_became_no_job_is_given_back(
    ask: Asker, keys: Keys, service: FakeService, target: str, body: list[Any], given_back: bool
) -> None:
    await ask("PUT", target, body=body, headers={**keys.add(quotas=QUOTAS), "content-length": "5"})

    await asyncio.sleep(0.01)  # it is given back behind the answer
    assert [(len(entries), charged) for entries, charged, _ in service.gate.left] == ([(1, 5)] if given_back else [])


async def test_an_unclear_end_stays_counted(ask: Asker, keys: Keys, service: FakeService) -> None:
    service.lost_at_accept = True

    assert (await ask(*PUT, body=b"x", headers=keys.add(quotas=QUOTAS))).status == 503
    await asyncio.sleep(0.01)
    assert service.gate.left == []


async def test_a_redis_that_is_away_for_a_moment_costs_no_upload(
    ask: Asker, keys: Keys, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.guard._LEAVE_PAUSES", (0.01, 0.01, 3600))
    mine = keys.add(quotas=QUOTAS)
    reach, calls = service._reach, []

    def away_twice() -> None:
        calls.append(service.gate.left)
        if len(calls) in (2, 3):  # the first one asks who that is
            raise LedgerUnavailable("away")
        reach()

    monkeypatch.setattr(service, "_reach", away_twice)
    await ask("PUT", "/v1/objects/media/a/../b", body=b"12345", headers=mine)
    async with asyncio.timeout(20):
        while not service.gate.left:  # noqa: ASYNC110 - what is waited for happens in a task of the guard's
            await asyncio.sleep(0.01)

    assert len(calls) == 4


async def test_who_leaves_while_the_job_is_made_gets_nothing_back(ask: Asker, keys: Keys, service: FakeService) -> None:
    service.go_on.clear()
    sending = asyncio.ensure_future(ask(*PUT, body=b"x", headers=keys.add(quotas=QUOTAS)))
    await service.accepting.wait()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.sleep(0.01)
    service.go_on.set()
    await service.accepted.wait()

    assert service.gate.left == []


# -- tokens


async def mint(ask: Asker, headers: dict[str, str], document: str = "{}", status: int = 201) -> dict[str, Any]:
    answer = await ask(
        "POST", "/v1/tokens", body=document.encode(), headers={**headers, "content-type": "application/json"}
    )
    assert answer.status == status, answer.json()
    return dict(answer.json())


async def test_a_token_is_shown_once_and_kept_by_nobody(ask: Asker, keys: Keys) -> None:
    answer = await ask(
        "POST", "/v1/tokens", headers={**keys.add(), "content-type": "application/json"},
        body=b'{"destinations": ["media"], "prefix": "u/7", "max_size": 9, "uploads": 2, "ttl_seconds": 60}',
    )  # fmt: skip

    made = answer.json()
    assert (answer.status, answer.headers["cache-control"]) == (201, "no-store")
    assert made["token"].startswith(f"blt_{made['id']}_")
    assert {name: made[name] for name in ("destinations", "prefix", "max_size", "uploads", "expires_at")} == {
        "destinations": ["media"], "prefix": "u/7/", "max_size": 9, "uploads": 2,
        "expires_at": "1970-01-01T00:01:00.000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ('{"ttl_seconds": 0}', "/ttl_seconds"), ('{"ttl_seconds": 86401}', "/ttl_seconds"),
        ('{"ttl_seconds": true}', "/ttl_seconds"), ('{"uploads": 0}', "/uploads"), ('{"uploads": 1.5}', "/uploads"),
        ('{"max_size": -1}', "/max_size"), ('{"prefix": "../x"}', "/prefix"), ('{"prefix": "/"}', "/prefix"),
        ('{"prefix": 7}', "/prefix"), ('{"destinations": []}', "/destinations"),
        ('{"destinations": ["nowhere"]}', "/destinations/0"), ('{"destinations": [7]}', "/destinations/0"),
        ('{"scope": "admin"}', "/scope"), ('{"job": ""}', "/job"), ("[]", ""),
        ('{"job": "01940c9e-0000-7000-8000-000000000001", "uploads": 1}', "/uploads"),
        ('{"webhook": 7}', "/webhook"), ('{"webhook": "ftp://hooks.example/"}', "/webhook"),
    ],
)  # fmt: skip
async def test_a_wish_that_makes_no_sense_is_pointed_at(ask: Asker, keys: Keys, document: str, pointer: str) -> None:
    problem = await mint(ask, keys.add(), document, status=422)

    assert problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ('{"destinations": ["archive"]}', "/destinations"),
        ('{"destinations": ["everywhere"]}', "/destinations"),
        ('{"prefix": "other"}', "/prefix"),
        ('{"prefix": "photos-evil"}', "/prefix"),
        ('{"max_size": 11}', "/max_size"),
    ],
)
async def test_a_key_hands_out_only_what_it_has(ask: Asker, keys: Keys, document: str, pointer: str) -> None:
    narrow = keys.add(destinations=("media",), prefixes=("photos/",), max_size=10)

    problem = await mint(ask, narrow, document, status=403)
    assert problem["errors"][0]["pointer"] == pointer
    await mint(ask, narrow, '{"destinations": ["media"], "prefix": "photos/7", "max_size": 10}')


async def test_a_token_needs_the_scope_of_what_it_is_for(ask: Asker, keys: Keys) -> None:
    reader, sender = keys.add("read"), keys.add("submit")

    await mint(ask, reader, "{}", status=403)
    await mint(ask, sender, f'{{"job": "{uuid4()}"}}', status=403)
    await mint(ask, keys.add(), f'{{"job": "{uuid4()}"}}', status=404)


async def test_a_token_for_a_foreign_job_is_not_made(ask: Asker, keys: Keys) -> None:
    mine, other, admin = keys.add(), keys.add(), keys.add("admin")
    job = await submit(ask, mine)

    await mint(ask, other, f'{{"job": "{job}"}}', status=404)
    made = await mint(ask, admin, f'{{"job": "{job}"}}')
    assert (await ask("GET", f"/v1/jobs/{job}", headers=bearer(made["token"]))).status == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/jobs"), ("GET", "/v1/events"), ("GET", "/v1/stats"), ("GET", "/v1/audit"),
        ("GET", "/v1/destinations"), ("POST", "/v1/tokens"), ("DELETE", "/v1/tokens/0000000000000000"),
        ("POST", "/v1/jobs/{job}/cancel"), ("POST", "/v1/jobs/{job}/retry"), ("DELETE", "/v1/jobs/{job}"),
        ("POST", "/v1/jobs/{job}/destinations"), ("GET", "/v1/jobs/{job}/webhooks"), ("GET", "/metrics"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("admin", [False, True])
async def test_tokens_do_nothing_else_whoever_made_them(
    ask: Asker, keys: Keys, method: str, target: str, admin: bool
) -> None:
    maker = keys.add(*(["admin"] if admin else []))
    job = await submit(ask, maker)
    for wish in ("{}", f'{{"job": "{job}"}}'):
        made = await mint(ask, maker, wish)
        answer = await ask(method, target.format(job=job), headers=bearer(made["token"]))
        refused(answer, 403, "forbidden")


async def test_a_token_for_looking_looks_at_one_job(ask: Asker, keys: Keys) -> None:
    mine = keys.add()
    job, another = await submit(ask, mine), await submit(ask, mine)
    made = bearer((await mint(ask, mine, f'{{"job": "{job}"}}'))["token"])

    for path in ("", "/parts"):
        assert (await ask("GET", f"/v1/jobs/{job}{path}", headers=made)).status == 200
        assert (await ask("GET", f"/v1/jobs/{another}{path}", headers=made)).status == 404
    assert (await ask("GET", f"/v1/jobs/{another}/events", headers=made)).status == 404
    refused(await ask(*PUT, body=b"x", headers=made), 403, "forbidden")


async def test_a_token_for_uploads_looks_at_what_it_sent(ask: Asker, keys: Keys) -> None:
    mine = keys.add()
    before = await submit(ask, mine)
    made = bearer((await mint(ask, mine))["token"])
    job = await submit(ask, made)

    assert (await ask("GET", f"/v1/jobs/{job}", headers=made)).status == 200
    assert (await ask("GET", f"/v1/jobs/{before}", headers=made)).status == 404
    assert (await ask("GET", f"/v1/jobs/{job}", headers=mine)).status == 200


async def test_a_token_works_on_all_doors_and_is_kept_to_its_folder(
    ask: Asker, keys: Keys, service: FakeService
) -> None:
    made = bearer((await mint(ask, keys.add(), '{"prefix": "u/7", "destinations": ["media"]}'))["token"])
    kind, body = form(("file", b"x", "a.jpg"))

    assert (await ask("PUT", "/v1/objects/media/u/7/a", body=b"x", headers=made)).status == 202
    raw = await ask("POST", "/v1/jobs?key=u/7/b", body=b"x", headers={**made, "content-type": "a/b"})
    sent = await ask("POST", "/v1/jobs", body=body, headers={**made, "content-type": kind})
    assert (raw.status, sent.status, sent.json()["jobs"][0]["key"]) == (202, 202, "u/7/1/a.jpg")
    for target in ("media/u/8/a", "media/u/7", "archive/u/7/a", "media/u/77/a"):
        refused(await ask("PUT", f"/v1/objects/{target}", body=b"x", headers=made), 403, "forbidden")


@pytest.mark.parametrize(
    ("name", "value"), [("webhook", "https://hooks.example/"), ("on_success", "thumbnail"), ("on_failure", "thumbnail")]
)
async def test_a_token_names_nobody_to_be_told(ask: Asker, keys: Keys, name: str, value: str) -> None:
    made = bearer((await mint(ask, keys.add()))["token"])

    answer = await ask("POST", f"/v1/jobs?{name}={value}", body=b"x", headers=made)

    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (403, f"/{name}")


async def test_a_token_carries_the_webhook_of_its_maker(ask: Asker, keys: Keys, service: FakeService) -> None:
    hook = "https://hooks.example/here"
    view = await mint(ask, keys.add(), f'{{"webhook": "{hook}"}}')
    made = bearer(view["token"])
    kind, body = form(("file", b"x", "a.jpg"), ("file", b"x", "b.jpg"))

    assert view["webhook"] == hook
    assert (await ask("POST", "/v1/jobs", body=b"x", headers={**made, "content-type": "a/b"})).status == 202
    assert (await ask("POST", f"/v1/jobs?webhook={hook}", body=b"x", headers=made)).status == 202
    assert (await ask(*PUT, body=b"x", headers=made)).status == 202
    assert (await ask("POST", "/v1/jobs", body=body, headers={**made, "content-type": kind})).status == 202
    assert [job.spec.webhook for job in service.jobs_by_id.values()] == [hook] * 5
    other = await ask("POST", "/v1/jobs?webhook=https://hooks.example/there", body=b"x", headers=made)
    assert (other.status, other.json()["errors"][0]["pointer"]) == (403, "/webhook")


async def test_uploads_at_the_same_time_never_exceed_the_token(ask: Asker, keys: Keys, service: FakeService) -> None:
    made = bearer((await mint(ask, keys.add(), '{"uploads": 2}'))["token"])
    service.go_on.clear()
    sending = [asyncio.ensure_future(ask(*PUT, body=b"x", headers=made)) for _ in range(6)]
    await service.accepting.wait()
    service.go_on.set()

    answers = await asyncio.gather(*sending)
    assert sorted(answer.status for answer in answers) == [202, 202, 403, 403, 403, 403]
    for answer in answers:
        if answer.status == 403:
            refused(answer, 403, "token_used_up")


async def test_every_file_of_a_form_is_an_upload(ask: Asker, keys: Keys, service: FakeService) -> None:
    made = bearer((await mint(ask, keys.add(), '{"uploads": 2}'))["token"])
    kind, three = form(*(("file", b"x", f"{number}.jpg") for number in range(3)))
    _, two = form(*(("file", b"x", f"{number}.jpg") for number in range(2)))

    many = await ask("POST", "/v1/jobs", body=three, headers={**made, "content-type": kind})
    assert (many.status, many.json()["code"], service.jobs_by_id) == (403, "token_used_up", {})
    await asyncio.sleep(0.01)  # they are given back behind the answer
    few = await ask("POST", "/v1/jobs", body=two, headers={**made, "content-type": kind})
    assert (few.status, len(few.json()["jobs"])) == (202, 2)
    refused(await ask(*PUT, body=b"x", headers=made), 403, "token_used_up")


async def test_an_upload_that_was_cut_may_be_sent_again(ask: Asker, keys: Keys) -> None:
    made = bearer((await mint(ask, keys.add(), '{"uploads": 1}'))["token"])

    await ask(*PUT, body=[b"123", CUT], headers={**made, "content-length": "5"})
    await asyncio.sleep(0.01)  # it is given back behind the answer
    assert (await ask(*PUT, body=b"12345", headers=made)).status == 202
    refused(await ask(*PUT, body=b"12345", headers=made), 403, "token_used_up")


async def test_a_token_can_be_ended(ask: Asker, keys: Keys) -> None:
    mine, other = keys.add(), keys.add()
    made = await mint(ask, mine)

    assert (await ask("DELETE", f"/v1/tokens/{made['id']}", headers=other)).status == 404
    assert (await ask("DELETE", f"/v1/tokens/{made['id']}", headers=mine)).status == 204
    refused(await ask(*PUT, body=b"x", headers=bearer(made["token"])), 401, "unauthorized")
    assert (await ask("DELETE", "/v1/tokens/x*", headers=mine)).status == 404


async def test_events_take_a_token_in_the_address_and_nobody_keeps_the_answer(
    ask: Asker, keys: Keys, service: FakeService
) -> None:
    mine = keys.add()
    job = await submit(ask, mine)
    token = (await mint(ask, mine, f'{{"job": "{job}"}}'))["token"]

    async with ask.open(f"/v1/jobs/{job}/events?access_token={token}&last_event_id=0-1") as exchange:
        assert await exchange.frames.get() == b"retry: 3000\n\n"
    assert exchange.answer.headers["cache-control"] == "private, no-store, no-transform"

    async with ask.open(f"/v1/jobs/{job}/events", headers=bearer(token)) as exchange:
        await exchange.frames.get()
    assert exchange.answer.headers["cache-control"] == "no-cache, no-transform"


async def test_a_token_in_the_address_is_for_events_only(ask: Asker, keys: Keys) -> None:
    mine = keys.add()
    job = await submit(ask, mine)
    token = (await mint(ask, mine, f'{{"job": "{job}"}}'))["token"]

    for target in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/parts", "/v1/events", "/v1/jobs", "/livez"):
        refused(await ask("GET", f"{target}?access_token={token}"), 400, "key_in_query")
    refused(await ask("PUT", f"{PUT[1]}?access_token={token}", body=b"x"), 400, "key_in_query")
    both = await ask("GET", f"/v1/jobs/{job}/events?access_token={token}", headers=mine)
    refused(both, 400, "bad_request")
    twice = await ask("GET", f"/v1/jobs/{job}/events?access_token={token}&access_token={token}")
    refused(twice, 400, "key_in_query")
    wrong = await ask("GET", f"/v1/jobs/{job}/events?access_token=blt_{7:016x}_{SECRET}")
    refused(wrong, 401, "unauthorized")


def test_an_upload_in_many_requests_is_one() -> None:
    assert begins_upload("POST", "/v1/tus")
    assert not begins_upload("PATCH", "/v1/tus/1")
    assert not begins_upload("POST", "/v1/tokens")


# -- where no key is needed


async def test_without_a_bootstrap_key_a_token_still_narrows(service: FakeService) -> None:
    """So that a page that is developed on one's own machine behaves as it will later."""
    ask = Asker(Composed(service))
    made = bearer((await mint(ask, {}, '{"prefix": "u/7", "uploads": 1}'))["token"])

    refused(await ask("PUT", "/v1/objects/media/x", body=b"x", headers=made), 403, "forbidden")
    await asyncio.sleep(0.01)  # it is given back behind the answer
    assert (await ask("PUT", "/v1/objects/media/u/7/x", body=b"x", headers=made)).status == 202
    assert (await ask(*PUT, body=b"x", headers=bearer("anything"))).status == 202
    assert (await ask(*PUT, body=b"x")).status == 202
    refused(await ask(*PUT, body=b"x", headers=bearer(f"blt_{9:016x}_{SECRET}")), 401, "unauthorized")
    refused(await ask(*PUT, body=b"x", headers={**made, "host": "evil.example"}), 403, "host_refused")
    refused(await ask(*PUT, body=b"x", headers={**made, "origin": "https://evil.example"}), 403, "origin_refused")


# -- the audit log


async def test_what_was_done_is_written_down_and_no_secret_with_it(
    ask: Asker, keys: Keys, service: FakeService
) -> None:
    mine, admin = keys.add(), keys.add("admin")
    text = mine["authorization"].split()[1]
    job = await submit(ask, {**mine, "x-request-id": "req-1", "x-forwarded-for": "192.0.2.7"})
    made = await mint(ask, mine)
    sent = await submit(ask, bearer(made["token"]))
    await ask("POST", f"/v1/jobs/{job}/cancel", headers=mine)
    await ask("POST", f"/v1/jobs/{job}/cancel", headers=mine)  # it is so already
    service.move(job, "cancelled")
    await ask("DELETE", f"/v1/jobs/{job}", headers=admin)
    await ask(*PUT, body=b"x", headers=keys.add("read"))

    answer = await ask("GET", "/v1/audit", headers=admin)
    lines = answer.json()["items"]
    assert [(one["action"], one["key"], one.get("token"), one.get("job")) for one in lines] == [
        ("forget", "000000000002", None, job),
        ("cancel", "000000000001", None, job),
        ("submit", "000000000001", made["id"], sent),
        ("mint_token", "000000000001", None, None),
        ("submit", "000000000001", None, job),
    ]
    assert {name: lines[-1][name] for name in ("request", "remote", "forwarded")} == {
        "request": "req-1", "remote": "127.0.0.1", "forwarded": "192.0.2.7"
    }  # fmt: skip
    for secret in (text, made["token"], SECRET):
        assert secret.encode() not in answer.body
    assert len((await ask("GET", f"/v1/audit?job={job}&limit=2", headers=admin)).json()["items"]) == 2
    assert (await ask("GET", "/v1/audit?limit=0", headers=admin)).status == 422
    assert (await ask("GET", "/v1/audit?since=1", headers=admin)).status == 422


async def test_a_stream_of_events_ends_with_its_key(service: FakeService) -> None:
    ask = Asker(Composed(service, api_key=BOOTSTRAP, ping_seconds=0.01))
    text = key_text()
    service.gate.known[text] = Identity(key="000000000001", grants=(Grant(scopes=("read",)),))
    async with ask.open("/v1/events", headers=bearer(text)) as exchange, asyncio.timeout(20):
        assert await exchange.frames.get() == b"retry: 3000\n\n"
        assert await exchange.frames.get() == b": ping\n\n"
        del service.gate.known[text]
        while await exchange.frames.get() is not None:
            pass


async def test_a_stream_of_events_outlives_a_redis_that_is_away(service: FakeService) -> None:
    ask = Asker(Composed(service, api_key=BOOTSTRAP, ping_seconds=0.01))
    text = key_text()
    service.gate.known[text] = Identity(key="000000000001", grants=(Grant(scopes=("read",)),))
    async with ask.open("/v1/events", headers=bearer(text)) as exchange, asyncio.timeout(20):
        await exchange.frames.get()
        service.away = True
        for _ in range(5):
            assert await exchange.frames.get() == b": ping\n\n"


# -- adding destinations


async def test_destinations_are_added_only_where_a_key_may_write(ask: Asker, keys: Keys, service: FakeService) -> None:
    headers = keys.add(destinations=("media",), prefixes=("photos/",))
    owner = headers["authorization"][10:22]
    mine, elsewhere = service.add(key="photos/a"), service.add(key="films/a")
    for one in (mine, elsewhere):
        service.jobs_by_id[one].spec = msgspec.structs.replace(service.jobs_by_id[one].spec, owner=owner)
    headers["content-type"] = "application/json"

    for job, name in ((mine, "archive"), (mine, "everywhere"), (elsewhere, "media")):
        body = json.dumps({"destinations": [name]}).encode()
        answer = await ask("POST", f"/v1/jobs/{job}/destinations", body=body, headers=headers)
        problem = answer.json()
        assert (answer.status, problem["code"], problem["errors"][0]["pointer"]) == (403, "forbidden", "/destinations")
    assert service.jobs_by_id[mine].spec.destinations == ["media"]


async def test_neither_a_token_nor_somebody_else_adds_destinations(
    ask: Asker, keys: Keys, service: FakeService
) -> None:
    job, body = service.add(), b'{"destinations": ["archive"]}'
    stranger = keys.add() | {"content-type": "application/json"}
    assert (await ask("POST", f"/v1/jobs/{job}/destinations", body=body, headers=stranger)).status == 404
    minted = await ask("POST", "/v1/tokens", headers=stranger)
    token = bearer(minted.json()["token"]) | {"content-type": "application/json"}

    refused(await ask("POST", f"/v1/jobs/{job}/destinations", body=body, headers=token), 403, "forbidden")


# -- other ways to write an address


TEMPLATES = create_app(FakeService()).templates
FILLED = sorted({re.sub(r"\{[^}]+\}", str(NONE), one) for one in TEMPLATES})


@pytest.mark.parametrize("path", [one for one in FILLED if one != "/"])
@pytest.mark.parametrize("form", ["/{}", "//{}", "/%2F{}", "/.{}", "/%2E%2E{}", "/x/..{}", "{}/.", "{};x"])
async def test_an_address_written_otherwise_leads_nowhere_or_to_the_same(
    app: Composed, keys: Keys, path: str, form: str
) -> None:
    """Falcon takes //v1/audit for /v1/audit; the rules of scopes must not see another address than Falcon does."""
    ask = Asker(app, {"host": "files.example"})
    little = keys.add("metrics")
    for method in ("GET", "POST", "PUT", "DELETE"):
        usual = await ask(method, path, headers=little)
        answer = await ask(method, form.format(path), headers=little)

        assert answer.status in (usual.status, 401, 403, 404, 405), (method, form)


async def test_a_token_sees_no_more_by_more_slashes(app: Composed, service: FakeService) -> None:
    ask = Asker(app, {"host": "files.example"})
    token = f"blt_{1:016x}_{SECRET}"
    grant = Grant(scopes=("submit",), destinations=("media",), prefixes=("photos/",))
    service.gate.known[token] = Identity(key="0" * 12, token="1" * 16, grants=(grant,))
    for path in ("/v1/jobs", "/v1/audit", "/v1/stats", "/metrics", "/v1/destinations", "/v1/events"):
        assert (await ask("GET", "/" + path, headers=bearer(token))).status in (403, 404), path


async def test_what_is_nowhere_reads_no_body(ask: Asker) -> None:
    refused(await ask("POST", "//v1/jobs", body=b"x" * 10, headers=bearer(BOOTSTRAP)), 404, "no_resource")


async def test_why_one_was_refused_may_be_read_without_a_key(ask: Asker) -> None:
    problem = (await ask("GET", "/v1/jobs")).json()

    page = await ask("GET", problem["type"])

    assert (page.status, page.json()["code"]) == (200, "unauthorized")
