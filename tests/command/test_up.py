"""`bucketline up`, as its users run it: ready, working, mended when something dies, and gone without a trace."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from bucketline.client import Client
from tests.command.conftest import Outcome
from tests.servers import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@dataclass
class Up:
    """One running `bucketline up`, in a directory of its own."""

    directory: Path
    process: "subprocess.Popen[str]"
    url: str = ""
    environ: dict[str, str] = field(default_factory=dict)

    def family(self) -> dict[int, str]:
        """Every process that came from it, with its title; also when they have lost their parents."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, ahead = {}, [self.process.pid]
        while ahead:
            pid = ahead.pop()
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
            ahead += children.get(pid, [])
        return found

    def pid_of(self, title: str) -> int:
        return next(pid for pid, words in sorted(self.family().items()) if title in words)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=5) as answer:
                return bool(json.load(answer)["ready"])
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*words: str, directory: Path = tmp_path, **environ: str) -> Up:
        # Beside a user's own packages of our names, in every one of these tests.
        for name in ("api", "engine", "backends"):
            (directory / name).mkdir(parents=True, exist_ok=True)
            (directory / name / "__init__.py").write_text("raise SystemExit('imported the wrong package')\n")
        process = subprocess.Popen(
            [sys.executable, "-m", "bucketline", "up", "--port", "0", *words],
            cwd=directory,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Up(directory, process))
        assert process.stdout is not None
        line = process.stdout.readline()
        if "--json" in words and line:
            started[-1].url = json.loads(line)["url"]
        elif line.startswith("Bucketline is ready at http://127.0.0.1:"):
            started[-1].url = line.split()[-1]
        else:
            process.kill()
            pytest.fail(f"{line!r} {process.communicate()[1]}")
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def test_with_json_the_banner_and_every_line_of_the_logs_are_objects(up: Callable[..., Up], tmp_path: Path) -> None:
    one = up("--json", BUCKETLINE_ACCESS_LOG="json")
    assert one.ready()
    assert one.stop()[0] == 0
    for name, event in (("api", "listening"), ("worker-1", "working")):
        lines = [json.loads(line) for line in (tmp_path / f"var/log/{name}.log").read_text().splitlines()]
        (said,) = [line for line in lines if line["event"] == event]
        assert name != "api" or said["http_parser"] == ("python" if find_spec("gunicorn_h1c") is None else "c")
        assert all(line["time"] for line in lines)


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in pids)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_file_put_is_stored_and_the_stack_stops_without_a_trace(
    up: Callable[..., Up], process: Callable[..., Outcome], tmp_path: Path
) -> None:
    stack = up()
    (tmp_path / "a.bin").write_bytes(os.urandom(100_000))
    done = process("put", "a.bin", "--key", "kept/a.bin", "--json", "--url", stack.url)
    assert done.code == 0, done.err
    assert json.loads(done.out)["state"] == "succeeded"
    assert (tmp_path / "var/objects/kept/a.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()

    family = stack.family()
    titles = {words for words in family.values() if "valkey-server" not in words}
    assert titles == {"bucketline up", "bucketline api", "bucketline worker"}
    code, _ = stack.stop()
    assert code == 0
    assert gone(list(family))
    assert sorted(path.name for path in (tmp_path / "var").iterdir() if path.is_dir()) == [
        "log", "objects", "spool", "valkey",
    ]  # fmt: skip


def test_nothing_is_left_when_up_itself_is_killed(up: Callable[..., Up]) -> None:
    stack = up()
    family = list(stack.family())
    assert len(family) >= 5
    stack.process.kill()
    eventually(lambda: gone(family), "every process is gone", 40)


@pytest.mark.parametrize("title", ["bucketline worker", "bucketline api", "valkey-server"])
def test_what_dies_is_started_again_and_the_stack_works_on(up: Callable[..., Up], title: str, tmp_path: Path) -> None:
    stack = up()
    # The API is two processes, the second a child of the first: both go, and two come.
    victims = {pid for pid, words in stack.family().items() if title in words}
    os.kill(min(victims), signal.SIGKILL)
    eventually(lambda: gone(list(victims)), f"{title} is gone")
    eventually(lambda: any(title in words for words in stack.family().values()), f"{title} is back")
    eventually(stack.ready, "the stack is ready again", 40)
    with Client(stack.url) as client:
        (tmp_path / "b").write_bytes(b"after the fall")
        assert client.wait(client.submit(tmp_path / "b", key="b").id, timeout=60).succeeded
    assert stack.stop(signal.SIGINT)[0] == 0


def test_jobs_are_still_known_after_a_restart(up: Callable[..., Up], tmp_path: Path) -> None:
    stack = up()
    (tmp_path / "c").write_bytes(b"kept")
    with Client(stack.url) as client:
        job = client.wait(client.submit(tmp_path / "c").id, timeout=60)
    assert stack.stop()[0] == 0
    with Client(up().url) as client:
        assert client.job(job.id).state == "succeeded"


def test_a_redis_of_the_users_own_is_used_instead(up: Callable[..., Up], redis_url: str, tmp_path: Path) -> None:
    stack = up(BUCKETLINE_REDIS_URL=redis_url)
    assert not any("valkey-server" in words for words in stack.family().values())
    assert not (tmp_path / "var/valkey").exists()
    assert stack.stop()[0] == 0


def test_a_data_directory_with_a_very_long_path_works_too(up: Callable[..., Up], tmp_path: Path) -> None:
    stack = up("--data", str(tmp_path / ("deep/" * 30)))
    assert stack.stop()[0] == 0


def test_several_worker_processes(up: Callable[..., Up]) -> None:
    stack = up("--processes", "2", "--threads", "1")
    assert list(stack.family().values()).count("bucketline worker") == 2
    assert stack.stop()[0] == 0


def test_two_stacks_over_one_directory_are_refused(up: Callable[..., Up], process: Callable[..., Outcome]) -> None:
    stack = up()
    done = process("up", "--port", "0")
    assert done.code == 78
    assert f"already runs over {stack.directory}/var (process {stack.process.pid})" in done.err


def test_a_port_that_is_taken_is_said_before_anything_starts(process: Callable[..., Outcome], tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = process("up", "--port", other.getsockname()[1])
    assert done.code == 78
    assert "Address already in use" in done.err
    assert "--port 0" in done.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('default = "media"\n[destinations.media]\nbackend = "locl"\nroot = "x"\n', "did you mean local?"),
        ('default = "media"\n[destinations.media]\nbackend = "local"\nrot = "x"\n', "root"),
        ('default = "media"\n[destinations.media]\nbackend = "local"\nroot = "${NOWHERE_SET}"\n', "NOWHERE_SET"),
        ('default = "media\n', "plugins.toml"),
    ],
)
@pytest.mark.parametrize("command", ["up", "check"])
def test_a_faulty_plugins_toml_is_exit_code_78_with_the_place_and_the_nearest_word(
    process: Callable[..., Outcome], tmp_path: Path, command: str, text: str, expected: str
) -> None:
    (tmp_path / "plugins.toml").write_text(text)
    done = process(command, *(["--port", "0"] if command == "up" else []))
    assert done.code == 78
    assert expected in done.err.replace("'", "")
    assert "Traceback" not in done.err


