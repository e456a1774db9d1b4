"""From bucket to bucket on real processes: byte-identical whoever dies midway, and never another content."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import servers
from tests.e2e.provider import PART, Provider
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually

LIMITS = f"limits = {{ part_size = {PART}, concurrency = 2 }}\n"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Where the destination `local` keeps its objects."""
    root = tmp_path / "shelf"
    root.mkdir()
    return root


@pytest.fixture
def both(make_stack: MakeStack, provider: Provider, shelf: Path) -> Stack:
    """An S3 server and a directory, and no worker yet."""
    local = f'[destinations.local]\nbackend = "local"\nroot = "{shelf}"\n{LIMITS}'
    return make_stack('default = "s3"\n' + provider.table("s3") + local).start(workers=0)


def submit(stack: Stack, source: str, target: str, **options: str) -> str:
    asked = {"source": {"destination": source, "key": "film"}, "destinations": [target], "key": "copy", **options}
    answer = stack.talk.http.post("/v1/jobs", json=asked)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_from_s3_to_a_directory_through_the_death_of_a_worker(
    both: Stack, provider: Provider, shelf: Path, five_parts: bytes
) -> None:
    both.worker()
    first = both.talk.submit(five_parts, key="film")["id"]
    both.check_end(first)
    gates = [provider.stop_at("after", "get"), provider.stop_at("before", "get")]
    job = submit(both, "s3", "local")
    gates[0].wait("a part is being read")
    both.processes[1].kill()
    for gate in gates:
        gate.drop()
    both.worker()
    found = both.check_end(job)
    assert (shelf / "copy").read_bytes() == five_parts == provider.read("film")
    assert (found["size"], found["source"]["kind"], found["content_type"]) == (
        len(five_parts), "destination", "application/octet-stream",
    )  # fmt: skip
    assert found["checksums"]["crc32c"] is not None
    assert provider.count("get") <= 5 + 2, "only what was in hand is read again"
    assert [path.name for path in shelf.iterdir()] == ["copy"]
    assert both.spooled() == []


def test_from_a_directory_to_s3_through_the_death_of_a_worker(
    both: Stack, provider: Provider, shelf: Path, five_parts: bytes
) -> None:
    (shelf / "film").write_bytes(five_parts)
    gate = provider.stop_at("amid", "part", 2)
    worker = both.worker()
    job = submit(both, "local", "s3")
    gate.wait("a part is being sent")
    worker.kill()
    gate.drop()
    both.worker()
    found = both.check_end(job)
    assert provider.read("copy") == five_parts
    assert found["transfers"][0]["verified_by"] in ("checksum", "part_checksums")
    assert provider.sessions() == []
    assert sum(provider.sent("copy").values()) <= 5 + 2


@pytest.mark.parametrize("vanishes", [False, True], ids=["changes", "vanishes"])
def test_a_source_that_changes_or_vanishes_midway(
    vanishes: bool, both: Stack, provider: Provider, shelf: Path, five_parts: bytes
) -> None:
    film = shelf / "film"
    film.write_bytes(five_parts)
    gates = [provider.stop_at("before", "part", number) for number in (1, 2)]
    both.worker()
    job = submit(both, "local", "s3")
    for gate in gates:
        gate.wait("both threads are busy")
    film.unlink()
    if not vanishes:
        film.write_bytes(five_parts[: 3 * PART] + bytes(len(five_parts) - 3 * PART))
    for gate in gates:
        gate.open()
    found = both.check_end(job, "failed")
    assert found["error"]["code"] == ("source_missing" if vanishes else "source_changed")
    assert found["error"]["retryable"] is False
    assert not provider.path("copy").exists()
    assert provider.sessions() == []


def test_a_failed_job_is_retried_when_its_source_has_come(
    both: Stack, provider: Provider, shelf: Path, five_parts: bytes
) -> None:
    both.worker()
    job = submit(both, "local", "s3")
    found = both.check_end(job, "failed")
    assert (found["error"]["code"], found["source"]["available_until"]) == ("source_missing", None)
    (shelf / "film").write_bytes(five_parts)
    both.talk.tell(job, "retry")
    eventually(lambda: both.talk.state(job) == "succeeded", "the retry succeeds", 60)
    assert provider.read("copy") == five_parts


def test_redis_loses_everything_midway(both: Stack, provider: Provider, shelf: Path, five_parts: bytes) -> None:
    (shelf / "film").write_bytes(five_parts)
    gate = provider.stop_at("before", "part", 2)
    both.worker()
    job = submit(both, "local", "s3")
    gate.wait("a part is being sent")
    with both.valkey.client() as client:
        client.flushall()
    gate.open()
    eventually(lambda: both.talk.state(job) == "succeeded", "the job is made again", 60)
    assert provider.read("copy") == five_parts
    eventually(lambda: provider.sessions() == [], "the session that Redis forgot is closed", 60)


def test_within_one_provider_it_copies_by_itself(make_stack: MakeStack, tmp_path: Path, five_parts: bytes) -> None:
    with servers.rclone(tmp_path) as server:
        tables = [server.toml(name, server.make_bucket(f"films-{name}")) + LIMITS for name in ("old", "new")]
        stack = make_stack('default = "old"\n' + "".join(tables)).start()
        stack.check_end(stack.talk.submit(five_parts, key="film")["id"])
        found = stack.check_end(submit(stack, "old", "new"))
        assert found["transfers"][0]["parts"]["total"] == 1, "one step, whatever its size"
        assert server.stored("films-new", "copy").read_bytes() == five_parts
