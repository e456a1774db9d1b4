"""`bucketline gc` removes what no job owns any more, and nothing else."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backends.base import Properties
from backends.body import BytesBody
from backends.config import load
from backends.registry import Destination
from engine import upkeep
from engine.ledger import Ledger
from tests.command.conftest import Outcome
from tests.servers import S3Server, Valkey, free_port, serving, write_private

Command = Callable[..., Outcome]
PART = 5 << 20


@pytest.fixture
def service(own_valkey: Callable[[], Valkey], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Valkey:
    server = own_valkey()
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", server.url)
    monkeypatch.setenv("BUCKETLINE_DATA", str(tmp_path / "data"))
    return server


@pytest.fixture
def ledger(service: Valkey) -> Iterator[Ledger]:
    ledger = Ledger(service.url)
    ledger.run(upkeep.mark_reconciled(0, seen=0))
    yield ledger
    ledger.close()


@pytest.fixture(params=["local", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    if request.param == "local":
        text = '[destinations.media]\nbackend = "local"\nroot = "objects"\nprefix = "ours/"\n'
    else:
        server: S3Server = request.getfixturevalue("ministack_s3")  # moto began every upload in 2010
        bucket = server.make_bucket(f"gc-{free_port()}")
        text = server.toml("media", bucket) + 'prefix = "ours/"\n'
    return load(write_private(tmp_path / "plugins.toml", text)).destinations["media"]


def begin(destination: Destination, key: str, **changed: object) -> dict[str, object]:
    """An upload that somebody began and left."""
    backend = destination.build()
    try:
        session = backend.begin(key, size=PART + 1, part_size=PART, properties=Properties())
        backend.put_part(session, 2, BytesBody(b"x"))
        return session  # type: ignore[return-value]
    finally:
        backend.close()


def unfinished(destination: Destination) -> list[str]:
    backend = destination.build()
    try:
        return sorted(one.key for one in backend.list_sessions())  # type: ignore[attr-defined]
    finally:
        backend.close()


def verdicts(done: Outcome) -> dict[str, str]:
    rows = [json.loads(line) for line in done.out.splitlines()]
    return {row["key"]: row["verdict"] for row in rows}


def test_what_nobody_owns_is_removed(command: Command, ledger: Ledger, destination: Destination) -> None:
    for key in ("ours/left", "ours/deep/left", "theirs/left"):
        begin(destination, key)

    listed = command("gc", "--older-than", "0", "--dry-run")
    assert listed.code == 0, listed.err
    assert "ours/deep/left" in listed.out and "would be removed" in listed.out
    assert "2 unfinished uploads would be removed" in listed.err
    assert len(unfinished(destination)) == 3

    done = command("gc", "--older-than", "0", "--json")
    assert verdicts(done) == {"ours/left": "removed", "ours/deep/left": "removed"}
    assert unfinished(destination) == ["theirs/left"], "what is beyond the prefix is not ours"
    assert command("gc", "--older-than", "0").err.strip() == "bucketline: no unfinished uploads removed"


def test_what_is_young_may_belong_to_somebody(command: Command, ledger: Ledger, destination: Destination) -> None:
    begin(destination, "ours/left")
    assert verdicts(command("gc", "--json")) == {"ours/left": "too_young"}
    assert unfinished(destination) == ["ours/left"]


def test_what_an_unfinished_job_may_write_is_left(
    command: Command, ledger: Ledger, destination: Destination, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "a").write_bytes(b"accepted")
    with serving([sys.executable, "-m", "bucketline", "api", "--port", str(port)], port, tmp_path / "api.log"):
        put = command("put", "a", "--key", "mine", "--detach", "--url", f"http://127.0.0.1:{port}")
    assert put.code == 0, put.err
    begin(destination, "ours/mine")
    begin(destination, "ours/other")

    assert verdicts(command("gc", "--older-than", "0", "--json")) == {"ours/mine": "in_use", "ours/other": "removed"}
    assert unfinished(destination) == ["ours/mine"]


def test_what_is_on_record_is_removed_whatever_its_age(
    command: Command, ledger: Ledger, destination: Destination
) -> None:
    session = begin(destination, "ours/left")
    record = {
        "destination": "media",
        "fingerprint": destination.fingerprint,
        "key": "ours/left",
        "session": msgspec.json.encode(session).decode(),
    }
    ledger.client.hset("bucketline:orphans", "t/0", msgspec.json.encode(record))
    ledger.client.hset("bucketline:orphans", "t/1", msgspec.json.encode({**record, "fingerprint": "another"}))

    done = command("gc", "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(row["verdict"] for row in rows if row["on_record"]) == ["elsewhere", "removed"]
    assert unfinished(destination) == []
    assert ledger.client.hkeys("bucketline:orphans") == [b"t/1"]


def test_a_destination_that_is_away_is_told_and_stops_no_other(
    command: Command, ledger: Ledger, tmp_path: Path
) -> None:
    text = (
        'default = "media"\n[destinations.away]\nbackend = "s3"\nbucket = "bucket"\nkey = "k"\nsecret = "s"\n'
        f'endpoint_url = "http://127.0.0.1:{free_port()}"\nregion = "us-east-1"\n'
        '[destinations.media]\nbackend = "local"\nroot = "objects"\n'
        '[destinations.unknown]\nbackend = "fsspec"\nurl = "nobody+knows://x"\nprefix = "unknown/"\n'
    )
    begin(load(write_private(tmp_path / "plugins.toml", text)).destinations["media"], "left")
    done = command("gc", "--older-than", "0", "--json")
    assert done.code == 1
    assert verdicts(done) == {"": "failed", "left": "removed", "unknown/": "failed"}


def test_a_ledger_that_does_not_know_all_jobs_is_not_asked(command: Command, service: Valkey) -> None:
    done = command("gc")
    assert done.code == 1
    assert "`bucketline recover` first" in done.err


@pytest.mark.parametrize("text", ["yesterday", "-1h", "7", "1w"])
def test_a_time_that_is_none(command: Command, ledger: Ledger, text: str) -> None:
    done = command("gc", f"--older-than={text}")
    assert done.code == 2
    assert "24h or 7d" in done.err


def test_an_unknown_destination_says_which_was_meant(
    command: Command, ledger: Ledger, destination: Destination
) -> None:
    done = command("gc", "meida")
    assert done.code == 2
    assert "media" in done.err


def test_redis_away_is_exit_code_69(command: Command, ledger: Ledger, service: Valkey) -> None:
    service.kill()
    assert command("gc").code == 69
