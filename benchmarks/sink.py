"""The store that every sender meets: nginx with Lua, which answers the S3 calls and throws the bytes away.

It stands for a machine elsewhere, so it should take no time of the cores that are measured: the kernel drops large
bodies uncopied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

from benchmarks import wire

PACKAGES = ("nginx-light", "libnginx-mod-http-lua")
MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/share/nginx/modules"))
BUCKET = "bench"

CONFIGURATION = """
daemon off;
{user}
worker_processes 2;
pid {root}/nginx.pid;
error_log {root}/error.log warn;
{modules}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  keepalive_requests 1000000;
  keepalive_timeout 300s;
  lua_shared_dict sink 256m;
  lua_socket_buffer_size 4k;
  server {{
    listen 127.0.0.1:{port};
    merge_slashes off;
    location / {{ content_by_lua_file {script}; }}
  }}
}}
"""


class SinkMissing(Exception):
    """nginx with Lua is not installed, and could not be."""


def _module(name: str) -> Path | None:
    return next((folder / name for folder in MODULES if (folder / name).exists()), None)


def installed() -> str | None:
    """The path of nginx, if it and its Lua are there."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return found if found and _module("ngx_http_lua_module.so") else None


@contextmanager
def _services_stay_down() -> Iterator[None]:
    """Debian starts a service as soon as it is installed; its policy file forbids that for the moment."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def install() -> str:
    """The path of nginx, installed from Debian's archive first when it is missing. Raises SinkMissing."""
    found = installed()
    if found:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SinkMissing(f"install the sink first: apt-get install {' '.join(PACKAGES)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _services_stay_down():
        for command in (["update", "-qq"], ["install", "-y", "-qq", *PACKAGES]):
            subprocess.run(["apt-get", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    found = installed()
    if not found:
        raise SinkMissing(f"nginx has no Lua after installing {' '.join(PACKAGES)}")
    return found


@dataclass(frozen=True)
class Arrival:
    """One call at the sink: when its first byte came (epoch seconds), what it was, to which key, how many bytes."""

    at: float
    operation: str
    key: str
    size: int


class Sink:
    """A running sink on a free loopback port; a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = wire.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Sink:
        self.root.mkdir(parents=True, exist_ok=True)
        modules = [_module("ndk_http_module.so"), _module("ngx_http_lua_module.so")]
        text = CONFIGURATION.format(
            root=self.root,
            port=self.port,
            user="user root;" if os.geteuid() == 0 else "",
            modules="\n".join(f"load_module {module};" for module in modules if module),
            script=Path(__file__).with_name("sink.lua"),
        )
        configuration = self.root / "nginx.conf"
        configuration.write_text(text)
        self._process = subprocess.Popen(
            [install(), "-p", str(self.root), "-e", str(self.root / "error.log"), "-c", str(configuration)]
        )
        wire.wait_for(self.port, "/_sink/stats", process=self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)

    def reset(self) -> None:
        """Forget all objects, uploads and arrivals."""
        wire.get(self.port, "/_sink/reset")

    def stored(self) -> int:
        """Objects stored since the last reset."""
        return int(wire.get(self.port, "/_sink/stats").split()[0])

    def arrivals(self) -> list[Arrival]:
        """The calls since the last reset or the last look, in order of their end."""
        found = []
        for line in filter(None, wire.get(self.port, "/_sink/log").splitlines()):
            at, operation, path, size = line.split(" ")
            found.append(Arrival(float(at), operation, unquote(path).removeprefix(f"/{BUCKET}/"), int(size)))
        return found

    def wait_quiet(self, seconds: float) -> None:
        """Return once nothing has arrived for a second. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        self.arrivals()
        while True:
            time.sleep(1.0)
            if not self.arrivals():
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the sink is still busy after {seconds:.0f} s")

    def wait_stored(self, count: int, seconds: float) -> None:
        """Return once `count` objects are stored. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (stored := self.stored()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stored} of {count} objects were stored within {seconds:.0f} s")
            time.sleep(0.02)
