"""What users do wrong, command by command: a sentence that says what to do, the documented exit code, no traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bucketline.cli import COMMANDS
from tests.command.conftest import Outcome
from tests.command.fake import FakeServer, job_json, problem_json
from tests.servers import eventually

ROOT = Path(__file__).parents[2]

Command = Callable[..., Outcome]
AWAY = "http://127.0.0.1:9"
REDIS_AWAY = "redis://127.0.0.1:9/0"
CLIENTS = (
    ["put", "a"], ["put", "a", "--resumable", "--patience", "0.1"], ["copy", "media:a"], ["jobs"], ["jobs", "ID"],
    ["jobs", "--watch"], ["jobs", "ID", "--watch"], ["jobs", "cancel", "ID"],
    ["jobs", "add-destination", "ID", "media"],
)  # fmt: skip
READ_THE_FILE = (["check"], ["config"], ["gc"], ["api"], ["worker"])
ASK_REDIS = (["keys", "list"], ["keys", "add", "x"], ["keys", "revoke", "0123456789ab"], ["keys", "export"], ["gc"])


def fine(done: Outcome, code: int, expected: str = "") -> None:
    """As a mistake has to be told: short, with the code, and with something to do."""
    assert done.code == code, done
    assert "Traceback" not in done.out + done.err
    assert done.out == ""
    assert 0 < len(done.err.splitlines()) <= 6, done.err
    assert "bucketline: " in done.err
    assert expected in done.err


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a").write_text("hi")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "broken.toml").write_text("x = [")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "fault.toml").write_text('[destinations.media]\nbackend = "lokal"\n')
    (tmp_path / "good.toml").write_text('[destinations.media]\nbackend = "local"\nroot = "objects"\n')
    return tmp_path


# -- files and words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["put", "nowhere"], "nowhere: No such file or directory"),
        (["put", "folder"], "is a directory; name the files in it"),
        (["put", ""], "'': No such file"),
        (["put", "loop"], "symbolic links"),
        (["put", "a/b"], "Not a directory"),
        (["put"], "required: FILE"),
        (["put", "--tpo", "x"], "did you mean --to?"),
        (["put", "a", "--destination", "x"], "did you mean --to?"),
        (["put", "a", "--label", "x"], "takes K=V"),
        (["put", "a", "--retain-seconds", "long"], "is no whole number"),
        (["put", "a", "--patience", "nan"], "is no number of seconds"),
        (["put", "a", "--resume", "x"], "is no upload"),
        (["copy", "x"], "is no source"),
        (["copy", "http://["], "is no address"),
        (["copy", "http://"], "is no address"),
        (["copy", "media:a", "--credentials", "x"], "--credentials is for URLs"),
        (["jobs", "cancle", "ID"], "did you mean cancel?"),
        (["jobs", "retr"], "did you mean retry?"),
        (["jobs", "cancel"], "takes the ids of jobs"),
        (["jobs", "--limit", "0"], "at least 1"),
        (["jobs", "--limit", "many"], "is no whole number"),
        (["jobs", "add-destination", "ID"], "names of destinations"),
        (["keys", "lst"], "required: ACTION, NAME"),
        (["keys", "ad", "x"], "did you mean add?"),
        (["keys", "revoke"], "takes the ids of keys"),
        (["keys", "add", "x", "--jobs", "many"], "is no whole number"),
        (["audit", "--limit", "0"], "at least 1"),
        (["gc", "--older-than", "soon"], "takes a time such as 24h"),
        (["check", "media"], "There is no destination or route 'media'"),
        (["check", "locla"], "Did you mean 'local'?"),
        (["--json", "check"], "stands behind the command: bucketline check --json"),
        (["cehck"], "did you mean check?"),
        (["completion", "bsh"], "did you mean bash?"),
        (["init"], "there is no terminal to ask on"),
        (["up", "--port", "x"], "is not a port"),
    ],
)
def test_a_wrong_word_or_file(command: Command, files: Path, words: list[str], expected: str) -> None:
    if words == ["keys", "lst"]:
        expected = "did you mean list?"
    fine(command(*words), 2, expected)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_is_not_ours(command: Command, files: Path) -> None:
    (files / "a").chmod(0)
    fine(command("put", "a"), 2, "Permission denied")


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"up", "api", "worker"}))
def test_every_command_that_answers_can_answer_in_json(process: Command, name: str) -> None:
    assert "--json " in process(name, "--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_there_is_not(command: Command, name: str) -> None:
    fine(command(name, "--hepl"), 2, "did you mean --help?")


@pytest.mark.parametrize("words", [["put", "a", "--key", "\udcff"], ["put", "a\udcff"], ["copy", "media:\udcff"]])
def test_bytes_that_are_no_text(command: Command, server: FakeServer, files: Path, words: list[str]) -> None:
    (files / "a\udcff").write_text("hi")
    done = command(*words)
    assert done.code == 2
    assert "is not UTF-8" in done.err
    assert "Traceback" not in done.err


# -- servers --------------------------------------------------------------------------------------------------------


class Page(BaseHTTPRequestHandler):
    """A web server that knows nothing of us."""

    content = b"<html>Welcome</html>"
    kind = "text/html"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    do_POST = do_HEAD = do_PATCH = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Json(Page):
    content = b'{"hello": 1}'
    kind = "application/json"


class Garbage(Page):
    def handle(self) -> None:
        self.connection.recv(100)
        self.connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


@pytest.fixture(params=[Page, Json, Garbage])
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize("words", CLIENTS)
def test_a_server_that_is_away(command: Command, files: Path, words: list[str]) -> None:
    fine(command(*words, "--url", AWAY), 69, "`bucketline up` starts a server")


@pytest.mark.parametrize("words", CLIENTS)
def test_a_server_that_is_no_bucketline(command: Command, files: Path, stranger: str, words: list[str]) -> None:
    done = command(*words, "--url", stranger)
    fine(done, 1 if "answered 200" in done.err else 69, stranger)


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://[::1", "http://host:99999", "http://host:x"])
def test_an_address_that_is_none(command: Command, files: Path, url: str) -> None:
    for words in CLIENTS:
        fine(command(*words, "--url", url), 78, "--url takes the address of a Bucketline")


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_wrong(command: Command, server: FakeServer, files: Path, status: int) -> None:
    server.refusals.append(problem_json(status, "unauthorized", "This key is not known here."))
    fine(command("put", "a"), 78, "BUCKETLINE_TOKEN holds the key that is sent")


def test_a_destination_that_is_not_there(command: Command, server: FakeServer, files: Path) -> None:
    server.refusals.append(problem_json(422, "unknown_destination", "There is none 'medai'. Did you mean 'media'?"))
    fine(command("put", "a", "--to", "medai"), 2, "Did you mean 'media'?")


# -- settings, plugins.toml and Redis -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", READ_THE_FILE)
@pytest.mark.parametrize(
    "name", ["broken.toml", "binary.toml", "empty.toml", "fault.toml", "nowhere.toml", "folder", "loop"]
)
def test_a_file_that_is_no_configuration(
    command: Command, files: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str
) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", REDIS_AWAY)
    done = command(*words, "--config", name)
    fine(done, 78, "plugins.toml cannot be used")
    assert name in done.err


@pytest.mark.parametrize("words", ASK_REDIS)
def test_a_redis_that_is_away(command: Command, files: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", REDIS_AWAY)
    done = command(*words, "--config", "good.toml")
    fine(done, 69, "start it, or correct BUCKETLINE_REDIS_URL")
    assert "Redis does not answer: ConnectionError: " in done.err


@pytest.mark.parametrize("url", ["nonsense", "http://x", "redis://h:99999/0", "redis://[::1", "redis://h/first"])
def test_a_redis_that_is_no_address(command: Command, files: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", url)
    for words in (*ASK_REDIS, ["config"], ["up"], ["jobs"]):
        fine(command(*words), 78, "BUCKETLINE_REDIS_URL ")


@pytest.mark.parametrize("words", [["up"], ["api"], ["worker"], ["recover"]])
def test_a_directory_that_cannot_be_made(
    command: Command, files: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", REDIS_AWAY)
    done = command(*words, "--data", "a")
    fine(done, 78, "cannot make the directory")


def test_a_port_that_is_taken(command: Command, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", REDIS_AWAY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        fine(command("api", "--port", taken.getsockname()[1]), 78, str(taken.getsockname()[1]))


@pytest.mark.parametrize("text", ["nonsense\n", '{"id": 1}\n', '{"id": "x", "hash": "y"}\n'])
def test_keys_that_nobody_exported(process: Command, text: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bucketline", "keys", "import"], input=text, cwd=tmp_path, text=True,
        env={**os.environ, "BUCKETLINE_REDIS_URL": REDIS_AWAY}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    fine(Outcome(done.returncode, done.stdout, done.stderr), 2, "not what `bucketline keys export` wrote")


# -- the terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["config"], ["config", "--json"], ["completion", "bash"], ["init", "--yes", "--json"]]
)
def test_a_disk_that_is_full(words: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bucketline", *words], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "bucketline: No space left on device"


def interrupted(words: list[str], ready: Callable[[], bool], cwd: Path, **environ: str) -> Outcome:
    """Ctrl-C once the command is at it."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bucketline", *words], cwd=cwd, env={**os.environ, **environ},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        eventually(ready, f"{words} is at it")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    return Outcome(child.returncode, out, err)


