"""`bucketline recover` makes jobs again that Redis has lost, from the files that lie in the spool."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.command.conftest import Outcome
from tests.servers import Valkey, serving

Command = Callable[..., Outcome]


@pytest.fixture
def service(own_valkey: Callable[[], Valkey], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Valkey:
    server = own_valkey()
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", server.url)
    monkeypatch.setenv("BUCKETLINE_DATA", str(tmp_path / "data"))
    return server


def test_an_empty_spool_needs_nothing(command: Command, service: Valkey) -> None:
    done = command("recover")
    assert done.code == 0
    assert "none had to be made again" in done.out


def test_a_job_that_redis_has_lost_is_made_again(command: Command, service: Valkey, tmp_path: Path) -> None:
    import sys

    from tests.servers import free_port

    port = free_port()
    (tmp_path / "a").write_bytes(b"accepted")
    # An API without workers: the job stays in the spool.
    with serving([sys.executable, "-m", "bucketline", "api", "--port", str(port)], port, tmp_path / "api.log"):
        put = command("put", "a", "--detach", "--url", f"http://127.0.0.1:{port}")
    assert put.code == 0, put.err
    job = put.out.strip()
    with redis.Redis.from_url(service.url) as client:
        client.flushall()
    done = command("recover", "--json")
    assert done.code == 0
    assert json.loads(done.out)["made_again"] == [job]
    assert "none had to be made again" in command("recover").out


def test_redis_away_is_exit_code_69(command: Command, service: Valkey) -> None:
    service.kill()
    done = command("recover")
    assert done.code == 69
    assert "Redis does not answer" in done.err
