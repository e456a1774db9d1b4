"""The sender below the cloud backends: what it reads, what it sends, and what it says when the network fails."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from urllib3.exceptions import ConnectTimeoutError, ProtocolError

from backends.base import MIB
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c
from backends.errors import ConnectionFailed, IntegrityError, ShortBody, TimedOut
from backends.transport import Transport, network_error, retry_after, verify
from tests import documents

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A server of one answer, that keeps what it was sent."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._run(self._serve)

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._run(self._converse, connection)

    def _converse(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as reader:
            while head := b"".join(takewhile(bool, iter(reader.readline, b"\r\n"))):  # at the end, lines are empty
                lines = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:] if b": " in line)
                self.requests.append((head, reader.read(int(lines.get(b"content-length", b"0")))))
                connection.sendall(self.answer)
                if b"Connection: close" in self.answer:
                    return

    def close(self) -> None:
        """May be called twice."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone leaves the thread waiting
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a thread of the test's server runs on"


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@contextmanager
def sender(port: int, *, read_timeout_seconds: float = 20.0, proxy: str | None = None) -> Iterator[Transport]:
    transport = Transport(
        f"http://127.0.0.1:{port}",
        connect_timeout_seconds=5,
        read_timeout_seconds=read_timeout_seconds,
        proxy=proxy,
    )
    yield transport
    transport.close()


def test_the_target_reaches_the_server_as_it_was_signed(peer: Peer) -> None:
    target = "/b/a//b/./c%2F..%20%2b?partNumber=1&uploadId=x%2By~"
    with sender(peer.port) as transport:
        answer = transport.send("PUT", target, {"x-a": "1"}, BytesBody(b"hello"))
    [(head, body)] = peer.requests
    assert head.splitlines()[0].decode().upper() == f"PUT {target} HTTP/1.1".upper()
    assert (body, answer.status, answer.body) == (b"hello", 200, b"ok")
    assert b"Content-Length: 5" in head or b"content-length: 5" in head


def test_a_range_of_a_file_of_many_blocks_is_sent_as_it_is(peer: Peer, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB + 5)
    (tmp_path / "f").write_bytes(data)
    wanted = data[7:-9]
    with sender(peer.port) as transport:
        transport.send("PUT", "/k", {}, FileBody(tmp_path / "f", 7, len(wanted), crc32c(wanted)))
        transport.send("PUT", "/k", {}, FileBody(tmp_path / "f", 7, len(wanted), crc32c(wanted)))
    assert [body == wanted for _, body in peer.requests] == [True, True]
    assert peer.connections == 1


def test_an_empty_body_has_a_length(peer: Peer) -> None:
    with sender(peer.port) as transport:
        transport.send("PUT", "/k", {}, BytesBody(b""))
    assert b"content-length: 0" in peer.requests[0][0].lower()


def test_a_body_of_one_block_is_verified_before_anything_is_sent(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"changed!")
    with sender(peer.port) as transport:
        with pytest.raises(IntegrityError):
            transport.send("PUT", "/k", {}, FileBody(tmp_path / "f", 0, 8, crc32c(b"original")))
        with pytest.raises(ShortBody):
            transport.send("PUT", "/k", {}, FileBody(tmp_path / "f", 0, 9))
    assert peer.connections == 0


def test_the_last_block_of_a_changed_body_is_withheld(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(2 * MIB))
    with sender(peer.port) as transport, pytest.raises(IntegrityError) as failure:
        transport.send("PUT", "/k", {}, FileBody(tmp_path / "f", 0, 2 * MIB, 1))
    assert failure.value.code == "source_corrupt"
    assert all(len(body) < 2 * MIB for _, body in peer.requests)


def test_the_md5_is_computed_on_the_way_when_asked(peer: Peer) -> None:
    with sender(peer.port) as transport:
        assert transport.send("PUT", "/k", {}, BytesBody(b"hello"), md5=True).md5 == "5d41402abc4b2a76b9719d911017c592"
        assert transport.send("PUT", "/k", {}, BytesBody(b"hello")).md5 == ""


def test_neither_redirects_nor_errors_are_followed_or_repeated(peer: Peer) -> None:
    with sender(peer.port) as transport:
        for status in (b"307 Temporary Redirect", b"503 Slow Down"):
            peer.answer = (
                b"HTTP/1.1 " + status + b"\r\nLocation: /elsewhere\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
            )
            transport.send("PUT", "/k", {}, BytesBody(b"x"))
    assert len(peer.requests) == 2


