"""Webhooks on real processes: every end of a job is told, at least once, with one id, and to nobody else."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests import documents
from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually, needs

OLD = "whsec_" + "b2xk" * 8
NEW = "whsec_" + "bmV3" * 8
Answer = Callable[[BaseHTTPRequestHandler], None]


def answers(status: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


def cuts(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


class Receiver:
    """Takes what is posted, and answers as `script` says, then with 204."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.script: list[Answer] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                (receiver.script.pop(0) if receiver.script else answers(204))(self)

            def do_GET(self) -> None:
                raise AssertionError("a redirect was followed")

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def ids(self) -> set[str]:
        return {headers["webhook-id"] for headers, _ in self.got}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def stack(make_stack: MakeStack, provider: Provider, receiver: Receiver) -> Stack:
    tables = 'default = "s3"\n' + provider.table("s3") + '[webhooks]\nsecret = ["${HOOK_NEW}", "${HOOK_OLD}"]\n'
    return make_stack(
        tables, HOOK_NEW=NEW, HOOK_OLD=OLD, BUCKETLINE_WEBHOOK_ALLOW="127.0.0.1", BUCKETLINE_WEBHOOK_TIMEOUT="1",
        BUCKETLINE_WEBHOOK_PORTS=str(receiver.server.server_port), BUCKETLINE_WEBHOOK_WAITS="0.1,0.1,0.1,0.1",
    ).start(workers=1)  # fmt: skip


def deliveries(stack: Stack, job: str) -> list[dict[str, Any]]:
    return list(stack.talk.http.get(f"/v1/jobs/{job}/webhooks").json()["items"])


def settled(stack: Stack, job: str) -> dict[str, Any]:
    """The job's only delivery, once it is over."""
    eventually(lambda: [one["state"] != "pending" for one in deliveries(stack, job)] == [True], "it is told", 60)
    return deliveries(stack, job)[0]


