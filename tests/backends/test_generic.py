"""The `fsspec` backend on real servers: the suite on each, and what each of them is there to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from secrets import token_hex

import msgspec
import pytest

from backends import conformance
from backends.conformance.subject import Subject
from backends.generic import FsspecOptions, FsspecPlugin
from backends.registry import Destination
from tests.backends import generic_servers, narrowed
from tests.backends.generic_servers import FileServer

globals().update(conformance.tests())

SERVERS = ["sftp", "sshfs", "smb", "ftp", "wsgidav", "rclone-webdav", "file", "memory"]

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
                if name == "sshfs":
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


@pytest.fixture(params=SERVERS)
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
