"""Bucketline as it is really run: Valkey, API and workers as processes of their own, each of which a test may end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from engine.pack_records import Pack
from tests.e2e.wire import Wire
from tests.servers import Valkey, eventually

Json = dict[str, Any]
MakeStack = Callable[..., "Stack"]

PROJECT = Path(__file__).parents[2]
OVER = ("succeeded", "partially_succeeded", "failed", "cancelled")
PATIENCE = 60.0  # for anything that happens by itself; on a busy machine too
SETTINGS = {
    "BUCKETLINE_LEASE_SECONDS": "2",
    "BUCKETLINE_RETRY_BASE_SECONDS": "0.1",
    "BUCKETLINE_THREADS": "2",
    "BUCKETLINE_API_PROCESSES": "1",
    "BUCKETLINE_NODE": "here",
}


OURS = [sys.executable, "-P", "-m", "bucketline"]


class Process:
    """One process in a session of its own, which ends with this one; what it says goes to `log`."""

    def __init__(self, name: str, words: Iterable[object], directory: Path, environ: dict[str, str]) -> None:
        self.name, self.log = name, directory / f"{name}.log"
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                # `exec`, so that a worker has the priority that it has in a service of its own, not the one beside an
                # API: on a machine that is busy with tests it would wait for minutes.
                [sys.executable, "-P", "-m", "bucketline.child", str(os.getpid()), "exec", *OURS, *map(str, words)],
                cwd=directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def send(self, number: int) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """kill -9 of the process and of its own children (the API has one)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def ask_to_leave(self, how: int = signal.SIGTERM) -> None:
        self.send(how)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has left."""
        return self._popen.wait(seconds)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def match(self, pattern: str) -> str:
        """The first group of the first place in the log that matches; waited for."""
        eventually(
            lambda: not self.running or re.search(pattern, self.said()) is not None,
            f"{self.name} says {pattern}",
            PATIENCE,
        )
        found = re.search(pattern, self.said())
        assert found is not None, f"{self.name} ended without saying {pattern}:\n{self.said()}"
        return found[1]


class Talk:
    """A client of one API, as thin as can be."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE)

    def submit(self, content: bytes | Iterable[bytes], **options: str) -> Json:
        """Send a raw body, and have it accepted."""
        answer = self.try_to_submit(content, **options)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def try_to_submit(self, content: bytes | Iterable[bytes], **options: str) -> httpx.Response:
        headers = {"content-type": "application/octet-stream"}
        return self.http.post("/v1/jobs", params=options, content=content, headers=headers)

    def job(self, job: str) -> Json:
        answer = self.http.get(f"/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def state(self, job: str) -> str:
        """The job's state, or '' when the API does not know it, or cannot tell."""
        try:
            answer = self.http.get(f"/v1/jobs/{job}")
        except httpx.TransportError:
            return ""
        return str(answer.json()["state"]) if answer.status_code == 200 else ""

    def parts(self, job: str) -> dict[int, Json]:
        answer = self.http.get(f"/v1/jobs/{job}/parts")
        assert answer.status_code == 200, answer.text
        return {row["number"]: row for row in answer.json()["items"]}

    def tell(self, job: str, command: str) -> Json:
        """cancel, pause, resume or retry; it has to be taken."""
        answer = self.http.post(f"/v1/jobs/{job}/{command}")
        assert answer.status_code in (200, 202), answer.text
        return dict(answer.json())

    def until(self, job: str, *states: str) -> Json:
        """The job, once it is in one of these states. Fails at once when it is over in another one."""
        eventually(lambda: self.state(job) in (*states, *OVER), f"job {job} is {' or '.join(states)}", PATIENCE)
        found = self.job(job)
        assert found["state"] in states, found
        return found


class Stack:
    """One Bucketline in a directory of its own. Ended with everything it started; then nothing of it may be left."""

    def __init__(self, plugins: str, **environ: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bl-"))
        self.config = self.directory / "plugins.toml"
        self.config.touch(0o600)  # it holds secrets
        self.config.write_text(plugins)
        # In memory where there is some: a disk that others keep busy makes Valkey wait for its append-only file.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.valkey = Valkey(Path(tempfile.mkdtemp(prefix="bl-", dir=memory)))
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BUCKETLINE_", "AWS_"))}
        self.environ = (
            own | SETTINGS | {"PYTHONPATH": str(PROJECT), "BUCKETLINE_DATA": str(self.directory / "data")} | environ
        )
        self.processes: list[Process] = []
        self.talks: list[Talk] = []
        self._wires: list[Wire] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for talk in self.talks:
            talk.http.close()
        for process in self.processes:
            process.kill()
        for wire in self._wires:
            wire.close()
        self.valkey.kill()
        for process in self.processes:
            print(f"--- {process.name}\n{process.said()[-4000:]}")  # shown by pytest when the test failed
        left = self._leave_nothing_behind()
        for directory in (self.directory, self.valkey.directory):
            shutil.rmtree(directory, ignore_errors=True)
        assert not left, f"still running: {left}"

    def _leave_nothing_behind(self) -> list[str]:
        """Whose parent was killed, leaves by itself. Who does not, is killed, and told about."""

        def running() -> dict[int, str]:
            return processes_of(self.directory) | processes_of(self.valkey.directory)

        deadline = time.monotonic() + PATIENCE
        while (left := running()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(left.values())

    def run(self, name: str, *words: object, **environ: str) -> Process:
        """Start a command of ours."""
        process = Process(name, words, self.directory, self.environ | environ)
        self.processes.append(process)
        return process

    def start(self, workers: int = 1) -> Self:
        """Valkey, the API, and so many workers. The workers need not be working yet when this returns."""
        self.valkey.start()
        self.environ["BUCKETLINE_REDIS_URL"] = self.valkey.url
        for _ in range(workers):
            self.worker()
        self.api()
        return self

    def api(self, **environ: str) -> Process:
        process = self.run(f"api-{len(self.processes)}", "api", "--port", 0, **environ)
        self.talks.append(Talk(process.match(r"listens at (http://\S+)")))
        return process

    @property
    def talk(self) -> Talk:
        return self.talks[-1]

    def worker(self, **environ: str) -> Process:
        return self.run(f"worker-{len(self.processes)}", "worker", **environ)

    def wire(self) -> Wire:
        """A wire to the Valkey, for one process that is started with its `environ`."""
        self._wires.append(Wire(self.valkey, self.valkey.directory / f"wire-{len(self._wires)}"))
        return self._wires[-1]

    # ------------------------------------------------------------------ behind the API's back

    @property
    def spool(self) -> Path:
        return self.directory / "data" / "spool"

    def spooled(self) -> list[str]:
        """Every file in the spool but the tombstones, and each job that is needed in a pack as `ID.packed`."""
        files = [path.name for folder in ("incoming", "jobs") for path in (self.spool / folder).glob("*")]
        return sorted([*files, *(f"{job}.packed" for path in self.packs() for job in _packed_in(path))])

    def packs(self) -> list[Path]:
        return sorted((self.spool / "packs").glob("*"))

    def feed(self, job: str) -> list[tuple[str, Json]]:
        """What the ledger's feed of all jobs says of this one."""
        with self.valkey.client() as client:
            rows = [
                (fields[b"k"].decode(), msgspec.json.decode(fields[b"d"]))
                for _, fields in client.xrange("bucketline:feed")
            ]
        return [(kind, data) for kind, data in rows if data["id"] == job]

    def ends(self, job: str) -> list[str]:
        """The states with which this job ended, as the disk remembers them."""
        lines = [line for file in (self.spool / "ended").glob("*") for line in file.read_text().splitlines()]
        return [end["job"].get("state", "forgotten") for end in map(msgspec.json.decode, lines) if end["id"] == job]

    def keys(self, pattern: str) -> list[str]:
        with self.valkey.client() as client:
            return sorted(key.decode() for key in client.keys(f"bucketline:{pattern}"))

    def sweeps(self, count: int = 2) -> None:
        """Wait until the workers have looked after everything so many times."""
        for _ in range(count):
            seen = self._last_sweep()
            eventually(lambda seen=seen: self._last_sweep() > seen, "the sweeper goes round", PATIENCE)  # type: ignore[misc]

    def _last_sweep(self) -> float:
        with self.valkey.client() as client:
            return max((score for _, score in client.zrange("bucketline:workers", 0, -1, withscores=True)), default=0.0)

    def check_end(self, job: str, state: str = "succeeded") -> Json:
        """The job ended so, once; nothing of it is left to do; and its file is gone unless it may be retried."""
        found = self.talk.until(job, state)
        feed = self.feed(job)
        assert [kind for kind, _ in feed].count("end") == 1, feed
        states = [data["state"] for _, data in feed]
        assert states[states.index(state) :] == [state] * (len(states) - states.index(state)), states
        with self.valkey.client() as client:
            ends = [fields for _, fields in client.xrange(f"bucketline:job:{job}:events") if fields[b"k"] == b"end"]
        assert len(ends) == 1
        kept = state in ("failed", "partially_succeeded")
        mine = lambda: [name for name in self.spooled() if name.startswith(job)]  # noqa: E731
        if not kept:
            eventually(lambda: not mine(), f"the file of {job} is released", PATIENCE)
        eventually(lambda: state in self.ends(job), "the end is on the disk", PATIENCE)
        work = [
            key
            for kind in ("receipts", "leases", "fences", "due", "tries", "errors")
            for key in self.keys(f"t:{job}/*:{kind}")
        ]
        assert not work, work
        return found


@contextlib.contextmanager
def frozen(process: Process) -> Iterator[None]:
    """A machine that stands still, and goes on later as if nothing had happened."""
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


def processes_of(directory: Path) -> dict[int, str]:
    """Every process that works in the directory or below it, with its title: what a stack has started, however."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(directory):
                title = (entry / "cmdline").read_bytes().replace(bytes(1), b" ").decode(errors="replace").strip()
                if title:  # a zombie has none
                    found[int(entry.name)] = title
    return found


def while_true(condition: Callable[[], bool], until: Callable[[], bool], what: str) -> None:
    """Holds `condition` while waiting for `until`."""

    def look() -> bool:
        assert condition(), what
        return until()

    eventually(look, what, PATIENCE)


def _packed_in(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return [record.job_id for record in Pack(path, file.fileno()).news()]
    except FileNotFoundError:
        return []
