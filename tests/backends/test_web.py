"""The client for the web against a server that behaves as badly as it is told to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import web_answer, web_connections
from backends.addresses import Rules
from backends.credentials import Credential
from backends.errors import BackendError, ConnectionFailed, Throttled, TimedOut, TransientError, Unavailable
from backends.web import Web
from backends.web_answer import WebRefusal
from tests import servers
from tests.web import Page, WebServer

DATA = bytes(range(256)) * 5000


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as found:
        found.pages["/film"] = Page(DATA)
        yield found


MakeWeb = Callable[..., Web]


@pytest.fixture
def make_web() -> Iterator[MakeWeb]:
    """Makes clients, which are closed behind the test."""
    with contextlib.ExitStack() as ending:
        yield lambda *given, **named: ending.enter_context(contextlib.closing(Web(*given, **named)))


@pytest.fixture
def web(make_web: MakeWeb, server: WebServer) -> Web:
    """A client to whom the test's server is a part of the internet, by its address only."""
    return make_web(Rules.of((server.port,), ("127.0.0.1",)))


def read(web: Web, url: str, **headers: str) -> bytes:
    return b"".join(web.get(url, headers).blocks())


def refusal(web: Web, url: str, credential: Credential | None = None) -> str:
    with pytest.raises(WebRefusal) as refused:
        web.get(url, {}, credential)
    return refused.value.code


def test_a_file(web: Web, server: WebServer) -> None:
    answer = web.get(f"{server.url}/film?x=1", {})
    assert (answer.status, answer.size, answer.etag, answer.range) == (200, len(DATA), '"one"', None)
    assert b"".join(answer.blocks()) == DATA
    assert server.seen[0].headers["accept-encoding"] == "identity"


def test_a_range(web: Web, server: WebServer) -> None:
    answer = web.get(f"{server.url}/film", {"range": "bytes=5-9", "if-range": '"one"'})
    assert answer.range == (5, 9, len(DATA))
    assert b"".join(answer.blocks()) == DATA[5:10]


def test_a_weak_tag_pins_nothing(web: Web, server: WebServer) -> None:
    server.pages["/film"].etag = 'W/"one"'
    assert web.get(f"{server.url}/film", {}).etag == ""


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.mp4"', "a b.mp4"),
        ("attachment; filename*=UTF-8''%e5%a4%8f.mp4; filename=x", "夏.mp4"),
        ("inline", ""),
        ("", ""),
        ("attachment; filename*=nonsense''%ff", "\ufffd"),
    ],
)
def test_what_the_server_calls_it(web: Web, server: WebServer, disposition: str, name: str) -> None:
    server.pages["/film"].headers = {"Content-Disposition": disposition}
    found = web.get(f"{server.url}/film", {}).file_name
    assert found == name or "%ff" in disposition


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "source_missing"), (410, "source_missing"), (401, "source_refused"), (403, "source_refused"),
     (400, "source_refused"), (204, "source_refused"), (304, "source_refused"), (300, "source_refused")],
)  # fmt: skip
def test_what_no_second_request_mends(web: Web, server: WebServer, status: int, code: str) -> None:
    server.pages["/film"].status = status
    assert refusal(web, f"{server.url}/film") == code


@pytest.mark.parametrize(
    ("status", "kind"), [(500, Unavailable), (502, Unavailable), (408, Unavailable), (429, Throttled), (503, Throttled)]
)
def test_what_may_pass(web: Web, server: WebServer, status: int, kind: type[BackendError]) -> None:
    server.pages["/film"].status = status
    server.pages["/film"].headers = {"Retry-After": "7"}
    with pytest.raises(kind) as failed:
        web.get(f"{server.url}/film", {})
    assert failed.value.retry_after == 7


def test_compression_that_nobody_asked_for(web: Web, server: WebServer) -> None:
    server.pages["/film"].headers = {"Content-Encoding": "gzip"}
    assert refusal(web, f"{server.url}/film") == "source_refused"


