"""What README.md and docs/how-to/compose.md say of containers, on a real engine: built, started, used, taken down.

The engine is this machine's, or one that `tests.containers.engine` starts.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bucketline import Client
from engine.config import host_name
from tests import documents
from tests.containers import engine
from tests.documents import ROOT
from tests.servers import eventually, free_port, program

KEY, PASSWORD = "a-key-of-the-tests-that-is-long-enough-0123456789", "a-password-of-the-tests-0123456789"
NEEDED = ("api", "backends", "bucketline", "deploy", "engine", "docker-compose.yml", "pyproject.toml")
FILES = ("Dockerfile", ".dockerignore", ".env.example", "LICENSE", "README.md")


@dataclass(frozen=True)
class Operator:
    """Somebody with a checkout, who types what the documents say in it."""

    checkout: Path
    environ: dict[str, str]
    api: str
    proxy: str

    def types(self, text: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.checkout, env=self.environ, input=stdin,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{text}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def in_a(self, service: str, command: str, stdin: str = "") -> str:
        return self.types(f"docker-compose exec -T {service} {command}", stdin)


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    with tempfile.TemporaryDirectory(prefix="bl-engine-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        with engine.running(home) as environ:
            checkout = home / "checkout"
            checkout.mkdir()
            for one in (*NEEDED, *FILES):
                copy = shutil.copytree if (ROOT / one).is_dir() else shutil.copy
                copy(ROOT / one, checkout / one)
            api, proxy = free_port(), free_port()
            own = {k: v for k, v in os.environ.items() if not k.startswith(("BUCKETLINE_", "AWS_", "COMPOSE_"))}
            own |= {**environ, "COMPOSE_PROJECT_NAME": home.name.lower()}
            own |= {"HTTP_PORT": str(api), "PROXY_PORT": str(proxy)}
            assert program("docker-compose")
            found = Operator(checkout, own, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{proxy}")
            try:
                yield found
            finally:
                found.types("docker-compose --profile proxy down --volumes --remove-orphans || true")
                found.types("docker image rm bucketline-own bucketline:0.1.0 || true")


@pytest.fixture(scope="module")
def stack(operator: Operator) -> Operator:
    """After the README's first block, with the two secrets filled in after its first line."""
    first, *rest = documents.block("README.md", "run: containers").splitlines()
    secrets = f"sed -i 's/^REDIS_PASSWORD=$/&{PASSWORD}/; s/^BUCKETLINE_API_KEY=$/&{KEY}/' .env"
    operator.types("\n".join([first, secrets, *rest]))
    return operator


def stats(url: str) -> dict[str, Any]:
    with Client(url, KEY) as client:
        return client.stats()


