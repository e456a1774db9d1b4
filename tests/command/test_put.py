"""`bucketline put`: the bytes go out as they are, both halves of the way are told, the exit code says how it ended."""

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketline.bodies import READ_SIZE
from tests.command.conftest import Outcome
from tests.command.fake import FakeServer, problem_json, transfer_json
from tests.servers import eventually

Command = Callable[..., Outcome]


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    file = tmp_path / "holiday.mp4"
    file.write_bytes(os.urandom(3 * READ_SIZE + 17))
    return file


def test_a_file_arrives_as_it_is_and_exit_code_0_says_so(command: Command, server: FakeServer, movie: Path) -> None:
    done = command("put", movie)
    assert (done.code, done.out) == (0, "")
    (upload,) = server.uploads
    assert upload.body == movie.read_bytes()
    assert upload.headers["Content-Length"] == str(movie.stat().st_size)
    assert upload.options == {"name": "holiday.mp4", "content_type": "video/mp4"}


def test_options_reach_the_server_in_any_script(command: Command, server: FakeServer, movie: Path) -> None:
    done = command(
        "put", movie, "--to", "archive", "--to", "media,cold", "--key", "fêtes/été 100 %.mp4", "--name", "日本.mp4",
        "--content-type", "video/x-own", "--metadata", "who=Ana, Ñuño=x", "--label", "tür=1", "--on-conflict", "fail",
    )  # fmt: skip
    assert done.code == 0
    (upload,) = server.uploads
    assert upload.options == {
        "destinations": "archive,media,cold",
        "key": "fêtes/été 100 %.mp4",
        "name": "日本.mp4",
        "content_type": "video/x-own",
        "on_conflict": "fail",
    }
    assert upload.headers["Bucketline-Metadata"] == "who=Ana%2C%20%C3%91u%C3%B1o%3Dx"
    assert upload.headers["Bucketline-Labels"] == "t%C3%BCr=1"


def test_who_is_told_of_the_end(command: Command, server: FakeServer, movie: Path) -> None:
    url = "https://a.test/x?y=1"
    assert command("put", movie, "--webhook", url, "--on-success", "thumbnail", "--on-failure", "apologize").code == 0
    told = {name: server.uploads[0].options[name] for name in ("webhook", "on_success", "on_failure")}
    assert told == {"webhook": url, "on_success": "thumbnail", "on_failure": "apologize"}


def test_a_key_for_sending_again(command: Command, server: FakeServer, movie: Path) -> None:
    assert command("put", movie, "--idempotency-key", 'a "b" \\').code == 0
    assert command("put", movie).code == 0
    assert [upload.headers.get("Idempotency-Key") for upload in server.uploads] == ['"a \\"b\\" \\\\"', None]
    assert command("put", movie, movie, "--idempotency-key", "k").code == 2
    refused = command("put", movie, "--idempotency-key", "é")
    assert refused.code == 1 and "printable ASCII" in refused.err
    assert len(server.uploads) == 2


def test_both_halves_are_told_on_stderr(command: Command, server: FakeServer, movie: Path) -> None:
    done = command("put", movie)
    assert "holiday.mp4: sending 768.0 KiB" in done.err
    assert "holiday.mp4: sent 768.0 KiB" in done.err


def test_where_it_is_stored_is_told_for_each_destination(command: Command, server: FakeServer, movie: Path) -> None:
    server.outcomes = [
        {
            "state": "succeeded",
            "transfers": [transfer_json("archive", state="succeeded"), transfer_json("media", state="succeeded")],
        }
    ]
    done = command("put", movie)
    assert "holiday.mp4 → s3://acme-archive/holiday.mp4 (768.0 KiB, 4 parts)" in done.err
    assert "holiday.mp4 → s3://acme-media/holiday.mp4" in done.err


def test_a_job_that_fails_is_exit_code_1_with_the_reason_and_the_next_step(
    command: Command, server: FakeServer, movie: Path
) -> None:
    error = {"code": "access_denied", "title": "The provider refused", "detail": "PutObject is not allowed on acme"}
    server.outcomes = [{"state": "failed", "transfers": [transfer_json(state="failed", error=error)]}]
    done = command("put", movie)
    assert done.code == 1
    assert "holiday.mp4 → archive: failed: PutObject is not allowed on acme" in done.err
    assert "`bucketline jobs retry 01940c9e-" in done.err


def test_partial_success_is_not_success(command: Command, server: FakeServer, movie: Path) -> None:
    server.outcomes = [{"state": "partially_succeeded"}]
    assert command("put", movie).code == 1


def test_json_is_one_final_job_per_line_and_nothing_else_on_stdout(
    command: Command, server: FakeServer, movie: Path, tmp_path: Path
) -> None:
    (tmp_path / "second.bin").write_bytes(b"2")
    done = command("put", "--json", movie, "second.bin")
    jobs = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert {(job["name"], job["state"]) for job in jobs} == {("holiday.mp4", "succeeded"), ("second.bin", "succeeded")}


