"""kill -9 of the API: a file that was on its way is no job; one that was accepted is one, answered or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually


@pytest.fixture
def stack(make_stack: MakeStack, provider: Provider) -> Stack:
    """Valkey, and nothing that uses it yet."""
    stack = make_stack('default = "s3"\n' + provider.table("s3"))
    stack.valkey.start()
    stack.environ["BUCKETLINE_REDIS_URL"] = stack.valkey.url
    return stack


@pytest.mark.parametrize("heard", [False, True], ids=["before the ledger hears of it", "before the client hears of it"])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_between_the_disk_and_the_answer(
    large: bool, heard: bool, stack: Stack, provider: Provider, five_parts: bytes
) -> None:
    """The bytes are durable, and nobody was told: whichever came first, disk or ledger, it becomes one job."""
    wire = stack.wire()
    api = stack.api(**wire.environ)
    gate = wire.stop_at("answer" if heard else "call", "accept")
    content = five_parts if large else b"small"
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(stack.talk.try_to_submit, content, key="film")
        gate.wait("the file is durable")
        api.kill()
        with pytest.raises(httpx.TransportError):
            answer.result()
    gate.drop()
    stack.api()
    stack.worker()

    eventually(lambda: len(stack.keys("job:*")) > 0, "the job is known", 60)
    (job,) = {key.split(":")[2] for key in stack.keys("job:*")}
    stack.check_end(job)
    assert provider.read("film") == content
    assert set(provider.sent().values()) <= {1}
    assert provider.count("put") + provider.count("complete") == 1
    assert stack.spooled() == []


def test_amid_many_small_files(stack: Stack, provider: Provider) -> None:
    """Two processes that share packs, and workers that empty them meanwhile: every file that was answered arrives."""
    api = stack.api(BUCKETLINE_API_PROCESSES="2")
    stack.worker()
    accepted: dict[str, bytes] = {}
    enough = threading.Event()

    def send(number: int) -> None:
        with httpx.Client(base_url=stack.talks[0].url, trust_env=False, timeout=30) as client:
            for count in range(1000):
                content = f"{number}/{count} ".encode() * 500
                try:
                    answer = client.post("/v1/jobs", params={"key": f"{number}/{count}"}, content=content)
                except httpx.TransportError:
                    return
                assert answer.status_code == 202, answer.text
                accepted[answer.json()["id"]] = content
                if len(accepted) > 120:
                    enough.set()

    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(send, number) for number in range(6)]
        enough.wait(60)
        api.kill()
        for client in clients:
            client.result()
    stack.api()

    for job, content in accepted.items():
        found = stack.talk.until(job, "succeeded")
        assert provider.read(found["key"]) == content
    eventually(lambda: stack.spooled() == [], "nothing is kept", 60)
    eventually(lambda: stack.packs() == [], "the packs go with their last jobs, whoever began them", 60)


def test_amid_a_body(stack: Stack) -> None:
    api = stack.api()
    going = threading.Event()

    def body() -> Iterator[bytes]:
        yield bytes(8 << 20)
        going.wait(60)
        yield b"never read"

    with ThreadPoolExecutor() as threads:
        answer = threads.submit(stack.talk.try_to_submit, body(), name="cut")
        eventually(lambda: any((stack.spool / "incoming").glob("*")), "bytes are in the spool", 60)
        api.kill()
        going.set()
        with pytest.raises(httpx.TransportError):
            answer.result()
    stack.api()
    stack.worker()
    stack.sweeps()
    jobs = stack.talk.http.get("/v1/jobs").json()["items"]
    assert [job["state"] for job in jobs] in ([], ["receiving"]), "it is forgotten when its time has run out"
    assert not list((stack.spool / "jobs").iterdir())
