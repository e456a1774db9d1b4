"""The whole surface behind a real gunicorn, over sockets: framing, refusals, slow and leaving clients, stopping."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from api.server import run
from engine.config import Settings
from tests.api.served import ROOT, Served, read_all, read_until
from tests.servers import eventually, needs

HOST = b"Host: localhost\r\n"
PUT = b"PUT /v1/objects/media/k HTTP/1.1\r\n" + HOST
MIB = 1 << 20
BEYOND = 0
"""A length that 64 bits cannot hold: nonsense to the parser in C, and just too large to the one in Python."""


@pytest.fixture(scope="module", params=["c", "python"])
def parser(request: pytest.FixtureRequest) -> str:
    """The parser in C is an extra. Both have to do everything."""
    needs(request.param == "python" or find_spec("gunicorn_h1c") is not None, "gunicorn_h1c, which takes a C compiler")
    return str(request.param)


@pytest.fixture(scope="module")
def served(parser: str) -> Iterator[Served]:
    pace = {"idle_seconds": 0.3, "look_every_seconds": 0.05}
    server = Served({"max_size": 200 * MIB, "pace": pace, "parser": parser}).start()
    yield server
    server.close()


@pytest.fixture
def start(tmp_path: Path, parser: str) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*, ready: bool = True, **options: Any) -> Served:
        started.append(Served({**options, "parser": parser}, tmp_path))
        return started[-1].start(ready=ready)

    yield start
    for server in started:
        server.close()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def nothing_kept(server: Served, before: Any) -> bool:
    now = server.look()
    new = now["receptions"][len(before["receptions"]) :]
    return bool(now["jobs"] == before["jobs"] and all(ended == "discarded" for _, ended in new))


def test_a_file_is_taken_and_the_connection_stays(served: Served) -> None:
    with served.connect() as connection:
        for _ in range(2):
            connection.sendall(PUT + b"Content-Length: 3\r\n\r\nabc")
            answer = connection.recv(65536)
            assert status(answer) == 202
            assert body(answer)["size"] == 3


def test_the_raw_path_reaches_the_key(served: Served) -> None:
    answer = served.ask(
        b"PUT /v1/objects/media/a//b%2F%3f%23?name=n HTTP/1.1\r\n"
        + HOST
        + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    )

    assert body(answer)["key"] == "a//b/?#"


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"".join(b"x-%d: 1\r\n" % index for index in range(101)) + b"\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"x: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"x: a\r\n folded\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"x: a\0b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\nHost: localhost\n\n", 400),
        (b"\nGET /livez HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"x: a\nContent-Length: 3\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (PUT + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
        (PUT + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (PUT + b"Content-Length: +5\r\n\r\nabcde", 400),
        (PUT + b"Content-Length: -5\r\n\r\nabcde", 400),
        (PUT + b"Content-Length: 9223372036854775808\r\n\r\nabc", BEYOND),
        (PUT + b"Content-Length: 18446744073709551619\r\n\r\nabc", BEYOND),
        (PUT + b"Content-Length: 900000000\r\n\r\nabc", 413),
        (PUT + b"Transfer-Encoding: gzip\r\n\r\nabc", 501),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 400),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", 400),
        (PUT + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415),
        (PUT + b"Expect: nonsense\r\nContent-Length: 3\r\n\r\n", 417),
        (b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
    ],
)
def test_bad_framing_is_refused_and_the_connection_closed(
    served: Served, parser: str, request_head: bytes, expected: int
) -> None:
    before = served.look()

    if expected == BEYOND:
        expected = 400 if parser == "c" else 413
    assert status(served.ask(request_head)) == expected

    eventually(lambda: nothing_kept(served, before), "nothing is kept")


def test_a_head_may_come_byte_by_byte_and_its_body_may_hold_anything(served: Served) -> None:
    with served.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in PUT + b"Content-Length: 4\r\nConnection: close\r\n\r\n":
            connection.sendall(bytes([byte]))
        connection.sendall(b"\n\n \n")
        assert status(read_all(connection)) == 202


@pytest.mark.parametrize("head", [b"Content-Length: 10\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"])
def test_a_client_that_leaves_leaves_nothing(served: Served, head: bytes) -> None:
    before = served.look()

    with served.connect() as connection:
        connection.sendall(PUT + head)
        eventually(lambda: len(served.look()["receptions"]) > len(before["receptions"]), "the reception began")
        assert not nothing_kept(served, before)

    eventually(lambda: nothing_kept(served, before), "the reception is discarded")


def test_an_upload_that_stands_still_is_ended(served: Served) -> None:
    before = served.look()

    answer = served.ask(PUT + b"Content-Length: 10\r\n\r\nab")

    assert (status(answer), body(answer)["code"]) == (408, "too_slow")
    assert nothing_kept(served, before)


def test_100_continue_comes_before_the_body_and_only_if_it_is_wanted(served: Served) -> None:
    head = b"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"

    with served.connect() as connection:
        connection.sendall(PUT + head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"abc")
        assert status(read_all(connection)) == 202
    refused = served.ask(b"PUT /v1/objects/nowhere/k HTTP/1.1\r\n" + HOST + head)
    assert status(refused) == 404


def test_a_refused_upload_sees_its_answer_while_it_is_still_sending(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(
            b"PUT /v1/objects/nowhere/k HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (32 * MIB)
        )
        for _ in range(32):
            connection.sendall(b"x" * MIB)
        assert status(read_all(connection)) == 404


def test_a_body_does_not_pile_up_while_its_handler_waits(served: Served) -> None:
    size = 64 * MIB
    served.look(hold_receive=True)
    with served.connect() as connection:
        connection.sendall(PUT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size)
        connection.settimeout(0.5)
        sent = 0
        try:
            while sent < size:
                sent += connection.send(b"x" * min(MIB, size - sent))
        except TimeoutError:
            pass
        assert sent < size // 2, "the server reads on although nobody takes the bytes"
        served.look(hold_receive=False)
        connection.settimeout(20)
        while sent < size:
            sent += connection.send(b"x" * min(MIB, size - sent))
        assert body(read_all(connection))["size"] == size


def test_a_form_of_single_bytes_on_the_wire(served: Served) -> None:
    text = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b--\r\n'
    with served.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = (
            b"Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(b"POST /v1/jobs HTTP/1.1\r\n" + HOST + head)
        for byte in text:
            connection.sendall(b"1\r\n%c\r\n" % byte)
        connection.sendall(b"0\r\n\r\n")
        assert body(read_all(connection))["jobs"][0]["size"] == 5


def test_a_websocket_handshake_is_an_ordinary_request(served: Served) -> None:
    answer = served.ask(
        b"GET /nothing HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    assert status(answer) == 404


def test_curl_works_as_the_manual_says(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "größe.bin"
    file.write_bytes(os.urandom(3 * MIB))
    url = f"http://127.0.0.1:{served.port}/v1"

    put = subprocess.run(["curl", "-sS", "-T", file, f"{url}/objects/media/"], capture_output=True, check=True).stdout
    form = ["curl", "-sS", "-F", f"file=@{file}", "-F", 'labels={"a":"b"}', f"{url}/jobs"]
    posted = subprocess.run(form, capture_output=True, check=True).stdout

    assert (json.loads(put)["key"], json.loads(put)["size"]) == ("größe.bin", 3 * MIB)
    assert (json.loads(posted)["jobs"][0]["name"], json.loads(posted)["jobs"][0]["labels"]) == ("größe.bin", {"a": "b"})


def test_the_processes_say_what_they_are(served: Served) -> None:
    pids = [served.process.pid, *_children(served.process.pid)]

    assert [_title(pid) for pid in pids] == ["bucketline api", "bucketline api"]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_uploads_finish_and_ends_everything_else(start: Callable[..., Served], sign: int) -> None:
    server = start()
    with server.connect() as upload, server.connect() as stream, server.connect() as idle:
        upload.sendall(PUT + b"Content-Length: 6\r\n\r\nabc")
        stream.sendall(b"GET /v1/events HTTP/1.1\r\n" + HOST + b"\r\n")
        assert read_until(stream, b"retry: 3000")
        eventually(lambda: len(server.look()["receptions"]) == 1, "the reception began")

        server.process.send_signal(sign)

        assert read_all(stream).endswith(b"0\r\n\r\n")
        assert read_all(idle) == b""
        upload.sendall(b"def")
        assert status(upload.recv(4096)) == 202
    assert server.process.wait(10) == 0
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_nothing_of_the_working_directory_is_read_and_nothing_written(
    start: Callable[..., Served], tmp_path: Path
) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("raise SystemExit('read')")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "__init__.py").write_text("raise SystemExit('imported')")
    before = sorted(tmp_path.rglob("*"))

    server = start()

    assert server.stop() == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_killed_master_takes_its_worker_along(start: Callable[..., Served]) -> None:
    server = start()
    (child,) = _children(server.process.pid)

    server.process.kill()
    server.process.wait()

    eventually(lambda: not Path(f"/proc/{child}").exists() or _title(child) == "", "the worker is gone")


def test_a_service_that_cannot_start_ends_the_server(start: Callable[..., Served]) -> None:
    server = start(broken=True, ready=False)

    assert server.process.wait(20) == 78
    assert server.process.stderr is not None
    assert b"the configuration is broken" in server.process.stderr.read()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "files.example", "127.0.0.1.example"])
def test_without_a_key_only_loopback_is_bound(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(data=tmp_path, spool=tmp_path, node="n")

    assert run(settings, host, 1) == 78
    assert "BUCKETLINE_API_KEY" in capsys.readouterr().err


FORBIDDEN = ("s3fs", "gcsfs", "aiohttp", "botocore", "aiobotocore", "boto3", "fsspec", "adlfs", "httpx")


def test_the_api_imports_no_cloud_library() -> None:
    code = (
        "import sys, api.server, api.asgi, api.wire, engine.service\n"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert found.strip() == "[]"


@pytest.mark.parametrize("pieces", [1, 2])
def test_an_empty_line_behind_a_body_is_nothing(served: Served, pieces: int) -> None:
    put = PUT + b"Content-Length: 3\r\n\r\nabc"
    last = b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    with served.connect() as connection:
        connection.sendall(put + b"\r\n" if pieces == 1 else put)
        first = read_until(connection, b"HTTP/1.1 202")
        connection.sendall(last if pieces == 1 else b"\r\n" + last)
        answers = (first + read_all(connection)).split(b"HTTP/1.1 ")[1:]

    assert [int(one[:3]) for one in answers] == [202, 200]


@pytest.mark.parametrize("framing", ["Content-Length: 60", "Transfer-Encoding: chunked"])
def test_the_body_of_a_head_is_no_request(served: Served, framing: str) -> None:
    """Behind a proxy the next request on this connection may be somebody else's."""
    hidden = b"GET /v1/stats HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    with served.connect() as connection:
        connection.sendall(b"HEAD /livez HTTP/1.1\r\n" + HOST + framing.encode() + b"\r\n\r\n")
        answer = connection.recv(65536)
        connection.sendall(hidden)
        more = read_all(connection)

    assert status(answer) == 200
    assert b"connection: close" in answer.lower(), "so that a proxy does not take it for the next request"
    assert b"HTTP/1.1" not in answer[8:] + more