def test_a_configuration_that_is_not_there(process: Callable[..., Outcome]) -> None:
    done = process("up", "--port", "0", "--config", "elsewhere.toml")
    assert done.code == 78
    assert "elsewhere.toml" in done.err


def test_a_directory_that_cannot_be_made(process: Callable[..., Outcome]) -> None:
    done = process("up", "--port", "0", "--data", "/proc/nowhere")
    assert done.code == 78
    assert "cannot make the directory /proc/nowhere" in done.err


def test_a_data_directory_that_is_a_file(process: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    done = process("up", "--port", "0")
    assert done.code == 78
    assert "var" in done.err


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled before", "compiled at each start"])
def test_the_whole_idle_stack_is_small(up: Callable[..., Up], tmp_path: Path, compiled: bool) -> None:
    # Where nothing may be written beside the sources, what the compiler leaves behind was a fifth of an idle service.
    keep = {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled"), "PYTHONDONTWRITEBYTECODE": "" if compiled else "1"}
    if compiled:
        up(**keep).stop()
    stack = up(**keep)
    shares: dict[str, int] = {}
    for pid, words in stack.family().items():
        shares[f"{words[:40]} ({pid})"] = _pss(pid)
    assert sum(shares.values()) < 200 << 20, shares
    libraries = Path(f"/proc/{stack.pid_of('bucketline api')}/maps").read_text()
    assert "aiohttp" not in libraries
    assert "botocore" not in libraries


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
