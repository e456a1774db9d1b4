"""The containers, without an engine for them: the Compose file checked as data, its services run natively."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from bucketline import valkey
from bucketline.cli import parse
from bucketline.client import Client
from engine import config as engine_config
from tests import documents
from tests.servers import eventually, free_port, program, serving

ROOT = Path(__file__).parents[2]
PASSWORD, KEY = "compose-password", "compose-key"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has after `cp .env.example .env` and filling in the two secrets."""
    directory = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "docker-compose.yml", directory)
    shutil.copytree(ROOT / "deploy", directory / "deploy")
    text = (ROOT / ".env.example").read_text()
    text = text.replace("REDIS_PASSWORD=\n", f"REDIS_PASSWORD={PASSWORD}\n")
    (directory / ".env").write_text(text.replace("BUCKETLINE_API_KEY=\n", f"BUCKETLINE_API_KEY={KEY}\n"))
    return directory


@pytest.fixture(scope="module")
def services(checkout: Path) -> dict[str, Any]:
    """The services as docker-compose itself understands them, with every ${VARIABLE} filled in."""
    command = [program("docker-compose"), "--profile", "proxy", "config"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_it_is_a_compose_file() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("secret", ["REDIS_PASSWORD", "BUCKETLINE_API_KEY"])
def test_without_a_secret_nothing_starts(checkout: Path, tmp_path: Path, secret: str) -> None:
    shutil.copytree(checkout, tmp_path / "copy")
    env = tmp_path / "copy" / ".env"
    env.write_text(re.sub(rf"^{secret}=.*$", f"{secret}=", env.read_text(), flags=re.MULTILINE))
    command = [program("docker-compose"), "config"]
    done = subprocess.run(command, cwd=env.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "set it in .env" in done.stderr


def test_redis_keeps_what_it_is_told_behind_a_password(services: dict[str, Any]) -> None:
    words = services["redis"]["command"]
    settings = dict(zip(words[1::2], words[2::2], strict=True))
    assert settings == {
        "--requirepass": PASSWORD,
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
    }
    assert "healthcheck" in services["redis"]
    assert "ports" not in services["redis"]


def test_api_and_workers_share_one_spool_and_nothing_else_is_writable(services: dict[str, Any]) -> None:
    for name in ("api", "worker"):
        service = services[name]
        assert "spool:/var/lib/bucketline:rw" in service["volumes"]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["environment"]["BUCKETLINE_NODE"] == "shared"
        assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
    # A fixed name or a published port would be in the way of `--scale worker=4`.
    assert not {"container_name", "ports"} & set(services["worker"])


def test_the_api_is_published_on_this_machine_only(services: dict[str, Any]) -> None:
    assert services["api"]["ports"] == ["127.0.0.1:8000:8000/tcp"]


def test_what_the_services_name_is_there(checkout: Path, services: dict[str, Any]) -> None:
    """Files that are mounted, the image's words, and every variable, those of .env.example too."""
    for service in services.values():
        mounted = [volume.split(":")[0] for volume in service.get("volumes", ())]
        assert all(Path(source).exists() for source in mounted if source.startswith("/")), mounted
    assert (ROOT / "Dockerfile").read_text().rstrip().splitlines()[-2] == 'ENTRYPOINT ["bucketline"]'
    for name in ("api", "worker"):
        assert parse([str(word) for word in services[name]["command"]]).command == name
        own = {variable for variable in services[name]["environment"] if variable.startswith("BUCKETLINE_")}
        assert own <= set(engine_config._VARIABLES)
    used = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    offered = re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(used) <= set(offered)
    assert {name for name in offered if name.startswith("BUCKETLINE_")} <= set(engine_config._VARIABLES)


def test_a_configuration_of_ones_own_and_tls_as_the_how_to_says(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout, tmp_path / "copy")
    override = documents.block("docs/how-to/compose.md", "override")
    (tmp_path / "copy/docker-compose.override.yml").write_text(override)
    command = [program("docker-compose"), "--profile", "proxy", "config"]
    environ = {**os.environ, "CONFIG": "./config"}
    done = subprocess.run(command, cwd=tmp_path / "copy", env=environ, stdout=subprocess.PIPE, timeout=60, check=True)
    found = yaml.safe_load(done.stdout)["services"]
    assert {port["target"] for port in found["proxy"]["ports"]} == {8080, 443}
    for name in ("api", "worker"):
        assert f"{tmp_path}/copy/config:/etc/bucketline:ro" in found[name]["volumes"]
    listens = re.search(r"# (listen 443 ssl;)\s+# (ssl_\S+).*\s+# (ssl_\S+)", (ROOT / "deploy/nginx.conf").read_text())
    assert listens is not None, "the three lines"


def test_the_image_runs_without_root_and_with_the_tested_versions() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER 10001:10001" in final
    assert any("--require-hashes" in line for line in lines)
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", "\n".join(lines), flags=re.MULTILINE):
        assert all((ROOT / source).exists() for source in copied.split())


def test_the_image_gets_a_part_of_what_was_tested() -> None:
    """What it needs in any case, and for each store what that needs; as `deploy/pins.py` would write it now."""
    wanted = runpy.run_path(str(ROOT / "deploy" / "pins.py"))["files"]()
    assert {path.name: path.read_text() for path in (ROOT / "deploy" / "requirements").iterdir()} == wanted

    def pins(text: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", text, flags=re.MULTILINE))

    def names(file: str) -> set[str]:
        return {pin.partition("==")[0] for pin in pins(wanted[file])}

    assert all(pins(text) < pins((ROOT / "constraints.txt").read_text()) for text in wanted.values())
    assert {"falcon", "dramatiq"} <= names("base.txt")
    assert not {"pytest", "moto", "django", "mypy"} & {name for file in wanted for name in names(file)}
    brought = {"s3": "s3fs", "gcs": "gcsfs", "azure": "azure-identity", "sftp": "paramiko", "smb": "smbprotocol"}
    assert all(library in names(f"{store}.txt") for store, library in brought.items())


def test_the_image_holds_every_store_unless_told_otherwise(checkout: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = project["optional-dependencies"].keys() - {"test", "lint", "bench", "docs", "dev"}
    found = re.search(r'^ARG EXTRAS="(.*)"$', (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert found is not None
    held = {path.stem for path in (ROOT / "deploy/requirements").iterdir()} - {"base"}
    assert {*found[1].split(), "otel", "fast"} == every == held
    for asked, built in ((None, found[1]), ("s3 sftp", "s3 sftp"), ("", "")):
        environ = {**os.environ, **({} if asked is None else {"EXTRAS": asked})}
        command = [program("docker-compose"), "config"]
        done = subprocess.run(command, cwd=checkout, env=environ, stdout=subprocess.PIPE, timeout=60, check=True)
        assert yaml.safe_load(done.stdout)["services"]["worker"]["build"]["args"] == {"EXTRAS": built}


def test_the_image_installs_what_it_is_told() -> None:
    """The very words of the Dockerfile, in a shell; a stand-in for pip says what it was asked for."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    step = re.search(r"^RUN (set -- .*)$", text, flags=re.MULTILINE)
    assert step is not None
    script = step[1].replace("/opt/bucketline/bin/pip", "echo")
    asked = subprocess.run(
        ["sh", "-c", script], env={"EXTRAS": "s3 sftp"}, capture_output=True, text=True, timeout=20, check=True
    )
    files = " ".join(f"-r deploy/requirements/{name}.txt" for name in ("base", "fast", "s3", "sftp"))
    assert asked.stdout.split() == f"install --require-hashes --no-deps {files}".split()


# -- run, natively --------------------------------------------------------------------------------------------------


class Native(NamedTuple):
    """The services as they run here."""

    url: str
    api_port: int
    redis_port: int


@pytest.fixture(scope="module")
def native(services: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    """Every service's own command with its own environment; only addresses and paths are this machine's."""
    here = tmp_path_factory.mktemp("containers")
    redis_port, api_port, proxy_port = free_port(), free_port(), free_port()
    (here / "data").mkdir()
    config = here / "plugins.toml"
    config.write_text(
        (ROOT / "deploy/config/plugins.toml").read_text().replace("/var/lib/bucketline", str(here / "data"))
    )

    def here_for(text: str) -> str:
        places = {
            "@redis:6379": f"@127.0.0.1:{redis_port}",
            "/var/lib/bucketline": str(here / "data"),
            "/etc/bucketline/plugins.toml": str(config),
            "0.0.0.0": "127.0.0.1",
        }
        for there, mine in places.items():
            text = text.replace(there, mine)
        return text

    def ours(name: str, port: int) -> tuple[list[str], dict[str, str]]:
        command = [here_for(str(word)) for word in services[name]["command"]]
        command = [str(port) if word == "8000" else word for word in command]
        environ = {key: here_for(str(value)) for key, value in services[name]["environment"].items()}
        return [sys.executable, "-m", "bucketline", *command], environ

    with ExitStack() as stack:
        redis = [str(valkey.program()), *services["redis"]["command"][1:]]
        redis += ["--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(here)]
        stack.enter_context(serving(redis, redis_port, here / "redis.log"))
        command, environ = ours("worker", 0)
        stack.enter_context(serving(command, redis_port, here / "worker-1.log", environ))
        stack.enter_context(serving(command, redis_port, here / "worker-2.log", environ))
        command, environ = ours("api", api_port)
        stack.enter_context(serving(command, api_port, here / "api.log", environ))
        text = (ROOT / "deploy/nginx.conf").read_text().replace("api:8000", f"127.0.0.1:{api_port}")
        text = text.replace("listen 8080", f"listen 127.0.0.1:{proxy_port}").replace("/dev/std", f"{here}/nginx-std")
        (here / "nginx.conf").write_text(text)
        nginx = [program("nginx"), "-p", str(here), "-e", str(here / "nginx-stderr"), "-c", str(here / "nginx.conf")]
        nginx += ["-g", f"daemon off; pid {here}/nginx.pid;"]
        stack.enter_context(serving(nginx, proxy_port, here / "nginx.log"))
        url = f"http://127.0.0.1:{proxy_port}"
        eventually(lambda: _status(url + "/readyz") == 200, "the stack is ready", 60)
        yield Native(url, api_port, redis_port)


@pytest.fixture
def proxy_url(native: Native) -> str:
    return native.url


def _healthy(services: dict[str, Any], name: str, environ: dict[str, str], **instead: str) -> bool:
    """What the health check of a service says; what it calls otherwise here is in `instead`."""
    how, *words = services[name]["healthcheck"]["test"]
    words = [sys.executable if word == "python" else word for word in words]
    for there, here in instead.items():
        words = [word.replace(there, here) for word in words]
    command = ["sh", "-c", *words] if how == "CMD-SHELL" else words
    # Compose writes $$ for a dollar sign.
    command = [word.replace("$$", "$") for word in command]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, timeout=30).returncode == 0


def test_the_api_is_healthy_while_it_answers(services: dict[str, Any], native: Native) -> None:
    assert _healthy(services, "api", {}, **{"127.0.0.1:8000": f"127.0.0.1:{native.api_port}"})
    assert not _healthy(services, "api", {}, **{"127.0.0.1:8000": f"127.0.0.1:{free_port()}"})


CLIENT = """import os, sys, redis
client = redis.Redis(port=int(sys.argv[1]), password=os.environ["REDISCLI_AUTH"], decode_responses=True)
print({True: "PONG"}.get(client.execute_command(*sys.argv[2:])))
"""
"""What stands in for the image's valkey-cli: the same variable, the same words, the same answer."""


def test_redis_is_healthy_while_it_answers_with_its_password(services: dict[str, Any], native: Native) -> None:
    client = {"valkey-cli": f"{sys.executable} -c '{CLIENT}' {native.redis_port}"}
    environ = services["redis"]["environment"]

    assert _healthy(services, "redis", environ, **client)
    assert not _healthy(services, "redis", {"REDISCLI_AUTH": "another"}, **client)


def test_the_page_begins_as_the_file_wants_it(checkout: Path, tmp_path: Path) -> None:
    """Its first two commands, with the secrets filled in between them; the others need an engine."""
    block, *_ = documents.blocks("docs/how-to/compose.md")
    copy, check, *_ = block.text.splitlines()
    shutil.copy(ROOT / ".env.example", tmp_path)
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)

    def types(line: str) -> int:
        return subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=60).returncode

    assert types(copy) == 0
    assert types(check) != 0
    shutil.copy(checkout / ".env", tmp_path / ".env")
    assert types(check) == 0


def _status(url: str, **headers: str) -> int:
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as refused:
        refused.close()
        return refused.code


def test_a_file_goes_through_the_proxy_to_a_worker(proxy_url: str, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(os.urandom(40 << 20))
    with Client(proxy_url, KEY) as client:
        # Larger than nginx's own default of 1 MB, and the events come while it works.
        job = client.submit(tmp_path / "big.bin", key="through/big.bin")
        kinds: list[str] = []
        job = client.wait(job.id, timeout=60, on_event=lambda event: kinds.append(event.type))
    assert job.succeeded
    assert kinds[0] == "snapshot"
    assert kinds[-1] == "end"


def test_the_proxy_asks_for_the_key_as_the_api_does(proxy_url: str) -> None:
    assert _status(f"{proxy_url}/v1/jobs") == 401
    assert _status(f"{proxy_url}/v1/jobs", Authorization=f"Bearer {KEY}") == 200


def test_a_refusal_through_the_proxy_comes_before_the_body(proxy_url: str) -> None:
    """100 GB are announced and none is sent: an answer means that neither nginx nor the API waits for them."""
    import socket

    host, _, port = proxy_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize("pause", [0, 0.001, 0.002])
def test_nobody_hides_a_request_in_the_body_of_another(proxy_url: str, pause: float) -> None:
    """The proxy keeps its connections to the API: what is hidden there would swallow the next request on one."""
    import socket

    host, _, port = proxy_url.removeprefix("http://").partition(":")
    hidden = (
        f"PUT /v1/objects/media/stolen HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Length: 300\r\n\r\n"
    ).encode()
    for _ in range(15):
        with socket.create_connection((host, int(port)), timeout=20) as attacker:
            attacker.sendall(b"HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(hidden))
            time.sleep(pause)
            attacker.sendall(hidden)
            assert attacker.recv(65536).startswith(b"HTTP/1.1 ")
        assert _status(f"{proxy_url}/v1/jobs?limit=1", Authorization=f"Bearer {KEY}") == 200
    with Client(proxy_url, KEY) as client:
        assert client.jobs(q="stolen").items == []


def test_problems_come_through_as_they_are(proxy_url: str) -> None:
    request = Request(f"{proxy_url}/v1/jobs/nothing", headers={"Authorization": f"Bearer {KEY}"})
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=10)
    with refused.value as answer:
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert json.load(answer)["code"] == "not_found"
