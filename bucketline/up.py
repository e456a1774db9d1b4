"""`bucketline up`: everything on this machine, from one command until Ctrl-C."""

import argparse
import contextlib
import errno
import fcntl
import ipaddress
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bucketline import valkey
from bucketline.cli import say, settings_for
from bucketline.exits import CONFIGURATION, Failure
from bucketline.stack import Child, Stack, trim_log
from engine.config import Settings, next_database

# How long each may take to stop. The API cuts what clients are still sending; workers finish or give back their parts.
API_STOP_SECONDS = 20.0
WORKER_STOP_SECONDS = 40.0
VALKEY_STOP_SECONDS = 30.0
SLOW_START_SECONDS = 15.0


def run(arguments: argparse.Namespace) -> int:
    given = {"processes": arguments.processes, "threads": arguments.threads, "log": form_of(arguments)}
    settings = settings_for(arguments, **given)
    refuse_open_door(arguments.host, settings)
    _entitle()
    with _only_one(settings.data):
        _try_configuration(settings)
        port = claim_port(arguments.host, arguments.port)
        stack = compose(settings, arguments.host, port, as_json=arguments.json)
        return stack.run()


def form_of(arguments: argparse.Namespace) -> str | None:
    """What `--json` says of the log: nothing where it is not given."""
    return "json" if arguments.json else None


def compose(settings: Settings, host: str, port: int, *, as_json: bool = False) -> Stack:
    """The children of this stack: Valkey unless a Redis is named, then the API and the workers."""
    logs = settings.data / "log"
    require_writable(logs)
    require_writable(settings.spool)
    environ = {**os.environ, **settings.environ()}
    if not os.environ.get("BUCKETLINE_ACCESS_LOG"):
        environ["BUCKETLINE_ACCESS_LOG"] = "off"  # log/api.log grows on the spool's disk for as long as this runs
    groups: list[tuple[list[Child], Callable[[], bool]]] = []

    def child(name: str, file: str, command: list[str], stop_seconds: float, stops: int) -> Child:
        trim_log(logs / file)
        return Child(name, command, logs / file, stop_seconds, stops)

    if not settings.redis_url:
        directory = settings.data / "valkey"
        require_writable(directory)
        command = ["exec", *valkey.prepare(directory)]
        groups.append(
            ([child("Valkey", "valkey.log", command, VALKEY_STOP_SECONDS, 3)], lambda: valkey.answers(directory))
        )
        environ["BUCKETLINE_REDIS_URL"] = valkey.url(directory)
        environ["BUCKETLINE_BROKER_URL"] = settings.broker_url or next_database(valkey.url(directory))
    api = child("API", "api.log", ["api", "--host", host, "--port", str(port)], API_STOP_SECONDS, 1)
    workers = [
        child(f"worker {number}", f"worker-{number}.log", ["worker", "--processes", "1"], WORKER_STOP_SECONDS, 2)
        for number in range(1, settings.processes + 1)
    ]
    groups.append(([api, *workers], Readiness(host, port)))
    return Stack(groups, environ, say, lambda: _announce(host, port, settings, as_json))


class Readiness:
    """Whether /readyz says yes. Tells the user once what it waits for, when that takes long."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = reachable(host), port
        self._asked_at = time.monotonic()
        self._told = False

    def __call__(self) -> bool:
        status, failing = self._ask()
        if status != 200 and not self._told and time.monotonic() - self._asked_at > SLOW_START_SECONDS:
            self._told = True
            say(f"still waiting for {failing or 'the API to answer'}")
        return status == 200

    def _ask(self) -> tuple[int, str]:
        """By hand: http.client brings OpenSSL and email along, a fifth of what `up` holds as long as it runs."""
        request = f"GET /readyz HTTP/1.1\r\nHost: {_authority(self._host, self._port)}\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection((self._host, self._port), timeout=3) as connection:
                connection.sendall(request.encode())
                with connection.makefile("rb") as answer:
                    status = answer.readline().split()
                    _, _, body = answer.read().partition(b"\r\n\r\n")
        except OSError:
            return 0, ""
        if len(status) < 2 or not status[1].isdigit():
            return 0, ""
        return int(status[1]), _failing_checks(body)


def _authority(host: str, port: int) -> str:
    address = host.strip("[]")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _failing_checks(body: bytes) -> str:
    try:
        checks = json.loads(body)["checks"]
        return "; ".join(f"{name}: {check['detail']}" for name, check in checks.items() if not check["ok"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def refuse_open_door(host: str, settings: Settings) -> None:
    """Without a key, only this machine may talk to the API."""
    if settings.api_key is None and not is_loopback(host):
        raise Failure(
            CONFIGURATION,
            f"--host {host} opens the API to other machines, which needs BUCKETLINE_API_KEY",
            "set it to a long random text, as `openssl rand -hex 32` makes; clients send it as a bearer token",
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(host: str) -> str:
    """The address at which this machine itself reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host.strip("[]"), host.strip("[]"))


def claim_port(host: str, port: int) -> int:
    """The port, or a free one for 0; Failure(78) when the address cannot be listened on."""
    address = host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            return int(probe.getsockname()[1])
        except OSError as error:
            busy = error.errno == errno.EADDRINUSE
            hint = "--port 0 takes a free port" if busy else "--host takes an address of this machine"
            raise Failure(CONFIGURATION, f"cannot listen on {host}:{port}: {error.strerror or error}", hint) from None


def _announce(host: str, port: int, settings: Settings, as_json: bool) -> None:
    url = f"http://{_authority(host, port)}"
    told = json.dumps({"url": url, "data": str(settings.data)}) if as_json else f"Bucketline is ready at {url}"
    with contextlib.suppress(BrokenPipeError):
        print(told, flush=True)
    say(f"data and logs in {settings.data}; Ctrl-C stops everything")


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Two stacks over one data directory would be two writers of one Valkey file."""
    require_writable(data)
    with (data / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise Failure(CONFIGURATION, f"`bucketline up` already runs over {data} (process {owner})") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def require_writable(directory: Path) -> None:
    """Make the directory where it is missing; Failure(78) when it cannot be made or written in."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(CONFIGURATION, f"cannot make the directory {directory}: {error.strerror}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Failure(CONFIGURATION, f"cannot write in {directory}: Permission denied (user {os.getuid()})")


def _try_configuration(settings: Settings) -> None:
    """Refuse a faulty plugins.toml before anything is started.

    In a forked process: what reading it needs in memory would stay as long as the stack runs.
    """
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            from bucketline.configuration import configuration_for, require_tracing

            configuration_for(settings)
            require_tracing(settings)
            status = 0
        except Failure as failure:
            say(*failure.lines)
            status = failure.code
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status != 0:
        raise Failure(status)


def _entitle() -> None:
    from setproctitle import setproctitle

    setproctitle("bucketline up")