def test_detached_ends_once_the_server_has_the_file(command: Command, server: FakeServer, movie: Path) -> None:
    server.outcomes = [{"state": "queued"}]
    done = command("put", "--detach", movie)
    assert (done.code, done.out.strip()) == (0, next(iter(server.jobs)))
    assert server.streams == []


def test_an_empty_file_is_a_file(command: Command, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert command("put", "empty").code == 0
    assert (server.uploads[0].body, server.uploads[0].headers["Content-Length"]) == (b"", "0")


def test_standard_input_is_sent_without_its_length(
    process: Callable[..., Outcome], server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.write(write, b"from a pipe")
    os.close(write)
    saved = os.dup(0)
    os.dup2(read, 0)
    try:
        done = process("put", "-", "--name", "piped.txt")
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(read)
    assert done.code == 0, done.err
    assert server.uploads[0].body == b"from a pipe"
    assert server.uploads[0].options["name"] == "piped.txt"
    assert server.uploads[0].headers["Transfer-Encoding"] == "chunked"


def test_a_large_file_refused_before_its_body_is_read_shows_the_reason(
    command: Command, server: FakeServer, tmp_path: Path
) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    server.refusals = [problem_json(507, "spool_full", "the spool has 3 MiB left", retryable=True)]
    done = command("put", big)
    assert done.code == 1
    assert "the spool has 3 MiB left" in done.err


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, "unauthorized", 78),
        (403, "forbidden", 78),
        (409, "conflict", 1),
        (413, "too_large", 2),
        (422, "invalid", 2),
        (422, "checksum_mismatch", 1),
        (429, "quota", 1),
        (500, "internal", 1),
        (503, "ledger_unavailable", 69),
        (507, "spool_full", 1),
    ],
)
def test_the_exit_code_says_whose_turn_it_is(
    command: Command, server: FakeServer, movie: Path, status: int, code: str, exit_code: int
) -> None:
    server.refusals = [problem_json(status, code, "because of this")]
    done = command("put", movie)
    assert done.code == exit_code
    assert "because of this" in done.err
    assert "`bucketline up` starts a server" not in done.err, "it is there: it answers"
    assert ("/readyz" in done.err) == (status == 503)
    assert "Traceback" not in done.err


def test_a_refused_option_is_named(command: Command, server: FakeServer, movie: Path) -> None:
    pointed = [{"pointer": "/destinations/0", "detail": "no destination 'archiv'; did you mean archive?"}]
    server.refusals = [problem_json(422, "invalid", "The request is not valid", errors=pointed)]
    done = command("put", movie, "--to", "archiv")
    assert done.code == 2
    assert "destinations.0: no destination 'archiv'; did you mean archive?" in done.err


def test_one_refused_file_does_not_stop_the_next(
    command: Command, server: FakeServer, movie: Path, tmp_path: Path
) -> None:
    (tmp_path / "b").write_bytes(b"b")
    server.refusals = [problem_json(422, "invalid", "not this one")]
    assert command("put", movie, "b").code == 2
    assert [upload.body for upload in server.uploads] == [b"b"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.bin"], "nowhere.bin: No such file or directory"),
        (["."], ". is a directory"),
        (["a", "a", "--key", "k"], "--key and --name are for one file"),
        (["a", "--metadata", "novalue"], "--metadata takes K=V"),
        (["a", "--jsn"], "did you mean --json?"),
        ([], "required: FILE"),
        (["a", "a", "--checksum", "sha256:0"], "--checksum is for one file"),
        (["-", "--resumable"], "standard input cannot be read again after a break"),
        (["/dev/null", "--resumable"], "/dev/null cannot be read again after a break"),
        (["a", "--resumable", "--idempotency-key", "k"], "--idempotency-key is for files that are sent in one request"),
        (["a", "--resume", "http://127.0.0.1:8000/v1/jobs/1"], "is no upload"),
        (["a", "a", "--resume", "/v1/tus/1"], "--resume goes on with one file"),
        (["a", "--resume", "/v1/tus/1", "--to", "archive"], "has its options already: leave out --to"),
        (["a", "--resume", "/v1/tus/1", "--resumable"], "not allowed with"),
        (["a", "--patience", "long"], "is no number of seconds"),
    ],
)
def test_a_users_mistake_is_exit_code_2_before_anything_is_sent(
    command: Command, server: FakeServer, tmp_path: Path, words: list[str], expected: str
) -> None:
    (tmp_path / "a").touch()
    done = command("put", *words)
    assert done.code == 2
    assert expected in done.err
    assert len(done.err.splitlines()) <= 2
    assert server.uploads == []


