"""The servers of the test suite are what they say: otherwise the tests above them prove nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import servers


def test_a_test_gets_a_redis_with_nothing_in_it(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_and_so_does_the_next_one(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_a_valkey_that_was_killed_comes_back_with_its_data(own_valkey: Callable[[], servers.Valkey]) -> None:
    server = own_valkey()
    with server.client() as client:
        client.set("kept", "yes")
    server.kill()
    assert not server.answers()
    server.start()
    with server.client() as client:
        assert client.get("kept") == b"yes"


@pytest.mark.parametrize("name", ["rclone_s3", "moto_s3", "ministack_s3"])
def test_an_s3_server_makes_buckets(name: str, request: pytest.FixtureRequest) -> None:
    server: servers.S3Server = request.getfixturevalue(name)
    bucket = server.make_bucket("made-here")
    assert server.request("HEAD", f"/{bucket}") == 200
    assert server.request("HEAD", "/never-made") == 404


def test_rclones_objects_are_files(rclone_s3: servers.S3Server) -> None:
    bucket = rclone_s3.make_bucket("files")
    assert rclone_s3.request("PUT", f"/{bucket}/empty.bin") == 200
    assert rclone_s3.stored(bucket, "empty.bin").read_bytes() == b""


def test_a_missing_program_is_a_skip_here_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: dict[str, Any] = {"": pytest.skip.Exception, "true": pytest.fail.Exception}
    for value, outcome in outcomes.items():
        monkeypatch.setenv("CI", value)
        with pytest.raises(outcome, match="no-such-program"):
            servers.program("no-such-program")


def test_a_program_beside_the_interpreter_is_preferred() -> None:
    assert Path(servers.program("rclone")).name == "rclone"
