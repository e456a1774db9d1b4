"""The `fsspec` backend on real servers: the suite on each, and what each of them is there to show."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from secrets import token_hex
from threading import Barrier

import msgspec
import pytest

from backends import conformance
from backends.base import Backend, ObjectInfo, Properties
from backends.body import BytesBody
from backends.checksums import crc32c, crc32c_text
from backends.conformance.subject import Subject
from backends.errors import IntegrityError, InvalidRequest, ObjectExists
from backends.generic import FsspecOptions, FsspecPlugin
from backends.registry import Destination
from tests.backends import generic_servers, narrowed
from tests.backends.generic_servers import FileServer

globals().update(conformance.tests())

FORGED = "receipts that lie about stored bytes are only found out by reading back"
SERVERS = ["sftp", "sshfs", "smb", "ftp", "wsgidav", "rclone-webdav", "file", "memory"]
BY_SIZE = ["sftp, by size", "file, by size"]
"""The same servers, with `verify = "size"`."""

SKIPPED: dict[str, dict[str, str]] = {
    "wsgidav": {
        "test_ordinary_keys": "wsgidav cuts the target of a MOVE at ; and ?",
        "test_hostile": "wsgidav cuts the target of a MOVE at ; and ?",
    },
    "rclone-webdav": {
        "test_hostile": "rclone keeps the two Unicode forms of a name as one",
        **dict.fromkeys(
            ("test_a_body_", "test_a_file_shorter", "test_a_part_that_fails", "test_one_call_with_a_b"),
            "rclone keeps a file locked for a moment after a PUT broke off: 423, which passes",
        ),
    },
    **{
        name: dict.fromkeys(
            ("test_a_body_", "test_a_file_shorter", "test_receipts_of_other_bytes"),
            FORGED,
        )
        for name in BY_SIZE
    },
    "smb": {"test_ordinary_keys": "to this server, names that differ only in case are the same"},
}
"""What a server gets wrong, whatever the backend does, by the start of the check's name."""

