"""`bucketline check` proves destinations by real work, and doubts a Redis that may forget."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from bucketline.check import doubts
from tests import servers
from tests.command.conftest import Outcome

Command = Callable[..., Outcome]


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    text = 'default = "media"\n[destinations.media]\nbackend = "local"\nroot = "objects"\n'
    text += '[destinations.other]\nbackend = "memory"\n[routes.both]\nmirror = ["media", "other"]\n'
    (tmp_path / "plugins.toml").write_text(text)
    return tmp_path / "plugins.toml"


def test_every_destination_is_proven_and_nothing_is_left(command: Command, plugins: Path) -> None:
    done = command("check")
    assert done.code == 0, done.err
    heading, media, other = done.out.splitlines()
    assert heading.split() == ["CHECK", "KIND", "RESULT", "SECONDS", "DETAIL"]
    assert media.split()[:3] == ["media", "local", "ok"]
    assert other.split()[:3] == ["other", "memory", "ok"]
    assert [path for path in (plugins.parent / "objects").rglob("*") if path.is_file()] == []


def test_only_what_is_named_also_by_route(command: Command, plugins: Path) -> None:
    assert len(command("check", "media").out.splitlines()) == 2
    assert len(command("check", "both").out.splitlines()) == 3


def test_without_a_plugins_toml_the_local_destination_is_checked(command: Command) -> None:
    done = command("check", "--data", "d")
    assert done.code == 0
    assert "local" in done.out


def test_an_unknown_name_is_exit_code_2_with_the_nearest(command: Command, plugins: Path) -> None:
    done = command("check", "medio")
    assert done.code == 2
    assert "media" in done.err


def test_a_real_s3_server(command: Command, plugins: Path, rclone_s3: servers.S3Server) -> None:
    bucket = rclone_s3.make_bucket("checked")
    servers.write_private(plugins, 'default = "archive"\n' + rclone_s3.toml("archive", bucket))
    done = command("check", "--json")
    assert done.code == 0, done.out
    (check,) = json.loads(done.out)["checks"]
    assert (check["name"], check["ok"]) == ("archive", True)


def test_a_destination_that_does_not_work_is_exit_code_1_with_the_reason(
    command: Command, plugins: Path, rclone_s3: servers.S3Server
) -> None:
    text = 'default = "archive"\n' + rclone_s3.toml("archive", "never-made")
    servers.write_private(plugins, text)
    done = command("check")
    assert done.code == 1
    assert "FAILED" in done.out
    assert "never-made" in done.out or "bucket" in done.out.lower()


def test_a_redis_that_may_forget_is_a_warning_and_no_failure(
    command: Command, plugins: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    done = command("check")
    assert done.code == 0
    assert "appendonly is off" in done.err
    assert "maxmemory-policy" not in done.err
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("appendonly", "yes")
    try:
        assert command("check").err == ""
    finally:
        with redis.Redis.from_url(redis_url) as client:
            client.config_set("appendonly", "no")


def test_a_redis_that_does_not_answer_fails(command: Command, plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", "redis://:hush@127.0.0.1:9/0")
    done = command("check")
    assert done.code == 1
    assert "redis" in done.out
    assert "hush" not in done.out + done.err


def test_the_brokers_of_actors_are_asked(
    command: Command, plugins: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWAY", "redis://:hush@127.0.0.1:9/0")
    away = '[actors.away]\nbroker_url = "${AWAY}"\n[actors.odd]\nbroker_url = "${AWAY}?no_option=1"\n'
    there = f'[actors.there]\nqueue = "mail"\nbroker_url = "{redis_url}"\n[actors.ours]\n'
    plugins.write_text(plugins.read_text() + away + there)
    done = command("check", "--json")
    found = {row["name"]: row for row in json.loads(done.out)["checks"] if row["kind"] == "actor"}
    assert {name: row["ok"] for name, row in found.items()} == {"away": False, "odd": False, "there": True}
    assert found["there"]["detail"] == "its broker answers; there in queue mail"
    assert done.code == 1
    assert "hush" not in done.out + done.err


def test_what_is_doubtful() -> None:
    assert doubts({"appendonly": "yes", "maxmemory-policy": "noeviction"}) == []
    (eviction,) = doubts({"appendonly": "yes", "maxmemory-policy": "allkeys-lru"})
    assert "maxmemory-policy is allkeys-lru" in eviction
