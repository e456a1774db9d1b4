"""The `fsspec` backend when connections break, servers hang or go, disks are full, and strangers answer."""

from __future__ import annotations

import io
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import msgspec
import pytest

from backends import errors
from backends.base import KIB, MIB, Properties, Receipt
from backends.body import BytesBody
from backends.generic import FsspecOptions, FsspecPlugin
from backends.generic_backend import GenericBackend
from tests import servers
from tests.backends import generic_servers
from tests.backends.generic_servers import FileServer
from tests.backends.proxy import Proxy

PART = 256 * KIB
DATA = os.urandom(3 * PART)
START: dict[str, Callable[[Path], AbstractContextManager[FileServer]]] = {
    "sftp": generic_servers.sshd,
    "sshfs": generic_servers.sshd,
    "smb": generic_servers.smbd,
    "ftp": generic_servers.ftpd,
    "wsgidav": generic_servers.wsgidav,
}
CONNECTED = ("sftp", "sshfs", "smb", "ftp")
"""Those with a connection that lasts; WebDAV's client makes each anew by itself."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], FileServer]]:
    """Starts each server once, when it is first asked for."""
    ends: list[AbstractContextManager[FileServer]] = []
    found: dict[str, FileServer] = {}

    def start(name: str) -> FileServer:
        if name not in found:
            if name == "sshfs":
                found[name] = generic_servers.as_sshfs(start("sftp"))
            else:
                ends.append(START[name](tmp_path_factory.mktemp(name)))
                found[name] = ends[-1].__enter__()
        return found[name]

    yield start
    for end in ends:
        end.__exit__(None, None, None)


@contextmanager
def behind_proxy(server: FileServer, **more: Any) -> Iterator[tuple[GenericBackend, Proxy]]:
    port = urlsplit(server.url).port
    assert port is not None
    with Proxy(port) as proxy:
        moved = replace(server, url=server.url.replace(f":{port}", f":{proxy.port}"))
        backend = connect(moved, read_timeout_seconds=2.0, connect_timeout_seconds=5.0, **more)
        try:
            yield backend, proxy
        finally:
            proxy.flow()
            backend.close()


def connect(server: FileServer, **more: Any) -> GenericBackend:
    return FsspecPlugin().build(msgspec.convert({**server.table, **more}, FsspecOptions))


def begin(backend: GenericBackend, key: str, *, size: int = len(DATA), part_size: int = PART) -> Any:
    return backend.begin(key, size=size, part_size=part_size, properties=Properties())


def send(backend: GenericBackend, session: Any, number: int) -> Receipt:
    return backend.put_part(session, number, BytesBody(DATA[(number - 1) * PART : number * PART]))


def put(backend: GenericBackend, key: str, data: bytes = b"x") -> None:
    backend.put_whole(key, BytesBody(data), properties=Properties())


class Cutting(BytesBody):
    """Breaks the connection when half of it has been read."""

    def __init__(self, data: bytes, proxy: Proxy) -> None:
        super().__init__(data)
        self._bytes, self._proxy = data, proxy

    def open(self) -> BinaryIO:
        return _CuttingReader(self._bytes, self._proxy)


class _CuttingReader(io.BytesIO):
    def __init__(self, data: bytes, proxy: Proxy) -> None:
        super().__init__(data)
        self._half, self._proxy = len(data) // 2, proxy

    def readinto(self, buffer: Any, /) -> int:
        if self.tell() >= self._half:
            self._proxy.cut()
        return super().readinto(memoryview(buffer)[: 16 * KIB])


@pytest.mark.parametrize("name", CONNECTED)
def test_a_connection_that_was_cut_costs_one_attempt(name: str, running: Callable[[str], FileServer]) -> None:
    with behind_proxy(running(name)) as (backend, proxy):
        put(backend, "cut")
        proxy.cut()
        try:
            backend.stat("cut")
        except errors.ConnectionFailed:
            pass  # or it was noticed, and made anew at once
        found = backend.stat("cut")
        assert found is not None
        assert found.size == 1


@pytest.mark.parametrize("name", CONNECTED)
def test_a_part_that_was_cut_is_sent_again_and_all_is_right(name: str, running: Callable[[str], FileServer]) -> None:
    server = running(name)
    with behind_proxy(server) as (backend, proxy):
        session = begin(backend, f"again-{name}")
        receipts = [send(backend, session, 1)]
        with pytest.raises(errors.ConnectionFailed):
            backend.put_part(session, 2, Cutting(DATA[PART : 2 * PART], proxy))
        receipts += [send(backend, session, number) for number in (2, 3)]
        info = backend.complete(session, receipts)
        assert info.size == len(DATA)
    assert (server.root / f"again-{name}").read_bytes() == DATA


@pytest.mark.parametrize("name", [*CONNECTED, "wsgidav"])
def test_a_server_that_hangs_is_given_up(name: str, running: Callable[[str], FileServer]) -> None:
    with behind_proxy(running(name)) as (backend, proxy):
        put(backend, "hanging")
        proxy.hang()
        with pytest.raises((errors.TimedOut, errors.ConnectionFailed)):
            backend.stat("hanging")
        proxy.flow()
        proxy.cut()
        found = backend.stat("hanging")
        assert found is not None


def test_parts_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    port = servers.free_port()
    with generic_servers.sshd(tmp_path, port=port) as server:
        backend = connect(server)
        session = begin(backend, "restarted")
        first = send(backend, session, 1)
        backend.close()
    with pytest.raises(errors.ConnectionFailed):
        send(backend, session, 2)
    with generic_servers.sshd(tmp_path, port=port):
        rest = [send(backend, session, number) for number in (3, 2)]
        backend.complete(session, [first, *rest])
        backend.close()
    assert (server.root / "restarted").read_bytes() == DATA


@pytest.mark.parametrize("name", ["sftp", "sshfs", "smb", "ftp", "wsgidav"])
def test_no_part_is_confirmed_that_a_full_disk_did_not_take(name: str, tmp_path: Path) -> None:
    """Sent from the last: the file then has its whole length from the start, so its size tells nothing."""
    with small_disk(tmp_path / "files"), START[name](tmp_path) as server:
        backend = connect(generic_servers.as_sshfs(server) if name == "sshfs" else server)
        several = backend.capabilities.max_parts > 1
        size = 3 * MIB
        session = begin(backend, "large", size=size, part_size=MIB if several else size)
        order = (3, 2, 1) if backend.capabilities.parallel_parts else (1, 2, 3) if several else (1,)
        confirmed = 0
        for number in order:
            try:
                confirmed += backend.put_part(session, number, BytesBody(os.urandom(MIB if several else size))).size
            except errors.BackendError as error:
                if name in ("sftp", "sshfs"):
                    assert type(error) is errors.StoreFull
                continue
        assert confirmed < 2 * MIB, "more was confirmed than there is room for"
        backend.abort(session)
        if name in ("sftp", "sshfs"):
            with pytest.raises(errors.StoreFull):
                put(backend, "whole", os.urandom(size))
        if name != "wsgidav":  # it forgets to close the file that it could not write, which keeps its room
            put(backend, "small")
        backend.close()


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system with room for little more than 1 MiB at `place`, where a server will keep its files."""
    servers.needs(os.geteuid() == 0, "root, to mount a small disk")
    disk = place.with_name("disk")
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    if not mounted:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        (disk / "in").mkdir()
        place.symlink_to(disk)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=20)