def test_an_endless_answer_is_not_read_to_its_end(peer: Peer) -> None:
    peer.answer = b"HTTP/1.1 500 No\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000
    with sender(peer.port) as transport:
        assert len(transport.send("PUT", "/k", {}, BytesBody(b"x")).body) == 64 * 1024
        transport.send("PUT", "/k", {}, BytesBody(b"x"))
    assert peer.connections == 2


def test_a_download_comes_in_blocks_and_a_cut_one_is_an_error(peer: Peer) -> None:
    peer.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2097157\r\n\r\n" + b"x" * 2097157
    with sender(peer.port) as transport:
        _, blocks = transport.fetch("/k", {})
        assert [len(block) for block in blocks] == [MIB, MIB, 5]
    peer.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nshort"
    with sender(peer.port) as transport:
        _, blocks = transport.fetch("/k", {})
        with pytest.raises(ConnectionFailed):
            list(blocks)


def test_silence_is_a_timeout_and_a_closed_port_is_not(peer: Peer) -> None:
    peer.answer = b""
    with sender(peer.port, read_timeout_seconds=0.05) as transport, pytest.raises(TimedOut):
        transport.send("PUT", "/k", {}, BytesBody(b"x"))
    peer.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with sender(free) as transport, pytest.raises(ConnectionFailed, match="Connection refused"):
        transport.send("PUT", "/k?X-Amz-Signature=secret", {}, BytesBody(b"x"))


def test_a_proxy_gets_the_whole_address_and_its_own_password(peer: Peer) -> None:
    with sender(9, proxy=f"http://me:p%40ss@127.0.0.1:{peer.port}") as transport:
        transport.send("PUT", "/k?a=b", {}, BytesBody(b"x"))
    [(head, body)] = peer.requests
    assert head.startswith(b"PUT http://127.0.0.1:9/k?a=b HTTP/1.1")
    assert b"Basic bWU6cEBzcw==" in head
    assert body == b"x"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("999999", 3600.0),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0.0),
        ("-1", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    now = 1795428000.0  # 2026-11-23 10:00:00 UTC
    assert retry_after({"Retry-After": text}, now) == seconds


def test_a_network_error_says_what_and_where_but_no_address() -> None:
    reset = ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
    assert str(network_error(reset, "store:9000")) == "The connection to store:9000 failed: Connection reset by peer."
    assert isinstance(network_error(ConnectTimeoutError(None, "https://store/k?Signature=s"), "store"), TimedOut)
    certificate = ssl.SSLCertVerificationError()
    certificate.verify_message = "self-signed certificate"
    assert "self-signed certificate" in str(network_error(certificate, "store"))
    unknown = network_error(ProtocolError("https://store/k?Signature=s"), "store")
    assert "Signature" not in str(unknown)


def test_verify_reads_the_whole_body(tmp_path: Path) -> None:
    data = os.urandom(MIB + 1)
    (tmp_path / "f").write_bytes(data)
    assert verify(FileBody(tmp_path / "f", 0, len(data))) == crc32c(data)
    with pytest.raises(IntegrityError):
        verify(FileBody(tmp_path / "f", 0, len(data), 1))


def test_the_lines_of_the_guide_send_a_part_and_read_a_range(peer: Peer) -> None:
    lines = documents.block("docs/backends/write-your-own.md", "http")
    known: dict[str, Any] = {
        "Transport": Transport,
        "self": SimpleNamespace(),
        "upload": "u1",
        "number": 2,
        "token": "open sesame",
    }
    known |= {"body": BytesBody(b"a part"), "target": "/objects/o1"}
    exec(lines.replace("https://store.example", f"http://127.0.0.1:{peer.port}"), known)
    (first, sent), (second, _) = peer.requests
    assert (first.split(b" HTTP")[0], sent) == (b"PUT /uploads/u1/blocks/2", b"a part")
    assert b"authorization: Bearer open sesame" in first
    assert second.split(b" HTTP")[0] == b"GET /objects/o1" and b"range: bytes=0-99" in second
    assert b"".join(known["blocks"]) == b"ok"