@pytest.fixture
def silent() -> Iterator[tuple[str, Callable[[], bool]]]:
    """The address of a server that takes connections and never answers, and whether somebody came."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept = []

        def take() -> None:
            kept.append(listening.accept())
            came.set()

        threading.Thread(target=take, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", came.is_set
        for connection, _ in kept:
            connection.close()


LOST = """
import os, signal, sys, time, types, weakref
from bucketline import cli
PLACE = "<frozen importlib._bootstrap>"
place = {"os": os, "signal": signal}
exec(compile("def cb(gone): os.kill(os.getpid(), signal.SIGINT); [0 for _ in range(1000)]", PLACE, "exec"), place)
class Lock: pass
def run(arguments):
    lock = Lock()
    watch = weakref.ref(lock, place["cb"])
    del lock
    time.sleep(50)
sys.modules["waits"] = types.SimpleNamespace(run=run)
cli.COMMANDS["config"] = ("waits", *cli.COMMANDS["config"][1:])
sys.exit(cli.main(["config"]))
"""


def test_ctrl_c_in_the_moment_in_which_python_loses_it(tmp_path: Path) -> None:
    """What a callback of a weak reference raises goes nowhere, and each import ends with one."""
    done = subprocess.run(
        [sys.executable, "-c", LOST], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("words", CLIENTS)
def test_ctrl_c_while_the_server_is_silent(
    files: Path, silent: tuple[str, Callable[[], bool]], words: list[str]
) -> None:
    at, ready = silent
    done = interrupted(words, ready, files, BUCKETLINE_URL=f"http://{at}")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_whoever_calls_the_command_hears_ctrl_c_as_before(command: Callable[..., Outcome]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    assert command("config").code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before


def test_ctrl_c_while_a_store_is_silent(files: Path, silent: tuple[str, Callable[[], bool]]) -> None:
    at, ready = silent
    table = f'[destinations.far]\nbackend = "s3"\nbucket = "acme"\nendpoint_url = "http://{at}"\n'
    (files / "plugins.toml").write_text(table)
    done = interrupted(["check"], ready, files, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_ctrl_c_while_redis_is_silent(files: Path, silent: tuple[str, Callable[[], bool]]) -> None:
    at, ready = silent
    done = interrupted(["keys", "list"], ready, files, BUCKETLINE_REDIS_URL=f"redis://{at}/0")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_ctrl_c_while_jobs_are_watched(files: Path, server: FakeServer) -> None:
    server.jobs["1"] = job_json("1", 10, state="running")
    server.scripts += [[("1-0", "snapshot", server.jobs["1"])]] * 100
    done = interrupted(["jobs", "1", "--watch"], lambda: len(server.streams) > 1, files)
    assert done.code == 130
    assert "Traceback" not in done.err
