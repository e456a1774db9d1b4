"""A Bucketline that a test has started for itself, with what a test wants to know of it and have done to it."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from bucketline.client import Client, ClientError
from bucketline.results import Job

STOP_SECONDS = 60.0
UNFINISHED = ".bucketline-part"  # how the names of unfinished uploads in a `local` destination end
WEBHOOK_SECRET = "STACK_WEBHOOK_SECRET"  # the variable of its processes that holds it
SETTINGS = {
    "BUCKETLINE_API_PROCESSES": "1",
    "BUCKETLINE_PROCESSES": "1",
    "BUCKETLINE_THREADS": "4",
    "BUCKETLINE_LEASE_SECONDS": "5",
    "BUCKETLINE_RETRY_BASE_SECONDS": "0.1",
    "BUCKETLINE_DURABILITY": "cache",
}
"""Small and quick: what failed is tried again at once, and nothing has to survive a power cut."""


@dataclass
class RunningStack:
    """A Bucketline at `url`. Everything that it writes is in `directory`, which goes when it ends."""

    url: str
    directory: Path
    destinations: tuple[str, ...]
    webhook_secret: str
    """With which its webhooks are signed."""
    _orders: int = field(default=0, repr=False)

    def client(self) -> Client:
        """A new client, to be closed."""
        return Client(self.url)

    def wait(self, timeout: float = 60.0) -> list[Job]:
        """Wait until every job has ended; returns all jobs that are known, newest first.

        Raises TimeoutError with the names and states of those that have not.
        """
        deadline = time.monotonic() + timeout
        with self.client() as client:
            while unfinished := [job for job in self._jobs(client) if not job.ended]:
                if time.monotonic() > deadline:
                    told = ", ".join(f"{job.name} ({job.id}) is {job.state}" for job in unfinished)
                    raise TimeoutError(f"after {timeout:g} s: {told}; logs are in {self.directory / 'var' / 'log'}")
                time.sleep(0.02)
            return self._jobs(client)

    def objects(self, destination: str) -> dict[str, bytes]:
        """What has arrived there, by key. An object is there whole or not at all."""
        root = self._root(destination)
        files = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.endswith(UNFINISHED))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    def fail_next(
        self,
        destination: str,
        *,
        parts: Iterable[int] | None = None,
        times: int = 1,
        error: str = "unavailable",
        retry_after: float | None = None,
        call: Literal["begin", "put_part", "complete"] = "put_part",
    ) -> None:
        """Have the next attempts there fail: of each of these parts, `times` times; without `parts`, of whichever come.

        `error` is the code of a provider's error. `unavailable`, `throttled`, `timed_out` and their like are tried
        again; `access_denied` and its like end the transfer. A small file is part 1. `call` is for trouble before and
        after the parts.
        """
        self._root(destination)
        for part in [None] if parts is None else parts:
            for _ in range(times):
                self._order(destination, {"call": call, "part": part, "error": error, "retry_after": retry_after})

    def clear(self) -> None:
        """Cancel what has not ended, empty the destinations, forget jobs and failures that nobody has met."""
        with self.client() as client:
            for job in self._jobs(client):
                if not job.ended:
                    with contextlib.suppress(ClientError):  # it has ended by now
                        client.cancel(job.id)
            for job in self.wait():
                client.forget(job.id)
        for folder in (*map(self._root, self.destinations), *map(self._ordered, self.destinations)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def _jobs(self, client: Client) -> list[Job]:
        page = client.jobs(limit=100)
        found = page.items
        while page.next_cursor:
            page = client.jobs(limit=100, cursor=page.next_cursor)
            found += page.items
        return found

    def _root(self, destination: str) -> Path:
        if destination not in self.destinations:
            raise ValueError(f"there is no destination {destination!r}; there are {', '.join(self.destinations)}")
        return self.directory / "objects" / destination

    def _ordered(self, destination: str) -> Path:
        return self.directory / "orders" / destination

    def _order(self, destination: str, order: dict[str, Any]) -> None:
        """A file for `backends.ordered_faults`; it is there whole or not at all."""
        self._orders += 1
        path = self._ordered(destination) / f"{self._orders:06}.json"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(order))
        path.with_suffix(".new").rename(path)


@contextlib.contextmanager
def running_stack(
    destinations: Sequence[str] = ("media",), settings: Mapping[str, str] | None = None
) -> Iterator[RunningStack]:
    """Start a stack whose destinations are directories, the first of them the default, and end it with all it made."""
    _check_names(destinations)
    directory = Path(tempfile.mkdtemp(prefix="bucketline-test-"))
    try:
        for name in destinations:
            (directory / "objects" / name).mkdir(parents=True)
            (directory / "orders" / name).mkdir(parents=True)
        (directory / "plugins.toml").write_text(_configuration(directory, destinations))
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        with _up(directory, {WEBHOOK_SECRET: secret, **(settings or {})}) as url:
            yield RunningStack(url, directory, tuple(destinations), secret)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _check_names(destinations: Sequence[str]) -> None:
    wrong = [name for name in destinations if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)]
    if wrong or not destinations or isinstance(destinations, str):
        raise ValueError(f"destinations are a list of names in small letters, as ['media'], not {destinations!r}")


def _configuration(directory: Path, destinations: Sequence[str]) -> str:
    """plugins.toml; JSON's strings are TOML's."""

    def text(value: object) -> str:
        return msgspec.json.encode(str(value)).decode()

    tables = [f"default = {text(destinations[0])}\n", f'[webhooks]\nsecret = "${{{WEBHOOK_SECRET}}}"\n']
    for name in destinations:
        root, orders = text(directory / "objects" / name), text(directory / "orders" / name)
        tables.append(f'[destinations.{name}]\nbackend = "local"\nroot = {root}\nfaults = {{ orders = {orders} }}\n')
    return "\n".join(tables)


@contextlib.contextmanager
def _up(directory: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """`bucketline up`, which ends when this process does, however that happens. Yields its URL."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BUCKETLINE_", "AWS_"))}
    words = ["up", "--port", "0", "--config", str(directory / "plugins.toml"), "--data", str(directory / "var")]
    with (directory / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bucketline.child", str(os.getpid()), *words],
            cwd=directory,
            env={**environ, **SETTINGS, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout:
        try:
            line = process.stdout.readline().decode()
            if " at http" not in line:
                raise RuntimeError(f"Bucketline did not start:\n{(directory / 'up.log').read_text()}")
            yield line.rpartition(" at ")[2].strip()
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # Two: it ends at once, as for an impatient user. All that it could still save is removed in the next moment.
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its children end with it
        process.wait()