@pytest.mark.parametrize(
    "how", [{"cut_at": 1000}, {"cut_at": 1000, "chunked": True}, {"announced": len(DATA) + 1}, {"cut_at": 0}]
)
def test_a_body_that_ends_before_it_should(web: Web, server: WebServer, how: dict[str, Any]) -> None:
    server.pages["/cut"] = Page(DATA, **how)
    with pytest.raises(ConnectionFailed):
        read(web, f"{server.url}/cut")


def test_a_body_that_goes_on_behind_its_length_is_what_was_announced(web: Web, server: WebServer) -> None:
    server.pages["/more"] = Page(DATA, announced=100)
    assert read(web, f"{server.url}/more") == DATA[:100]


def test_a_body_without_an_end_of_its_own(web: Web, server: WebServer) -> None:
    server.pages["/film"].unbounded = True
    assert refusal(web, f"{server.url}/film") == "source_refused"


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX", b"HTTP/1.1"])
def test_headers_that_break_off(make_web: MakeWeb, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(BackendError):
            read(make_web(Rules.of((port,), ("127.0.0.1",))), f"http://127.0.0.1:{port}/")
        thread.join()


def test_a_body_that_crawls(web: Web, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_answer, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(web_answer, "SLOWEST_BYTES_PER_SECOND", 1 << 60)
    with pytest.raises(TimedOut):
        read(web, f"{server.url}/film")


def test_headers_that_trickle_for_ever(make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_connections, "HEADER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.02):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(TransientError):
            make_web(Rules.of((port,), ("127.0.0.1",))).get(f"http://127.0.0.1:{port}/", {})
        over.set()
        thread.join()


# -- redirects --------------------------------------------------------------------------------------------------------


def redirect(server: WebServer, to: str, path: str = "/moved", status: int = 302) -> str:
    server.pages[path] = Page(status=status, headers={"Location": to})
    return server.url + path


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(web: Web, server: WebServer, status: int) -> None:
    assert read(web, redirect(server, "/film?a=1", status=status)) == DATA
    assert read(web, redirect(server, server.url + "/film", status=status)) == DATA


@pytest.mark.parametrize(
    "to",
    [
        "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://2130706433/",
        "file:///etc/passwd", "gopher://x/", "http://user:password@127.0.0.1/", "//127.0.0.1:1/", "http://localhost/",
    ],
)  # fmt: skip
def test_a_redirect_is_looked_at_like_a_first_request(web: Web, server: WebServer, to: str) -> None:
    assert refusal(web, redirect(server, to)) == "address_refused"


def test_a_redirect_to_nowhere_or_in_circles(web: Web, server: WebServer) -> None:
    assert refusal(web, redirect(server, "")) == "source_refused"
    assert refusal(web, redirect(server, "/moved")) == "source_refused"
    assert len(server.seen) <= 1 + 11


def test_what_is_not_ascii_in_a_redirect_is_encoded(web: Web, server: WebServer) -> None:
    server.pages["/%C3%A4"] = Page(DATA)
    assert read(web, redirect(server, "/ä".encode().decode("latin-1"))) == DATA


# -- addresses --------------------------------------------------------------------------------------------------------


def test_nothing_private_is_reached_by_a_name_whatever_it_resolves_to(make_web: MakeWeb, server: WebServer) -> None:
    for addresses in (["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%eth0"], []):
        web = make_web(Rules.of((server.port,), ()), lambda host, port, found=addresses: found)  # type: ignore[misc]
        assert refusal(web, f"http://public.example:{server.port}/film") == "address_refused"
    assert server.seen == []


def test_a_name_that_changes_its_mind_is_asked_once_for_each_connection(make_web: MakeWeb, server: WebServer) -> None:
    """Rebinding: what was looked at is what is connected to."""
    asked = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    web = make_web(Rules.of((server.port,), ("127.0.0.1",)), resolver)
    assert read(web, f"http://public.example:{server.port}/film") == DATA
    assert asked == ["public.example"]
    assert server.seen[0].headers["host"] == f"public.example:{server.port}"


def test_the_next_address_is_tried_when_one_is_dead(make_web: MakeWeb, server: WebServer) -> None:
    web = make_web(Rules.of((server.port,), ("127.0.0.0/8",)), lambda host, port: ["127.0.0.77", "127.0.0.1"])
    assert read(web, f"http://public.example:{server.port}/film") == DATA


def test_a_name_that_nobody_knows_may_be_known_later(make_web: MakeWeb, server: WebServer) -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(ConnectionFailed, match="cannot be resolved"):
        make_web(Rules.of((80,), ()), resolver).get("http://public.example/", {})


def test_a_closed_port(make_web: MakeWeb, server: WebServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(ConnectionFailed):
        make_web(Rules.of((port,), ("127.0.0.1",))).get(f"http://127.0.0.1:{port}/", {})


def test_a_proxy_of_the_environment_is_not_used(web: Web, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert read(web, f"{server.url}/film") == DATA


def test_a_certificate_is_checked_against_the_name(make_web: MakeWeb, tmp_path: Path) -> None:
    key, pem = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [servers.program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=right.example", "-addext", "subjectAltName=DNS:right.example"]
    subprocess.run([*command, "-keyout", key, "-out", pem], check=True, capture_output=True)
    with WebServer() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        server.pages["/film"] = Page(DATA)
        rules = Rules.of((server.port,), ("127.0.0.1",))
        web = make_web(rules, lambda host, port: ["127.0.0.1"], ca_file=str(pem))
        assert read(web, f"https://right.example:{server.port}/film") == DATA
        with pytest.raises(ConnectionFailed, match="certificate"):
            web.get(f"https://wrong.example:{server.port}/film", {})
        with pytest.raises(ConnectionFailed, match="certificate"):
            make_web(rules, lambda host, port: ["127.0.0.1"]).get(f"https://right.example:{server.port}/film", {})


# -- credentials ------------------------------------------------------------------------------------------------------


def test_credentials_go_to_their_hosts_and_to_nobody_else(web: Web, server: WebServer) -> None:
    key = Credential({"Authorization": "Bearer x"}, frozenset({server.url}))
    server.pages["/film"].wants = {"Authorization": "Bearer x"}
    assert b"".join(web.get(f"{server.url}/film", {}, key).blocks()) == DATA
    assert b"".join(web.get(redirect(server, "/film"), {}, key).blocks()) == DATA, "one origin is one host"
    assert refusal(web, f"{server.url}/film") == "source_refused"
    foreign = Credential({"Authorization": "Bearer x"}, frozenset({"https://a.example"}))
    seen = len(server.seen)
    assert refusal(web, f"{server.url}/film", foreign) == "source_refused"
    assert len(server.seen) == seen
    assert "Bearer" not in repr(key)


def test_credentials_do_not_follow_a_redirect_to_another_host(make_web: MakeWeb, server: WebServer) -> None:
    with WebServer() as other:
        other.pages["/film"] = Page(DATA)
        web = make_web(Rules.of((server.port, other.port), ("127.0.0.1",)))
        key = Credential({"Authorization": "Bearer x"}, frozenset({server.url, other.url}))
        answer = web.get(redirect(server, f"{other.url}/film"), {}, key)
        assert b"".join(answer.blocks()) == DATA
        assert "authorization" in server.seen[0].headers
        assert "authorization" not in other.seen[0].headers


def test_connections_are_used_again(web: Web, server: WebServer) -> None:
    began = time.monotonic()
    for first in range(20):
        assert read(web, f"{server.url}/film", range=f"bytes={first}-{first}") == DATA[first : first + 1]
    assert time.monotonic() - began < 20
    [pool] = [web._manager.pools[key] for key in web._manager.pools.keys()]  # noqa: SIM118
    assert pool.num_connections == 1
