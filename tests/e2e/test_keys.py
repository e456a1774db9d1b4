"""Keys and tokens on real processes: who may do what, what is refused unread, and what is counted."""

from __future__ import annotations

import io
import re
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from bucketline.client import Client, Refused
from tests.e2e.stack import PATIENCE, Stack
from tests.servers import eventually

PLUGINS = """
default = "media"
[destinations.media]
backend = "local"
root = "objects"
[destinations.archive]
backend = "local"
root = "archive"
[routes.both]
mirror = ["media", "archive"]
"""
BOOTSTRAP = "bootstrap-key-of-this-test"
BODY = b"x" * 100


class Keys:
    """A stack with keys, and clients that have them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.secrets = [BOOTSTRAP]
        self._clients: list[httpx.Client] = []
        self.admin = self.client(BOOTSTRAP)

    def add(self, *words: object) -> tuple[str, httpx.Client]:
        """A new key, as the command makes it: its id, and a client."""
        made = self.stack.run(f"keys-{len(self.secrets)}", "keys", "add", "test", *words)
        text = made.match(r"(bl_[0-9a-f]{12}_[0-9A-Za-z]{43})")
        assert made.wait() == 0
        made.log.write_text("")  # the only place where the text may stand
        self.secrets.append(text)
        return text[3:15], self.client(text)

    def revoke(self, key: str) -> None:
        assert self.stack.run("revoke", "keys", "revoke", key).wait() == 0

    def client(self, text: str) -> httpx.Client:
        client = httpx.Client(
            base_url=self.stack.talk.url,
            headers={"authorization": f"Bearer {text}"},
            trust_env=False,
            timeout=PATIENCE,
        )
        self._clients.append(client)
        return client

    def token(self, client: httpx.Client, **wish: Any) -> tuple[str, httpx.Client]:
        answer = client.post("/v1/tokens", json=wish)
        assert answer.status_code == 201, answer.text
        self.secrets.append(answer.json()["token"])
        return answer.json()["token"], self.client(answer.json()["token"])

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with Stack(PLUGINS, BUCKETLINE_API_KEY=BOOTSTRAP) as stack:
        found = Keys(stack.start())
        yield found
        found.close()


def put(client: httpx.Client, target: str = "media/a", content: Any = BODY) -> httpx.Response:
    return client.put(f"/v1/objects/{target}", content=content)


def submitted(client: httpx.Client, target: str = "media/a") -> str:
    answer = put(client, target)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def unread(keys: Keys, target: str, authorization: str) -> tuple[int, str]:
    """The answer to the headers of an upload alone: `100 Continue` would be the first sign of a body being wanted."""
    url = httpx.URL(keys.stack.talk.url)
    head = f"PUT /v1/objects/{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n"
    if authorization:
        head += f"Authorization: Bearer {authorization}\r\n"
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}\r\n".encode())
        said = b""
        while piece := connection.recv(65_536):
            said += piece
            if b"100 Continue" in said:
                break
    match = re.match(rb"HTTP/1.1 (\d+).*?\"code\":\"(\w+)\"", said, re.DOTALL)
    assert match is not None, said
    return int(match[1]), match[2].decode()


def test_a_key_does_its_work_and_nobody_else_sees_it(keys: Keys) -> None:
    (mine, client), (_, other) = keys.add(), keys.add()
    job = submitted(client, "both/shared")
    eventually(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "succeeded", "the job succeeds", PATIENCE)

    for method, path in (
        ("GET", ""), ("GET", "/parts"), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/pause"),
        ("POST", "/resume"), ("POST", "/retry"), ("DELETE", ""),
    ):  # fmt: skip
        foreign = other.request(method, f"/v1/jobs/{job}{path}")
        assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")
    assert other.get("/v1/jobs").json()["items"] == []
    assert [one["id"] for one in client.get("/v1/jobs").json()["items"]] == [job]
    assert [one["id"] for one in client.get("/v1/jobs?state=succeeded").json()["items"]] == [job]
    assert job in [one["id"] for one in keys.admin.get(f"/v1/jobs?owner={mine}").json()["items"]]
    assert client.delete(f"/v1/jobs/{job}").status_code == 204


def test_the_feed_tells_of_one_s_own_jobs_only(keys: Keys) -> None:
    (_, client), (_, other) = keys.add(), keys.add()
    with client.stream("GET", "/v1/events") as feed:
        lines = feed.iter_lines()
        next(lines)
        foreign, job = submitted(other, "media/f"), submitted(client, "media/o")
        text = next(line for line in lines if line.startswith("data:"))
    assert job in text
    assert foreign not in text


def test_what_is_refused_is_refused_unread(keys: Keys) -> None:
    _, narrow = keys.add("--to", "media", "--prefix", "photos", "--max-size", "5")
    _, reader = keys.add("--scope", "read")
    narrow_text, reader_text = keys.secrets[-2:]

    assert unread(keys, "media/a", "") == (401, "unauthorized")
    assert unread(keys, "media/a", "wrong") == (401, "unauthorized")
    assert unread(keys, "media/a", narrow_text[:-1] + "0") == (401, "unauthorized")
    assert unread(keys, "media/a", reader_text) == (403, "forbidden")
    assert unread(keys, "media/photos/a", narrow_text) == (413, "too_large")
    _, fitting = keys.add("--to", "media", "--prefix", "photos")
    text = keys.secrets[-1]
    for target in (
        "media/other/a", "media/photos-evil/a", "media/photos", "archive/photos/a", "both/photos/a",
        "media/photos%252f..%252fa", "media/%EF%BD%90hotos/a", "media/photos%E2%88%95a",
    ):  # fmt: skip
        assert unread(keys, target, text) == (403, "forbidden"), target
    for target in ("media/photos/../a", "media/photos/%2e%2e/a", "media/photos%2f..%2fa", "media/photos/%00"):
        assert unread(keys, target, text) == (422, "invalid"), target
    for query in ("key=other/a", "key_template=other/{id}", "key_template={sha256}", "key=photos/a&destinations=both"):
        answer = fitting.post(f"/v1/jobs?{query}", content=BODY, headers={"content-type": "a/b"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), query
    inside = fitting.post("/v1/jobs?key_template=photos/{sha256}", content=BODY, headers={"content-type": "a/b"})
    assert (inside.status_code, inside.json()["key"][:7]) == (202, "photos/")
    climbing = fitting.post("/v1/jobs?key_template=photos/{label.x}/a&labels=x%3D..%2F..", content=BODY)
    assert climbing.status_code == 422
    late = fitting.post("/v1/jobs", files=[("file", ("a", BODY)), ("key", (None, "other/a"))])
    assert (late.status_code, late.json()["code"]) == (403, "forbidden")
    assert [one["key"][:7] for one in fitting.get("/v1/jobs").json()["items"]] == ["photos/"]
    narrow.close()
    reader.close()


def test_a_revoked_and_an_expired_key_are_out(keys: Keys) -> None:
    key, client = keys.add()
    job = submitted(client)
    keys.revoke(key)

    eventually(lambda: client.get("/v1/jobs").status_code == 401, "the key is out", 20)
    assert put(client).status_code == 401
    assert client.get(f"/v1/jobs/{job}").status_code == 401
    assert keys.admin.get(f"/v1/jobs/{job}").status_code == 200
    _, dying = keys.add("--expires", "1m")
    assert put(dying).status_code == 202
    with keys.stack.valkey.client() as redis:
        redis.hset(f"bucketline:key:{keys.secrets[-1][3:15]}", "expires", int(time.time() * 1000))
    eventually(lambda: dying.get("/v1/jobs").status_code == 401, "the key is out", 20)


def test_a_token_is_good_for_so_many_uploads_whoever_hurries(keys: Keys) -> None:
    _, client = keys.add()
    _, page = keys.token(client, uploads=5, prefix="u/7", destinations=["media"])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: put(page, f"media/u/7/{number}"), range(24)))

    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [403] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 403} == {"token_used_up"}
    assert len(client.get("/v1/jobs").json()["items"]) == 5
    assert put(page, "media/u/8/a").json()["code"] == "token_used_up"


def test_a_page_watches_what_it_sent_by_an_address_alone(keys: Keys) -> None:
    _, client = keys.add()
    text, page = keys.token(client, prefix="u/7")
    job, before = submitted(page, "media/u/7/film"), submitted(client, "media/u/7/other")
    with httpx.Client(base_url=keys.stack.talk.url, trust_env=False, timeout=PATIENCE) as nobody:
        with nobody.stream("GET", f"/v1/jobs/{job}/events?access_token={text}") as events:
            assert events.headers["cache-control"] == "private, no-store, no-transform"
            assert '"succeeded"' in "".join(events.iter_text())
        assert nobody.get(f"/v1/jobs/{before}/events?access_token={text}").status_code == 404
        assert nobody.get(f"/v1/jobs/{job}?access_token={text}").status_code == 400
    looking, looker = keys.token(client, job=before)
    assert looker.get(f"/v1/jobs/{before}/parts").status_code == 200
    assert looker.get(f"/v1/jobs/{job}").status_code == 404
    assert put(looker).status_code == 403
    assert client.delete(f"/v1/tokens/{looking[4:20]}").status_code == 204
    assert looker.get(f"/v1/jobs/{before}").status_code == 401


TUS = {"tus-resumable": "1.0.0"}
CHUNK = {**TUS, "content-type": "application/offset+octet-stream"}


def begun(client: httpx.Client, length: int | None, **metadata: str) -> httpx.Response:
    """The answer to the creation of a tus upload."""
    texts = ",".join(f"{name} {b64encode(text.encode()).decode()}" for name, text in metadata.items())
    size = {"upload-defer-length": "1"} if length is None else {"upload-length": str(length)}
    return client.post("/v1/tus", headers={**TUS, **size, "upload-metadata": texts})


def chunk(client: httpx.Client, place: str, offset: int, content: bytes) -> httpx.Response:
    return client.patch(place, headers={**CHUNK, "upload-offset": str(offset)}, content=content)


def test_an_upload_in_chunks_belongs_to_its_key(keys: Keys) -> None:
    (mine, client), (_, other) = keys.add(), keys.add()
    created = begun(client, len(BODY), destinations="media", key="tus/a")
    place, job = created.headers["location"], created.headers["bucketline-job"]

    for method in ("HEAD", "PATCH", "DELETE"):
        foreign = other.request(method, place, headers={**CHUNK, "upload-offset": "0"}, content=b"")
        assert foreign.status_code == 404, method
    assert chunk(client, place, 0, BODY).status_code == 204

    eventually(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "succeeded", "the job succeeds", PATIENCE)
    assert [one["id"] for one in keys.admin.get(f"/v1/jobs?owner={mine}").json()["items"]] == [job]
    assert other.get(f"/v1/jobs/{job}").status_code == 404


def test_a_page_goes_on_with_its_upload_when_its_token_has_ended(keys: Keys) -> None:
    _, client = keys.add("--to", "media", "--bytes-per-day", 1000)
    text, page = keys.token(client, uploads=1, prefix="u/7", max_size=150)
    for length, wish in ((151, {}), (100, {"key": "u/8/a"}), (100, {"destinations": "archive"}), (None, {})):
        refused = begun(page, length, **wish)
        assert (refused.status_code, "location" in refused.headers) == (413 if length == 151 else 403, False), wish
    created = begun(page, len(BODY), name="a.bin")
    place, job = created.headers["location"], created.headers["bucketline-job"]
    assert begun(page, 1).json()["code"] == "token_used_up"
    assert chunk(page, place, 0, BODY[:40]).status_code == 204
    client.delete(f"/v1/tokens/{text[4:20]}")

    _, again = keys.token(client, uploads=1, prefix="u/7")
    _, elsewhere = keys.token(client, prefix="u/8")
    assert elsewhere.head(place, headers=TUS).status_code == 404
    assert again.head(place, headers=TUS).headers["upload-offset"] == "40"
    assert chunk(again, place, 40, BODY[40:]).status_code == 204
    done = client.get(f"/v1/jobs/{job}").json()
    assert done["key"].startswith("u/7/")
    assert begun(client, 901).json()["code"] == "quota_exceeded"
    assert begun(client, 900).status_code == 201


def test_parts_of_others_cannot_be_joined(keys: Keys) -> None:
    (_, client), (_, other) = keys.add(), keys.add()
    _, page = keys.token(client, uploads=2, prefix="u/7")
    partial = {**CHUNK, "upload-length": "3", "upload-concat": "partial"}
    place = page.post("/v1/tus", headers=partial, content=b"abc").headers["location"]

    for who, status in ((other, 422), (page, 201)):
        answer = who.post("/v1/tus", headers={**TUS, "upload-concat": f"final;{place} {place}"})
        assert (answer.status_code, "location" in answer.headers) == (status, status == 201), answer.text
    job = client.get(f"/v1/jobs/{answer.headers['bucketline-job']}").json()
    assert (job["key"][:4], job["size"]) == ("u/7/", 6)
    assert page.post("/v1/tus", headers=partial, content=b"abc").json()["code"] == "token_used_up"


def test_the_client_makes_tokens(keys: Keys) -> None:
    keys.add()
    with Client(keys.stack.talk.url, keys.secrets[-1]) as view:
        token = view.token(destinations=["media"], prefix="u/9", uploads=1, ttl_seconds=60)
        keys.secrets.append(token.token)
        assert token.token not in repr(token)
        with Client(keys.stack.talk.url, token.token) as page:
            job = page.submit(io.BytesIO(BODY), name="film")
            assert page.wait(job.id).key == f"u/9/{job.id}/film"
            looking = view.token(job=job.id)
            keys.secrets.append(looking.token)
            view.end_token(token.id)
            with pytest.raises(Refused) as refused:
                page.job(job.id)
            assert refused.value.status == 401


def test_quotas_are_told_counted_and_given_back(keys: Keys) -> None:
    _, client = keys.add("--jobs", 1, "--bytes-per-day", 1000)
    first = put(client, "media/q/1")
    assert '"bytes";r=900' in first.headers["ratelimit"]
    assert '"jobs";q=1' in first.headers["ratelimit-policy"]
    eventually(lambda: client.get(f"/v1/jobs/{first.json()['id']}").json()["state"] == "succeeded", "done", PATIENCE)

    refused = put(client, "media/a/%2e%2e/b")
    assert refused.status_code == 422
    eventually(lambda: '"bytes";r=900' in _rate(client), "what became no job is given back", PATIENCE)
    eventually(lambda: put(client, "media/q/2").status_code == 202, "its place is given back, too", PATIENCE)
    eventually(lambda: '"bytes";r=800' in _rate(client), "what became a job counts", PATIENCE)
    eventually(lambda: put(client, "media/q/9", iter([BODY] * 3)).status_code == 202, "a job has ended", PATIENCE)
    assert put(client, "media/q/8", b"x" * 1001).status_code == 413
    eventually(lambda: '"bytes";r=500' in _rate(client), "the unannounced bytes are counted", PATIENCE)


def _rate(client: httpx.Client) -> str:
    """What is left, from an answer that uses nothing up."""
    return put(client, "media/a/%2e%2e/b", content=b"").headers.get("ratelimit", "")


def test_requests_above_the_quota_wait(keys: Keys) -> None:
    _, client = keys.add("--requests-per-minute", 3)
    answers = [client.get("/v1/jobs") for _ in range(8)]

    limited = [answer for answer in answers if answer.status_code == 429]
    assert 2 <= len(limited) <= 5  # a minute may begin amid them
    for answer in limited:
        assert answer.json()["code"] == "quota_exceeded"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert '"requests";r=0' in answer.headers["ratelimit"]


def test_what_was_done_is_in_the_log_and_no_secret_is_anywhere(keys: Keys) -> None:
    mine, client = keys.add()
    job = submitted(client)
    log = keys.admin.get(f"/v1/audit?job={job}").json()["items"]
    assert [(one["action"], one["key"], one["remote"]) for one in log] == [("submit", mine, "127.0.0.1")]
    assert client.get("/v1/audit").status_code == 403
    shown = keys.stack.run("audit", "audit", "--json", "--limit", 1000)
    assert shown.wait() == 0
    assert f'"made":"{mine}"' in shown.said()

    files = [path for path in keys.stack.directory.rglob("*") if path.is_file()]
    files += [path for path in keys.stack.valkey.directory.rglob("*") if path.is_file()]
    assert any(path.suffix == ".jsonl" for path in files)
    for path in files:
        content = path.read_bytes()
        for secret in keys.secrets:
            assert secret.rpartition("_")[2].encode() not in content, path


def test_while_redis_is_away_the_bootstrap_key_works(keys: Keys) -> None:
    """The last one: it ends the Redis of all."""
    _, client = keys.add()
    keys.stack.valkey.kill()

    away = client.get("/v1/destinations")
    assert (away.status_code, away.json()["code"]) == (503, "ledger_unavailable")
    assert "retry-after" in away.headers
    assert keys.admin.get("/v1/destinations").status_code == 200
    keys.stack.valkey.start()
    eventually(lambda: client.get("/v1/destinations").status_code == 200, "the key is known again", PATIENCE)


def test_prometheus_has_a_key_that_can_do_nothing_else(keys: Keys) -> None:
    _, prometheus = keys.add("--scope", "metrics")
    _, reader = keys.add("--scope", "read")

    assert prometheus.get("/metrics").status_code == keys.admin.get("/metrics").status_code == 200
    assert reader.get("/metrics").status_code == 403
    assert httpx.get(f"{keys.stack.talk.url}/metrics", trust_env=False).status_code == 401
    assert {prometheus.get(path).status_code for path in ("/v1/stats", "/v1/jobs", "/v1/destinations")} == {403}
