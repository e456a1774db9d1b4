"""`bucketline keys` and `bucketline audit`: keys are made, shown once, listed and revoked."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.command.conftest import Outcome
from tests.servers import Valkey

Command = Callable[..., Outcome]

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


@pytest.fixture(autouse=True)
def service(valkey: Valkey, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    monkeypatch.setenv("BUCKETLINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BUCKETLINE_API_KEY", "bootstrap-secret")
    (tmp_path / "plugins.toml").write_text(PLUGINS)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as found:
        yield found


def test_a_key_is_shown_once_and_alone_on_stdout(command: Command) -> None:
    made = command("keys", "add", "photo site")

    assert made.code == 0
    assert re.fullmatch(r"bl_[0-9a-f]{12}_[0-9A-Za-z]{43}\n", made.out)
    assert made.out.strip() not in made.err
    shown = command("keys", "list")
    assert made.out[3:15] in shown.out
    assert "photo site" in shown.out
    assert made.out[16:-1] not in shown.out + command("keys", "list", "--json").out


def test_everything_that_a_key_may_be_told(command: Command) -> None:
    made = command(
        "keys", "add", "batch", "--scope", "submit,read", "--scope", "read", "--to", "both", "--to", "media",
        "--prefix", "in/a", "--prefix", "in/b/", "--max-size", "5GiB", "--expires", "90d",
        "--requests-per-minute", 60, "--bytes-per-day", "1TiB", "--jobs", 9, "--json",
    )  # fmt: skip

    assert made.code == 0, made.err
    (listed,) = [json.loads(line) for line in command("keys", "list", "--json").out.splitlines()]
    assert json.loads(made.out) == {**listed, "key": json.loads(made.out)["key"]}
    assert listed["scopes"] == ["submit", "read"]
    assert listed["destinations"] == ["both", "media"]
    assert listed["prefixes"] == ["in/a/", "in/b/"]
    assert listed["max_size"] == 5 << 30
    assert listed["quotas"] == {"requests_per_minute": 60, "bytes_per_day": 1 << 40, "jobs": 9}
    assert (listed["state"], listed["unfinished_jobs"]) == ("active", 0)
    assert listed["expires_at"] > listed["created_at"]
    assert "  5.0 GiB a file, 1.0 TiB a day, 60 a minute, 9 jobs  " in command("keys", "list").out


def test_a_revoked_key_stays_in_the_list(command: Command) -> None:
    key = command("keys", "add", "a").out[3:15]

    assert command("keys", "revoke", key).out == f"{key}: revoked\n"
    assert command("keys", "revoke", key).out == f"{key}: was revoked already\n"
    assert json.loads(command("keys", "list", "--json").out)["state"] == "revoked"
    missing = command("keys", "revoke", "0" * 12, "*")
    assert missing.code == 1
    assert "there is no key with this id" in missing.err


def test_keys_come_back_from_an_export(command: Command, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, ended = (command("keys", "add", "a", "--to", "media", "--jobs", 3).out[3:15] for _ in range(2))
    command("keys", "revoke", ended)
    before = command("keys", "list", "--json").out
    exported = command("keys", "export")
    assert (exported.code, exported.out.count("\n"), ended in exported.out) == (0, 1, False)

    def bring(text: str) -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return command("keys", "import")

    assert "0 of 1 keys were missing" in bring(exported.out).err
    client.flushdb()
    assert "1 of 1 keys were missing" in bring(exported.out + "\n").err
    assert command("keys", "list", "--json").out == "".join(
        line for line in before.splitlines(keepends=True) if kept in line
    )
    command("keys", "revoke", kept)
    bring(exported.out)
    assert json.loads(command("keys", "list", "--json").out)["state"] == "revoked"
    for text in ("{}", "x", '{"id": "*", "hash": "h"}', exported.out.replace(kept, "../x")):
        assert bring(text).code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ad", "x"), "did you mean add?"),
        (("add",), "takes one name"),
        (("add", "a", "b"), "takes one name"),
        (("add", " "), "printable text"),
        (("add", "a\x1b[2J"), "printable text"),
        (("revoke",), "takes the ids of keys"),
        (("list", "x"), "takes no names"),
        (("import", "file"), "takes no names"),
        (("add", "a", "--scope", "admn"), "did you mean admin?"),
        (("add", "a", "--to", "medi"), "did you mean media?"),
        (("add", "a", "--prefix", "../x"), "cannot climb"),
        (("add", "a", "--prefix", ""), "cannot be empty"),
        (("add", "a", "--max-size", "5GB"), "--max-size has no unit 'GB'; write \"5GiB\""),
        (("add", "a", "--bytes-per-day", "0"), "at least 1 byte"),
        (("add", "a", "--jobs", "0"), "--jobs takes a number of at least 1"),
        (("add", "a", "--expires", "soon"), "--expires takes a time"),
        (("add", "a", "--expires", "2020-01-31"), "is over already"),
        (("add", "a", "--expires", "0d"), "is over already"),
    ],
)
def test_what_makes_no_sense_is_usage(command: Command, words: tuple[str, ...], told: str) -> None:
    done = command("keys", *words)

    assert done.code == 2
    assert told in done.err
    assert command("keys", "list", "--json").out == ""


def test_no_keys_is_said(command: Command) -> None:
    assert "there are no keys" in command("keys", "list").err


def test_without_a_bootstrap_key_a_key_guards_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUCKETLINE_API_KEY")

    assert "asks nobody for a key" in command("keys", "add", "a").err


def test_redis_away_is_exit_code_69(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", f"unix://{tmp_path}/nobody.sock")

    done = command("keys", "list")
    assert done.code == 69
    assert "Redis does not answer" in done.err


def test_the_audit_log_has_who_made_and_revoked_keys(command: Command) -> None:
    made = command("keys", "add", "a")
    command("keys", "revoke", made.out[3:15])

    lines = [json.loads(line) for line in command("audit", "--json").out.splitlines()]
    assert [(one["action"], one["made"]) for one in lines] == [
        ("revoke_key", made.out[3:15]),
        ("add_key", made.out[3:15]),
    ]
    assert all(one["user"] for one in lines)
    assert made.out[16:-1] not in json.dumps(lines)
    assert made.out[3:15] in command("audit", "--limit", 1).out
    assert command("audit", "--job", "none").out == ""
    assert command("audit", "--limit", 0).code == 2