@pytest.mark.parametrize("how", [["--resumable"], ["--resume", "http://127.0.0.1:9/v1/tus/1", "--patience", "0"]])
def test_an_upload_to_a_server_that_is_not_there_too(
    command: Command, server: FakeServer, movie: Path, how: list[str]
) -> None:
    done = command("put", movie, *how, *(["--url", "http://127.0.0.1:9"] if "--resumable" in how else []))
    assert done.code == 69
    assert "http://127.0.0.1:9 does not answer" in done.err
    assert ("bucketline put --resume http://127.0.0.1:9/v1/tus/1" in done.err) == ("--resume" in how)


def test_a_server_that_is_not_there_is_exit_code_69(command: Command, movie: Path) -> None:
    done = command("put", movie, "--url", "http://127.0.0.1:9")
    assert done.code == 69
    assert "http://127.0.0.1:9 does not answer" in done.err
    assert "bucketline up" in done.err


def test_the_token_is_sent_and_never_shown(
    command: Command, server: FakeServer, movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKETLINE_TOKEN", "hush")
    done = command("put", movie)
    assert server.uploads[0].headers["Authorization"] == "Bearer hush"
    assert "hush" not in done.err + done.out


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_ctrl_c_leaves_the_job_alone_and_says_how_to_follow_it(
    server: FakeServer, movie: Path, number: signal.Signals, ends: int
) -> None:
    server.outcomes = [{"state": "running"}]
    server.scripts = [[("1-0", "snapshot", {"id": "1", "state": "running", "transfers": []})] for _ in range(1000)]
    put = subprocess.Popen([sys.executable, "-m", "bucketline", "put", str(movie)], stderr=subprocess.PIPE, text=True)
    eventually(lambda: len(server.streams) >= 1, "the job is being watched")
    put.send_signal(number)
    _, err = put.communicate(timeout=20)
    assert put.returncode == ends
    assert f"job {next(iter(server.jobs))} goes on without us" in err
    assert "Traceback" not in err


def test_on_a_terminal_there_are_bars_for_both_halves(server: FakeServer, movie: Path) -> None:
    main_end, terminal = pty.openpty()
    with os.fdopen(main_end, "rb", buffering=0) as screen:
        put = subprocess.Popen(
            [sys.executable, "-m", "bucketline", "put", str(movie)],
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "FORCE_COLOR": "1"},
        )
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # how a pseudo-terminal says that the other end is closed
            while block := screen.read(65536):
                shown += block
        assert put.wait(20) == 0
    text = shown.decode()
    assert "  → Bucketline" in text
    assert "  → archive" in text
    assert "━" in text


def test_bars_on_a_terminal_show_both_halves() -> None:
    from rich.console import Console

    from bucketline.bars import Bars
    from bucketline.results import Job
    from tests.command.fake import job_json

    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=160))
    job = Job.read(job_json("1", 100, transfers=[transfer_json("archive", sent=50), transfer_json("[x]", sent=0)]))
    bars.sending("a[b].bin", 100)
    bars.sent("a[b].bin", 100)
    bars.accepted("a[b].bin", job)
    bars.close()  # what is on the screen now
    bars.ended("a[b].bin", Job.read(job_json("1", 100, state="succeeded")))
    bars.close()
    for shown in ("a[b].bin", "  → Bucketline", "  → archive", "  → [x]", "50 %"):
        assert shown in screen.getvalue()


@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_two_files_of_the_same_name_are_shown(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first one arrives while the second one is being sent."""
    from rich.console import Console

    from bucketline.bars import Bars
    from bucketline.report import Lines
    from bucketline.results import Job
    from tests.command.fake import job_json

    report = Bars(Console(force_terminal=True, width=160, stderr=True)) if kind == "bars" else Lines()
    job = Job.read(job_json("1", 100, state="succeeded", transfers=[transfer_json(state="succeeded")]))
    report.sending("a.bin", 100)
    report.accepted("a.bin", job)
    report.sending("a.bin", 100)
    report.ended("a.bin", job)
    report.sent("a.bin", 50)
    report.accepted("a.bin", job)
    report.ended("a.bin", job)
    report.close()
    report.close()
    assert capsys.readouterr().err.count("a.bin → s3://acme-archive/holiday.mp4 (100 B") == 2


@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_a_job_that_was_not_sent_from_here_is_shown_too(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from bucketline.bars import Bars
    from bucketline.report import Lines
    from bucketline.results import Job
    from tests.command.fake import job_json

    report = Bars(Console(force_terminal=True, width=160, stderr=True)) if kind == "bars" else Lines()
    unknown = Job.read({**job_json("1", 0, transfers=[transfer_json("archive")]), "size": None})
    report.accepted("a.bin", unknown)
    report.moved("a.bin", 100, [Job.read(job_json("1", 100, transfers=[transfer_json(sent=50)])).transfers[0]])
    ended = Job.read(job_json("1", 100, state="succeeded", transfers=[transfer_json(state="succeeded")]))
    report.ended("a.bin", ended)
    report.close()
    assert "a.bin → s3://acme-archive/holiday.mp4 (100 B" in capsys.readouterr().err