def test_requests_may_come_before_the_answer_to_the_one_before(served: Served) -> None:
    before = served.look()
    content = b"GET /v1/stats HTTP/1.1\r\n" + HOST + b"\r\n"
    put = PUT + b"Content-Length: %d\r\n\r\n" % len(content)
    with served.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n" + PUT + b"Content-Length: 3\r\n\r\nabc" + put)
        connection.sendall(content)
        connection.sendall(b"GET /v1/jobs HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        answers = read_all(connection).split(b"HTTP/1.1 ")[1:]

    assert [int(one[:3]) for one in answers] == [200, 202, 202, 200]
    assert len(served.look()["jobs"]) == len(before["jobs"]) + 2


def test_what_the_parser_cannot_keep_ends_with_the_answer_before_it(served: Served) -> None:
    """The one in C keeps 64 KiB of what came too early, in the same piece. What follows is never read as a request."""
    size = 32 * MIB
    request = b"GET /v1/stats HTTP/1.1\r\n" + HOST + b"\r\n"
    content = request * (size // len(request) + 1)
    put = PUT + b"Content-Length: %d\r\n\r\n" % len(content)
    with served.connect() as connection:
        with suppress(OSError):  # the connection may end while we send
            connection.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n" + put + content)
            connection.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        answers = read_all(connection).split(b"HTTP/1.1 ")[1:]

    assert [int(one[:3]) for one in answers] in ([200], [200, 202, 200])


def test_half_sent_requests_do_not_stop_anybody(served: Served) -> None:
    held = [served.connect() for _ in range(40)]
    for connection in held:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: loc")

    assert served.answers()

    for connection in held:
        connection.close()
