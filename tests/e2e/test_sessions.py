"""docs/command.md: its sessions are typed again beside real servers, and print what the page shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.base import Properties
from backends.body import BytesBody
from backends.config import load
from bucketline.cli import parse
from tests import shell
from tests.e2e.reading import Reader, reading
from tests.e2e.sessions import PAGE, Terminal, agree, session, shape
from tests.servers import S3Server, Valkey, eventually, free_port, program, serving, write_private

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts `bucketline up`")

assert PAGE == "docs/command.md"  # said here, too, for those who look which test names the page
ROUTE = '[routes.everywhere]\nmirror = ["media", "archive"]\n'
WAYS = 'key_template = "{name}"\nlimits = { part_size = "16MiB", concurrency = 8 }\n'
SLOWLY = 'key_template = "{name}"\nlimits = { part_size = "5MiB", concurrency = 1 }\nfaults = { throttle = "1MiB/s" }\n'
"""What comes takes its time, in parts that a cancel need not wait long for."""


ARCHIVE = """default = "archive"
[destinations.archive]
backend      = "s3"
bucket       = "acme-archive"
prefix       = "uploads/"
endpoint_url = "${S3_ENDPOINT_URL}"
key          = "${AWS_ACCESS_KEY_ID}"
"""


@pytest.fixture(scope="module")
def plugins(moto_s3: S3Server) -> str:
    """Two buckets that the sessions send to."""
    for bucket in ("acme-media", "acme-archive"):
        moto_s3.make_bucket(bucket)
    return (
        'default = "media"\n'
        + ROUTE
        + moto_s3.toml("media", "acme-media")
        + WAYS
        + moto_s3.toml("archive", "acme-archive")
        + WAYS
    )


@pytest.fixture(scope="module")
def reader(plugins: str) -> Iterator[Reader]:
    with reading(plugins) as reader:
        (reader.folder / "holiday.mp4").write_bytes(bytes(40_000_000))
        (reader.folder / "notes.txt").write_bytes(b"abc")
        yield reader


@pytest.fixture
def terminal(reader: Reader) -> Iterator[Terminal]:
    """In the folder of the stack; nothing of other sessions is remembered."""
    with reader.client() as client:
        for job in client.jobs(limit=100).items:
            client.wait(job.id, timeout=100)
            client.forget(job.id)
    yield Terminal(reader.folder, reader.environ, reader.folder)


def command_only(folder: Path) -> dict[str, str]:
    (folder / "bin").mkdir()
    (folder / "bin" / "bucketline").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m bucketline "$@"\n')
    (folder / "bin" / "bucketline").chmod(0o755)
    (folder / "srv" / "bucketline").mkdir(parents=True)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}


# -- without a service ------------------------------------------------------------------------------------------------


def test_a_mistake(tmp_path: Path) -> None:
    Terminal(tmp_path, command_only(tmp_path), tmp_path).follows("session: mistake")


def test_an_api_without_a_key(tmp_path: Path) -> None:
    environ = command_only(tmp_path) | {"BUCKETLINE_REDIS_URL": "redis://127.0.0.1:1/0"}
    Terminal(tmp_path, environ, tmp_path).follows("session: api")


def test_a_worker_without_redis(tmp_path: Path) -> None:
    environ = command_only(tmp_path)
    Terminal(tmp_path / "srv" / "bucketline", environ, tmp_path).follows("session: worker")


def test_config(tmp_path: Path) -> None:
    secret = tmp_path / "run" / "secrets" / "s3"
    config = tmp_path / "etc" / "bucketline" / "plugins.toml"
    for path, text in ((secret, "very-secret"), (config, ARCHIVE + f'secret_file = "{secret}"\n')):
        path.parent.mkdir(parents=True)
        write_private(path, text)
    environ = command_only(tmp_path) | {
        "BUCKETLINE_CONFIG": str(config),
        "BUCKETLINE_REDIS_URL": "redis://:password@redis.internal:6379/0",
        "S3_ENDPOINT_URL": "https://s3.example",
        "AWS_ACCESS_KEY_ID": "AKIA",
    }
    Terminal(tmp_path, environ, tmp_path).follows("session: config")


@pytest.mark.parametrize(("number", "name"), [(0, "bash"), (1, "bash"), (2, "zsh"), (3, "bash")])
def test_completion(tmp_path: Path, number: int, name: str) -> None:
    """Each line, in the shell that it is for (that of fish only writes a file)."""
    command = session("session: completion")[number]
    environ = command_only(tmp_path) | {"HOME": str(tmp_path)}
    for folder in (".local/share/bash-completion/completions", ".config/fish/completions"):
        (tmp_path / folder).mkdir(parents=True)
    before = "autoload -U compinit; compinit -u -D; " if name == "zsh" else ""

    said = Terminal(tmp_path, environ, tmp_path, program(name)).types(before + command.typed)

    assert said == []
    written = [path for path in (tmp_path / ".local", tmp_path / ".config") for path in path.rglob("bucketline*")]
    assert [path.stat().st_size > 1000 for path in written] == [True] * (number in (0, 3))


# -- with one ---------------------------------------------------------------------------------------------------------


def test_up(reader: Reader) -> None:
    """The stack of these tests was started so."""
    (command,) = session("session: up")
    (words,) = shell.commands(command.typed)
    port = parse(words[1:]).port
    shown = [line.replace(f":{port}", f":{reader.url.rpartition(':')[2]}") for line in command.shown]
    came = [(reader.folder / "up.out").read_text(), *(reader.folder / "up.log").read_text().splitlines()]
    came = [line.strip().replace(str(reader.folder), "/srv/bucketline") for line in came]

    # On a busy machine the workers may take longer than it waits for them in silence.
    assert agree(shape(shown), [line for line in shape(came) if "still waiting" not in line]), came


def test_put_into_a_pipe(terminal: Terminal) -> None:
    (command,) = session("session: put")

    shown, came = shape(command.shown), shape(terminal.prints(command))

    # On a machine that is busy for more than five seconds there are lines on the way, too; what ends first varies.
    assert sorted(shown) == sorted(line for line in came if not line.endswith((" %)", " sent", " stored")))


def test_copy(reader: Reader, terminal: Terminal) -> None:
    with reader.client() as client:
        put = client.submit(reader.folder / "holiday.mp4", destinations=["media"], key="films/summer.mp4")
        assert client.wait(put.id, timeout=100).succeeded
    terminal.follows("session: copy")


def test_jobs(plugins: str) -> None:
    """One has arrived, one is under way to two places, and is paused. The second place was slow from the start: when
    workers follow a changed file is their own affair."""
    slow = plugins.removesuffix(WAYS) + SLOWLY
    with reading(slow) as reader, reader.client() as client:
        (reader.folder / "holiday.mp4").write_bytes(bytes(40_000_000))
        (reader.folder / "notes.txt").write_bytes(b"abc")
        film = client.submit(reader.folder / "holiday.mp4", destinations=["media", "archive"], key="holiday.mp4")
        notes = client.submit(reader.folder / "notes.txt", destinations=["media"], key="notes.txt")
        assert client.wait(notes.id).succeeded
        eventually(lambda: client.job(film.id).state == "running", "the film is under way", 60)
        Terminal(reader.folder, reader.environ, reader.folder).follows("session: jobs")
        client.cancel(film.id)
        client.wait(film.id, timeout=100)


def test_check(tmp_path: Path, moto_s3: S3Server, reader: Reader) -> None:
    """A bucket that is not there is told beside what is well."""
    here = tmp_path / "srv" / "bucketline"
    environ = command_only(tmp_path)
    text = 'default = "media"\n[destinations.media]\nbackend = "local"\nroot = "media"\n'
    write_private(here / "plugins.toml", text + moto_s3.toml("archive", "acme-missing"))
    valkey = reader.folder / "var" / "valkey" / "valkey.sock"
    (here / "var" / "valkey").mkdir(parents=True)
    (here / "var" / "valkey" / "valkey.sock").symlink_to(valkey)
    environ["BUCKETLINE_REDIS_URL"] = f"unix://{here}/var/valkey/valkey.sock?db=0"
    Terminal(here, environ, tmp_path).follows("session: check")


def test_keys_and_audit(reader: Reader, terminal: Terminal) -> None:
    terminal.follows("session: keys")
    with reader.client() as client:
        client.wait(client.submit(reader.folder / "notes.txt", destinations=["media"]).id)
    terminal.types(session("session: keys")[0].typed)
    terminal.follows("session: audit")


def test_gc(reader: Reader, terminal: Terminal) -> None:
    """moto says of every upload that it began in 2010."""
    backend = load(reader.folder / "plugins.toml", {}).destinations["archive"].build()
    begun = backend.begin("uploads/holiday.mp4", size=6 << 20, part_size=5 << 20, properties=Properties())
    backend.put_part(begun, 2, BytesBody(b"x" * (1 << 20)))
    terminal.follows("session: gc")
    backend.abort(begun)
    backend.close()


def test_recover(tmp_path: Path, own_valkey: Callable[[], Valkey]) -> None:
    """Three files wait in the spool for workers that are not there; of one, Redis has lost the job."""
    server, port = own_valkey(), free_port()
    here = tmp_path / "srv" / "bucketline"
    environ = command_only(tmp_path) | {"BUCKETLINE_REDIS_URL": server.url, "BUCKETLINE_DATA": f"{here}/var"}
    terminal = Terminal(here, environ | {"BUCKETLINE_URL": f"http://127.0.0.1:{port}"}, tmp_path)
    api = [sys.executable, "-P", "-m", "bucketline", "api", "--port", str(port)]
    with serving(api, port, tmp_path / "api.log", environ):
        (here / "notes.txt").write_bytes(b"abc")
        (lost,) = terminal.types("bucketline put notes.txt --detach 2>/dev/null")
        terminal.types("bucketline put notes.txt notes.txt --detach")
    with server.client() as client:
        assert client.delete(*client.keys(f"bucketline:*{lost}*"))
    terminal.follows("session: recover")