Started = Callable[[str], FileServer]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Starts each server once, when it is first asked for."""
    running: dict[str, FileServer] = {}
    with ExitStack() as ending:

        def start(name: str) -> FileServer:
            if name not in running:
                folder = tmp_path_factory.mktemp(name)
                if name in BY_SIZE:
                    running[name] = replace(start(name.partition(",")[0]), more={"verify": "size"})
                elif name == "sshfs":
                    running[name] = generic_servers.as_sshfs(start("sftp"))
                elif name in ("file", "memory"):
                    place = folder if name == "file" else f"/{token_hex(4)}"
                    running[name] = FileServer(f"{name}://{place}", folder)
                else:
                    make = {
                        "sftp": generic_servers.sshd,
                        "smb": generic_servers.smbd,
                        "ftp": generic_servers.ftpd,
                        "wsgidav": generic_servers.wsgidav,
                        "rclone-webdav": generic_servers.rclone_webdav,
                    }[name]
                    running[name] = ending.enter_context(make(folder))
            return running[name]

        yield start


@pytest.fixture(params=[*SERVERS, *BY_SIZE])
def server(request: pytest.FixtureRequest, started: Started) -> FileServer:
    for start, reason in SKIPPED.get(request.param, {}).items():
        if request.node.name.startswith(start):
            pytest.skip(reason)
    return started(request.param)


def destination(server: FileServer, check: str) -> Destination:
    plugin, options = FsspecPlugin(), msgspec.convert(server.table, FsspecOptions)
    return Destination("tested", plugin, options, narrowed.for_check(check, plugin.capabilities(options)))


@pytest.fixture
def subject(server: FileServer, request: pytest.FixtureRequest) -> Iterator[Subject]:
    look = None
    if not server.url.startswith("memory"):

        def look(key: str) -> bytes:
            return (server.root / key).read_bytes()

    refused = None
    if server.refused:
        refused = destination(replace(server, options={**server.options, **server.refused}), request.node.name)
    with Subject(destination(server, request.node.name), look=look, refused=refused) as subject:
        yield subject


def _stored(backend: Backend, key: str, data: bytes) -> ObjectInfo:
    session = backend.begin(key, size=len(data), part_size=1000, properties=Properties())
    bodies = [BytesBody(data[start : start + 1000]) for start in range(0, len(data), 1000)]
    return backend.complete(session, [backend.put_part(session, number, body) for number, body in enumerate(bodies, 1)])


@pytest.mark.parametrize("name", ["sftp", "file"])
def test_by_size_no_byte_is_read_and_no_checksum_told(
    name: str, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, key, data = started(f"{name}, by size"), f"{token_hex(4)}/data", b"abc" * 1000
    plugin = FsspecPlugin()
    backend = plugin.build(msgspec.convert(server.table, FsspecOptions))
    kind = type(backend._connections.connected())
    monkeypatch.setattr(kind, "read", lambda *_: pytest.fail("the file was read"))
    try:
        info = _stored(backend, key, data)
        assert (info.size, info.checksum, info.read_back, info.size_is_enough) == (3000, None, False, True)
        assert backend.stat(key) == info
        assert (server.root / key).read_bytes() == data
    finally:
        backend.close()


@pytest.mark.parametrize("name", ["sftp", "file"])
def test_by_size_a_file_of_another_size_gets_no_name(name: str, started: Started) -> None:
    server, key = started(f"{name}, by size"), f"{token_hex(4)}/data"
    backend = FsspecPlugin().build(msgspec.convert(server.table, FsspecOptions))
    try:
        session = backend.begin(key, size=2000, part_size=1000, properties=Properties())
        receipts = [backend.put_part(session, number, BytesBody(bytes(1000))) for number in (1, 2)]
        [unfinished] = (server.root / key).parent.iterdir()
        os.truncate(unfinished, 1999)
        with pytest.raises(IntegrityError, match="1999 bytes instead of 2000"):
            backend.complete(session, receipts)
        assert backend.stat(key) is None
        backend.abort(session)
    finally:
        backend.close()


@pytest.mark.parametrize("name", ["sftp", "file"])
def test_as_it_comes_what_is_stored_is_read_back(name: str, started: Started) -> None:
    backend = FsspecPlugin().build(msgspec.convert(started(name).table, FsspecOptions))
    try:
        info = _stored(backend, f"{token_hex(4)}/data", b"abc" * 1000)
        assert (info.checksum, info.read_back, info.size_is_enough) == (crc32c_text(crc32c(b"abc" * 1000)), True, False)
    finally:
        backend.close()


def test_on_a_share_of_two_who_publish_at_once_one_wins(started: Started) -> None:
    """Samba's rename that must not replace looks first, and renames then: one time in some dozens both won."""
    server = started("smb")
    connections = [FsspecPlugin().build(msgspec.convert(server.table, FsspecOptions)) for _ in range(2)]
    files = [backend._connections.connected() for backend in connections]
    folder = f"/share/in/{token_hex(4)}"
    files[0].make_folders(folder)
    start = Barrier(2, timeout=30)

    def publish(which: int, number: int) -> bool:
        temporary = f"{folder}/{number}.{which}"
        files[which].write(temporary, BytesBody(bytes(which)))
        start.wait()
        try:
            files[which].publish(temporary, f"{folder}/{number}", create_only=True)
        except ObjectExists:
            return False
        return True

    try:
        with ThreadPoolExecutor(2) as pool:
            for number in range(150):
                won = list(pool.map(publish, range(2), [number] * 2))
                assert sorted(won) == [False, True], f"round {number}: {won}"
                assert (server.root.parent / folder[7:] / str(number)).stat().st_size == won.index(True)
    finally:
        for backend in connections:
            backend.close()


@pytest.mark.parametrize("status", [0xC00000BB, 0xC0000022])
def test_a_share_without_hard_links_says_what_to_do(
    started: Started, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """NOT_SUPPORTED, and ACCESS_DENIED for the EPERM of vfat."""
    smbclient, exceptions = pytest.importorskip("smbclient"), pytest.importorskip("smbprotocol.exceptions")
    server, key = started("smb"), f"{token_hex(4)}/data"

    def refused(*_: object, **__: object) -> None:
        raise exceptions.SMBOSError(status, "there")

    monkeypatch.setattr(smbclient, "link", refused)
    backend = FsspecPlugin().build(msgspec.convert(server.table, FsspecOptions))
    try:
        with pytest.raises(InvalidRequest, match=r'hard links.*on_conflict "replace"'):
            backend.put_whole(key, BytesBody(b"abc"), properties=Properties(), create_only=True)
        assert backend.stat(key) is None
        assert not list((server.root / key).parent.iterdir())
        backend.put_whole(key, BytesBody(b"abc"), properties=Properties())
        with pytest.raises(ObjectExists):
            backend.put_whole(key, BytesBody(b"abcd"), properties=Properties(), create_only=True)
    finally:
        backend.close()


def test_how_to_verify_is_one_of_two_words() -> None:
    with pytest.raises(msgspec.ValidationError, match="verify"):
        msgspec.convert({"url": "file:///x", "verify": "nothing"}, FsspecOptions)