def test_uploads_that_make_one_new_folder_at_once_do_not_trip_over_each_other(
    running: Callable[[str], FileServer],
) -> None:
    backend = connect(running("sftp"))
    for count in range(10):
        failed: list[BaseException] = []
        start = threading.Barrier(4)

        def store(number: int, count: int = count, failed: list[BaseException] = failed, at: Any = start) -> None:
            try:
                backend.stat("warm")
                at.wait()
                put(backend, f"made/{count}/by/many/{number}")
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=partial(store, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not failed
    backend.close()


# paramiko's own thread may still be asking for blocks when the connection is closed; it cannot be told to stop.
@pytest.mark.filterwarnings(
    "ignore:Exception in thread .*_prefetch_thread:pytest.PytestUnhandledThreadExceptionWarning"
)
def test_reading_that_ends_early_leaves_a_connection_that_works(running: Callable[[str], FileServer]) -> None:
    for name in ("sftp", "ftp", "smb"):
        backend = connect(running(name))
        put(backend, "long", bytes(20 * MIB))
        blocks = backend.read_range("long", 0, 20 * MIB)
        next(blocks)
        blocks.close()  # type: ignore[attr-defined]
        found = backend.stat("long")
        assert found is not None
        assert found.size == 20 * MIB
        backend.delete("long")
        backend.close()


# -- who is at the other end


def known_hosts(server: FileServer, path: Path, key: bytes | None = None) -> str:
    port = urlsplit(server.url).port
    shown = key or (server.root.parent / "host.pub").read_bytes()
    path.write_bytes(f"[127.0.0.1]:{port} ".encode() + shown)
    return str(path)


@pytest.mark.parametrize("name", ["sftp", "sshfs"])
def test_a_server_whose_key_is_known_is_talked_to(
    name: str, running: Callable[[str], FileServer], tmp_path: Path
) -> None:
    server = running(name)
    known = known_hosts(server, tmp_path / "known")
    backend = connect(server, options={**server.options, "known_hosts": known})
    put(backend, "trusted")
    backend.close()


@pytest.mark.parametrize("name", ["sftp", "sshfs"])
@pytest.mark.parametrize("known", ["nothing", "another key"])
def test_a_server_with_a_strange_key_gets_no_login(
    name: str, known: str, running: Callable[[str], FileServer], tmp_path: Path
) -> None:
    server, path = running(name), tmp_path / "known"
    path.touch()
    if known == "another key":
        known_hosts(server, path, (server.root.parent / "user.pub").read_bytes())
    backend = connect(server, options={**server.options, "known_hosts": str(path)})
    with pytest.raises(errors.AccessDenied):
        backend.stat("x")
    backend.close()


def test_reject_takes_the_servers_of_the_usual_file(
    running: Callable[[str], FileServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = running("sftp")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    options = {**server.options, "host_key_policy": "reject"}
    known_hosts(server, tmp_path / ".ssh" / "known_hosts")
    backend = connect(server, options=options)
    assert backend.stat("nothing here") is None
    backend.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody vouches for, in one file."""
    folder = tmp_path_factory.mktemp("certificate")
    command = [servers.program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=20)
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return folder / "both.pem"


@contextmanager
def ftp_over_tls(certificate: Path) -> Iterator[tuple[int, list[str]]]:
    """A server that knows AUTH TLS and refuses every login; what it was told, to see whether a password was."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener, heard = socket.create_server(("127.0.0.1", 0)), list[str]()

    def serve() -> None:
        try:
            plain, _ = listener.accept()
            with plain:
                plain.settimeout(10)
                plain.sendall(b"220 hello\r\n")
                heard.append(plain.recv(100).decode().strip())
                plain.sendall(b"234 go on\r\n")
                with context.wrap_socket(plain, server_side=True) as secure:
                    heard.append(secure.recv(100).decode().strip())
                    secure.sendall(b"530 no\r\n")
        except OSError:
            pass  # the client left, as it should when it does not trust us

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        thread.join(10)
        listener.close()


@pytest.mark.parametrize(
    ("more", "login"), [({}, False), ({"ca_file": True}, True), ({"verify": False}, True)], ids=["as is", "ca", "off"]
)
def test_ftp_over_tls_looks_at_the_certificate(more: dict[str, Any], login: bool, certificate: Path) -> None:
    extra = {"ca_file": str(certificate)} if "ca_file" in more else more
    with ftp_over_tls(certificate) as (port, heard):
        server = FileServer(f"ftp://127.0.0.1:{port}/in", Path("."), {"username": "acme", "password": "p", "tls": True})
        backend = connect(server, options={**server.options, **extra})
        with pytest.raises(errors.AccessDenied):
            backend.stat("x")
        backend.close()
    assert heard == (["AUTH TLS", "USER acme"] if login else ["AUTH TLS"])