def test_a_file_goes_in_at_the_proxy_and_lies_in_the_volume(stack: Operator, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(os.urandom(40_000_000))
    with Client(stack.proxy, KEY) as client:
        eventually(lambda: _ready(client), "it is ready", 60)
        job = client.submit(tmp_path / "film.mp4", destinations=["media"], key="films/film.mp4")
        assert client.wait(job.id, timeout=100).succeeded

    stored = stack.in_a("worker", "sha256sum /var/lib/bucketline/objects/films/film.mp4").split()[0]
    sent = subprocess.run(["sha256sum", tmp_path / "film.mp4"], capture_output=True, text=True, check=True).stdout
    assert stored == sent.split()[0]


def _ready(client: Client) -> bool:
    try:
        return bool(client.destinations())
    except Exception:
        return False


def test_each_of_two_workers_is_seen(stack: Operator) -> None:
    """Each is process 1, and they share the name of their node."""
    eventually(lambda: len(stats(stack.api)["workers"]) == 2, "two workers are seen", 30)
    assert {one["node"] for one in stats(stack.api)["workers"]} == {"shared"} != {host_name()}


def test_what_the_table_says_is_typed(stack: Operator) -> None:
    """The commands of docs/how-to/compose.md that change nothing for good."""
    table = documents.read("docs/how-to/compose.md")
    said = [text.split(";")[0] for text in re.findall(r"`(docker-compose [^`]+)`", table)]

    assert "docker-compose exec worker bucketline check" in said
    assert "media" in stack.in_a("worker", "bucketline check")
    assert 'docker-compose exec api bucketline keys add "photo site" --scope submit,read' in said
    made = stack.in_a("api", 'bucketline keys add "photo site" --scope submit,read').splitlines()[0]
    with Client(stack.api, made) as client:
        assert client.jobs().items == []
    assert "docker-compose exec -T api bucketline keys export > keys.jsonl" in said
    stack.types("docker-compose exec -T api bucketline keys export > keys.jsonl")
    assert "docker-compose exec -T api bucketline keys import < keys.jsonl" in said
    stack.types("docker-compose exec -T api bucketline keys import < keys.jsonl")
    assert (stack.checkout / "keys.jsonl").read_text().count("photo site") == 1
    assert "docker-compose up --detach --scale worker=4" in said
    stack.types("docker-compose up --detach --scale worker=4")
    eventually(lambda: len(stats(stack.api)["workers"]) == 4, "four workers are seen", 30)
    assert "docker-compose logs --follow api worker" in said
    assert stack.types("docker-compose logs api worker").count("event=working") == 4


def test_the_image_is_what_it_should_be(stack: Operator) -> None:
    """No root, nothing to write to but the volume, no compiler, all stores, no secret."""
    assert stack.in_a("worker", "id -u -n").strip() == "bucketline"
    who = ["uid=10001(bucketline)", "gid=10001(bucketline)", "groups=10001(bucketline)"]
    assert stack.in_a("worker", "id").split() == who
    stack.types("docker-compose exec -T worker sh -c 'touch /opt/x 2>/dev/null'", code=1)
    stack.types("docker-compose exec -T worker sh -c 'command -v gcc'", code=127)
    libraries = "s3fs, gcsfs, azure.storage.blob, paramiko, smbprotocol, webdav4, gunicorn_h1c"
    assert stack.in_a("worker", f"python -c 'import {libraries}; print(1)'").strip() == "1"
    held = json.loads(stack.types("docker image inspect bucketline:0.1.0"))[0]["Config"]
    assert (held["User"], held["Entrypoint"]) == ("10001:10001", ["bucketline"])
    assert not any(KEY in text or PASSWORD in text for text in held["Env"])


def test_what_is_accepted_outlives_the_containers(stack: Operator, tmp_path: Path) -> None:
    """`down` without workers, and `up` by the page's own block: the job goes on where it was."""
    stack.types("docker-compose stop worker")
    (tmp_path / "late.bin").write_bytes(b"late" * 1_000_000)
    with Client(stack.api, KEY) as client:
        job = client.submit(tmp_path / "late.bin", destinations=["media"], key="late.bin")
        assert not client.job(job.id).succeeded
    assert "`docker-compose down`" in documents.read("docs/how-to/compose.md")
    stack.types("docker-compose --profile proxy down")

    _, *lines = documents.block("docs/how-to/compose.md", "run: containers").splitlines()  # .env is there
    stack.types("\n".join(lines))

    with Client(stack.api, KEY) as client:
        eventually(lambda: _ready(client), "it is ready", 60)
        assert client.wait(job.id, timeout=100).succeeded
    assert stack.in_a("worker", "stat -c %s /var/lib/bucketline/objects/late.bin").strip() == "4000000"


def test_a_directory_of_ones_own_is_followed(stack: Operator) -> None:
    config = stack.checkout / "config"
    shutil.copytree(stack.checkout / "deploy" / "config", config)
    config.chmod(0o755)
    own = Operator(stack.checkout, {**stack.environ, "CONFIG": "./config"}, stack.api, stack.proxy)
    own.types("docker-compose up --detach --scale worker=2")
    text = (config / "plugins.toml").read_text()

    (config / "new").write_text(text + '[destinations.second]\nbackend = "local"\nroot = "/var/lib/bucketline/two"\n')
    (config / "new").chmod(0o644)
    (config / "new").replace(config / "plugins.toml")  # as editors do

    with Client(own.api, KEY) as client:
        eventually(
            lambda: _ready(client) and "second" in {one["name"] for one in client.destinations()}, "is known", 60
        )
        job = client.submit(io.BytesIO(b"abc"), name="a.txt", destinations=["second"], key="a.txt")
        assert client.wait(job.id, timeout=60).succeeded
    assert own.in_a("worker", "cat /var/lib/bucketline/two/a.txt") == "abc"


def test_an_image_of_ones_own_has_one_more_file_system(stack: Operator) -> None:
    """By the words of docs/operations.md."""
    page = documents.read("docs/operations.md")
    said = [
        "FROM bucketline:0.1.0",
        "USER 0",
        "pip --python /opt/bucketline/bin/python install",
        "USER 10001:10001",
    ]
    assert all(f"`{text}" in page for text in said)
    own = stack.checkout / "own"
    own.mkdir()
    said[2] = f"RUN {said[2]} sshfs"
    (own / "Dockerfile").write_text("\n".join(said) + "\n")

    stack.types("docker build --tag bucketline-own own")

    printed = stack.types(
        "docker run --rm --entrypoint python bucketline-own -c 'import sshfs, os; print(os.getuid())'"
    )
    assert printed.strip() == "10001"