def test_the_documented_receivers_take_it(stack: Stack, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(importlib.util.find_spec("django") is not None, "django")
    settled(stack, stack.talk.submit(b"abc", webhook=receiver.url, key="a")["id"])
    headers, body = receiver.got[0]
    monkeypatch.setenv("WEBHOOK_SECRET", NEW)
    forged = body.replace(b"succeeded", b"cancelled")

    names: dict[str, Any] = {}
    exec(documents.block("docs/webhooks.md", "run: plain"), names)
    assert names["is_ours"](headers, body, NEW) and names["is_ours"](headers, body, OLD)
    assert not names["is_ours"](headers, forged, NEW) and not names["is_ours"](headers, body, "whsec_" + "AAAA" * 8)

    from django.conf import settings
    from django.test import RequestFactory

    if not settings.configured:
        settings.configure()
    exec(documents.block("docs/webhooks.md", "run: django"), names)
    posts = [
        RequestFactory().post("/", one, content_type="application/json", headers=headers) for one in (body, forged)
    ]
    assert [names["ended"](post).status_code for post in posts] == [204, 401]


def test_an_end_is_told_and_signed_with_both_secrets(stack: Stack, receiver: Receiver) -> None:
    job = stack.talk.submit(b"abc", webhook=receiver.url, key="a")["id"]
    found = settled(stack, job)
    headers, body = receiver.got[0]
    assert Webhook(OLD).verify(body, headers) == Webhook(NEW).verify(body, headers) == json.loads(body)
    told = json.loads(body)
    assert (told["type"], told["data"]["id"], told["data"]["state"]) == ("job.succeeded", job, "succeeded")
    assert told["data"] == stack.talk.job(job)
    assert headers["webhook-id"] == found["id"] == f"{job}.1.succeeded"
    assert (found["state"], found["status"], len(found["attempts"])) == ("delivered", 204, 1)
    assert len(receiver.got) == 1
    again = stack.talk.http.post(f"/v1/jobs/{job}/webhooks/{found['id']}/replay")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    eventually(lambda: len(receiver.got) == 2, "it is told again", 60)
    assert receiver.ids() == {found["id"]}
    assert stack.talk.http.post(f"/v1/jobs/{job}/webhooks/other/replay").status_code == 404


def test_what_fails_is_tried_again_with_the_same_id(stack: Stack, receiver: Receiver) -> None:
    receiver.script = [
        answers(500), cuts, answers(302, location=receiver.url), lambda handler: time.sleep(1.6),
    ]  # fmt: skip
    job = stack.talk.submit(b"abc", webhook=receiver.url, key="a")["id"]
    found = settled(stack, job)
    assert found["state"] == "delivered"
    assert [one["status"] for one in found["attempts"]] == [500, None, 302, None, 204]
    assert receiver.ids() == {f"{job}.1.succeeded"}


def test_gone_is_gone_and_the_budget_ends(stack: Stack, receiver: Receiver) -> None:
    receiver.script = [answers(410)]
    found = settled(stack, stack.talk.submit(b"abc", webhook=receiver.url, key="a")["id"])
    assert (found["state"], found["status"], found["next_attempt_at"]) == ("disabled", 410, None)
    receiver.script = [answers(500)] * 5
    found = settled(stack, stack.talk.submit(b"abc", webhook=receiver.url, key="b")["id"])
    assert (found["state"], len(found["attempts"])) == ("failed", 5)


def test_a_receiver_may_ask_for_time(stack: Stack, receiver: Receiver) -> None:
    receiver.script = [answers(503, retry_after="2")]
    found = settled(stack, stack.talk.submit(b"abc", webhook=receiver.url, key="a")["id"])
    first, second = (datetime.fromisoformat(one["at"]) for one in found["attempts"])
    assert second - first >= timedelta(seconds=2)


def test_a_worker_that_dies_amid_a_delivery(stack: Stack, receiver: Receiver) -> None:
    dead = threading.Event()
    receiver.script = [lambda handler: cuts(handler) if dead.wait(60) else None]
    job = stack.talk.submit(b"abc", webhook=receiver.url, key="a")["id"]
    eventually(lambda: len(receiver.got) == 1, "it is being told", 60)
    stack.processes[0].kill()
    dead.set()
    assert deliveries(stack, job)[0]["state"] == "pending"
    stack.worker()
    assert settled(stack, job)["state"] == "delivered"
    assert receiver.ids() == {f"{job}.1.succeeded"}


def test_every_kind_of_end(stack: Stack, receiver: Receiver) -> None:
    stack.processes[0].kill()
    job = stack.talk.submit(b"abc", webhook=receiver.url, key="a", retain_seconds="0")["id"]
    stack.talk.tell(job, "cancel")
    stack.worker()
    eventually(lambda: bool(receiver.got), "it is told", 60)
    assert json.loads(receiver.got[0][1])["type"] == "job.cancelled"


def test_a_job_that_failed_and_one_that_half_succeeded(
    make_stack: MakeStack, provider: Provider, receiver: Receiver
) -> None:
    tables = 'default = "good"\n[destinations.good]\nbackend = "local"\nroot = "objects"\n'
    tables += '[destinations.other]\nbackend = "local"\nroot = "more"\n[webhooks]\nsecret = "${HOOK}"\n'
    stack = make_stack(
        tables, HOOK=NEW, BUCKETLINE_WEBHOOK_ALLOW="127.0.0.1", BUCKETLINE_WEBHOOK_WAITS="0.1",
        BUCKETLINE_WEBHOOK_PORTS=str(receiver.server.server_port),
    ).start(workers=1)  # fmt: skip
    stack.check_end(stack.talk.submit(b"there", key="taken", destinations="good")["id"])
    for where, state in (("good", "failed"), ("good,other", "partially_succeeded")):
        job = stack.talk.submit(b"abc", webhook=receiver.url, destinations=where, key="taken", on_conflict="fail")["id"]
        assert settled(stack, job)["id"] == f"{job}.1.{state}"
        assert json.loads(receiver.got[-1][1])["data"]["state"] == state


def test_an_upload_that_nobody_finishes(make_stack: MakeStack, provider: Provider, receiver: Receiver) -> None:
    tables = 'default = "good"\n[destinations.good]\nbackend = "local"\nroot = "objects"\n'
    stack = make_stack(
        tables + '[webhooks]\nsecret = "${HOOK}"\n', HOOK=NEW, BUCKETLINE_WEBHOOK_ALLOW="127.0.0.1",
        BUCKETLINE_WEBHOOK_PORTS=str(receiver.server.server_port), BUCKETLINE_TUS_EXPIRE_SECONDS="1",
    ).start(workers=1)  # fmt: skip
    headers = {"tus-resumable": "1.0.0", "upload-length": "5", "bucketline-webhook": receiver.url}
    job = stack.talk.http.post("/v1/tus", headers=headers).headers["bucketline-job"]
    assert settled(stack, job)["type"] == "job.expired"
    assert json.loads(receiver.got[0][1])["data"]["state"] == "expired"


def test_what_may_not_be_connected_to_is_refused(stack: Stack, receiver: Receiver) -> None:
    port = receiver.server.server_port
    hosts = ["10.0.0.1", "169.254.169.254", "[::1]", "0x0a000001", "localhost", "a:b@e.example"]
    urls = [f"http://{host}:{port}/" for host in hosts]
    for url in [*urls, "http://e.example:6379/", f"ftp://e.example:{port}/", "x"]:
        answer = stack.talk.try_to_submit(b"abc", webhook=url)
        assert answer.status_code == 422, (url, answer.text)
        assert answer.json()["errors"][0]["pointer"] == "/webhook"
        token = stack.talk.http.post("/v1/tokens", json={"webhook": url})
        assert (token.status_code, token.json()["errors"]) == (422, answer.json()["errors"])


def test_a_redis_that_lost_everything_tells_again_with_the_same_id(stack: Stack, receiver: Receiver) -> None:
    job = stack.talk.submit(b"abc", webhook=receiver.url, key="a")["id"]
    stack.check_end(job)
    settled(stack, job)
    with stack.valkey.client() as client:
        client.flushall()
    eventually(lambda: len(receiver.got) == 2, "it is told again", 60)
    assert receiver.ids() == {f"{job}.1.succeeded"}


def test_the_secrets_stay_inside(stack: Stack, receiver: Receiver) -> None:
    job = stack.talk.submit(b"abc", webhook=f"{receiver.url}?word=hush", key="a")["id"]
    settled(stack, job)
    assert "hush" not in stack.talk.http.get(f"/v1/jobs/{job}").text
    with stack.valkey.client() as client:
        held = b"".join(client.dump(key) or b"" for key in client.keys("*"))
    assert OLD.encode() not in held
    for process in stack.processes:
        assert not any(word in process.said() for word in (OLD, NEW, "b2xkb2xk", "hush"))
