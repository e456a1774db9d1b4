"""The `s3` backend on real servers: the conformance suite on four of them, and what each of them is there to show."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import conformance
from backends.base import KIB, MIB, Properties
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c
from backends.conformance.subject import Subject
from backends.errors import AccessDenied, ConnectionFailed, DestinationMissing, IntegrityError
from backends.registry import Destination
from backends.s3 import S3Options, S3Plugin
from backends.s3_backend import S3Backend
from tests import servers
from tests.backends import narrowed
from tests.backends.strict_s3 import StrictS3

globals().update(conformance.tests())

BUCKET = "conformance"
SMALL_PART = 256 * KIB
SERVERS = ["strict", "rclone", "moto", "ministack"]

SKIPPED = {
    "rclone": {
        "test_hostile": "rclone keeps objects under their keys as file names, and some keys bring it to a halt",
        "test_looking_at_hostile": "rclone keeps objects under their keys as file names",
        "test_a_part_sent_again_with_other_bytes": "rclone refuses a part that changed",
        "test_a_copy_has": "rclone gives a copy the metadata of its source, whatever it is asked for",
        "test_receipts_of_other_bytes": "rclone refuses a part that changed",
    },
    "strict": {
        "test_a_presigned": "the strict server of ours knows no signed queries",
        "test_a_copy_has": "the strict server of ours copies nothing",
    },
    "ministack": {
        "test_bad_credentials": "ministack lets anybody in",
        "test_completing_twice_never": "ministack completes a completed upload again",
    },
    "moto": {
        "test_bad_credentials": "moto lets anybody in",
        "test_of_two_uploads_that_create_at_once": "moto checks If-None-Match with a race",
        "test_aborting_is_final": "moto answers 500 for a part of a session that was aborted",
        "test_a_part_after_the_abort": "moto answers 500 for a part of a session that was aborted",
        "test_open_sessions_are_listed": "moto answers 500 for a part of a session that was aborted",
    },
}
"""What a server gets wrong, whatever the backend does, by the start of the check's name."""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictS3]:
    with StrictS3(tmp_path_factory.mktemp("strict"), min_part=SMALL_PART) as server:
        yield server


@pytest.fixture(scope="module")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    """rclone with its usual directory cache: without one, each object in a folder takes longer than the last."""
    directory, port = tmp_path_factory.mktemp("rclone"), servers.free_port()
    root = directory / "buckets"
    root.mkdir()
    command = [servers.program("rclone"), "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    with servers.serving([*command, "--auth-key", "key,secret", str(root)], port, directory / "log"):
        yield servers.S3Server(f"http://127.0.0.1:{port}", "key", "secret", root)


@pytest.fixture(scope="module")
def ministack_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    """ministack on loopback only; without these variables it listens to everybody."""
    port = servers.free_port()
    environment = {"BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "GATEWAY_PORT": str(port), "SERVICES": "s3"}
    log = tmp_path_factory.mktemp("ministack") / "log"
    with servers.serving([servers.program("ministack")], port, log, environment):
        yield servers.S3Server(f"http://127.0.0.1:{port}", "test", "test")  # in queries it knows no other key


@pytest.fixture(scope="module", params=SERVERS)
def server_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def options(server_name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a destination at each of the servers."""
    if server_name == "strict":
        url = request.getfixturevalue("strict").url
        return {"bucket": "bucket", "endpoint_url": url, "key": "AKID", "secret": "secret"}
    return options_at(request.getfixturevalue(f"{server_name}_s3"))


def options_at(server: servers.S3Server) -> dict[str, Any]:
    given: dict[str, Any] = dict(server.options(server.make_bucket(BUCKET)))
    del given["backend"]
    return {**given, "read_timeout_seconds": 20.0}


@pytest.fixture(scope="module")
def backend(options: dict[str, Any]) -> Iterator[Lasting]:
    parsed = msgspec.convert(options, S3Options)
    backend = Lasting(parsed, S3Plugin().capabilities(parsed))
    yield backend
    backend.end()


@pytest.fixture
def subject(
    server_name: str, options: dict[str, Any], backend: Lasting, request: pytest.FixtureRequest
) -> Iterator[Subject]:
    for start, reason in SKIPPED.get(server_name, {}).items():
        if request.node.name.startswith(start):
            pytest.skip(reason)
    plugin, parsed = S3Plugin(), msgspec.convert(options, S3Options)
    claims = plugin.capabilities(parsed)
    look = None
    if server_name in ("strict", "rclone"):
        claims = msgspec.structs.replace(claims, min_part=SMALL_PART)  # these two take it, and it is four times faster
    if server_name == "rclone":
        # rclone ignores If-None-Match; an operator says so in the destination's `capabilities`.
        claims = msgspec.structs.replace(claims, create_only=False)
        server: servers.S3Server = request.getfixturevalue("rclone_s3")

        def look(key: str) -> bytes:
            return server.stored(BUCKET, key).read_bytes()

    claims = narrowed.for_check(request.node.name, claims)
    with Subject(Destination("tested", plugin, parsed, claims), backend=backend, look=look) as subject:
        yield subject


class Lasting(S3Backend):
    """The module's backend, which is closed when the last check is done, and not by each of them."""

    def delete(self, key: str) -> None:
        # Asked to delete a folder, rclone's server never answers again and keeps a core busy (1.75.2).
        if not key.endswith("/"):
            super().delete(key)

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()


def connect(options: dict[str, Any], **more: Any) -> S3Backend:
    return S3Plugin().build(msgspec.convert({**options, **more}, S3Options))


def test_a_file_sent_in_parts_is_the_same_file_behind_the_servers_back(
    rclone_s3: servers.S3Server, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    data = os.urandom(17 * MIB + 1)
    source.write_bytes(data)
    backend = connect(options_at(rclone_s3))

    session = backend.begin(
        "folder/a+b ü&?#%2e.bin",
        size=len(data),
        part_size=5 * MIB,
        properties=Properties(content_type="video/mp4", metadata={"note": "Größe"}),
    )
    receipts = []
    for number in (4, 2, 1, 3, 2):
        piece = data[(number - 1) * 5 * MIB : number * 5 * MIB]
        body = FileBody(source, (number - 1) * 5 * MIB, len(piece), crc32c(piece))
        receipts.append(backend.put_part(session, number, body))
    info = backend.complete(session, receipts[:4])

    stored = rclone_s3.stored(BUCKET, "folder/a+b ü&?#%2e.bin").read_bytes()
    assert hashlib.sha256(stored).digest() == hashlib.sha256(data).digest()
    assert (info.content_type, info.metadata) == ("video/mp4", {"note": "Größe"})
    backend.close()


@pytest.mark.parametrize("wrong", [{"secret": "wrong"}, {"key": "unknown"}])
def test_a_server_that_checks_signatures_refuses_wrong_keys(rclone_s3: servers.S3Server, wrong: dict[str, str]) -> None:
    backend = connect(options_at(rclone_s3), **wrong)
    with pytest.raises(AccessDenied):
        backend.begin("k", size=1, part_size=5 * MIB, properties=Properties())
    with pytest.raises(AccessDenied):
        put(backend, b"x")
    with pytest.raises(AccessDenied):
        backend.stat("k")
    backend.close()


def test_a_missing_bucket_is_named(options: dict[str, Any]) -> None:
    backend = connect(options, bucket="not-there")
    with pytest.raises(DestinationMissing, match="NoSuchBucket"):
        backend.begin("k", size=1, part_size=5 * MIB, properties=Properties())
    with pytest.raises(DestinationMissing, match="NoSuchBucket"):
        put(backend, b"x")
    backend.close()


def test_a_server_that_is_not_there_is_a_failed_connection(options: dict[str, Any]) -> None:
    backend = connect(options, endpoint_url=f"http://127.0.0.1:{servers.free_port()}")
    with pytest.raises(ConnectionFailed, match="refused"):
        put(backend, b"x")
    with pytest.raises(ConnectionFailed, match="refused"):
        backend.stat("k")
    backend.close()


def test_a_wrong_checksum_stores_nothing(options: dict[str, Any], backend: S3Backend, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(6 * MIB))
    for size in (10, 6 * MIB):
        with pytest.raises(IntegrityError):
            backend.put_whole("wrong", FileBody(source, 0, size, 1), properties=Properties())
    assert backend.stat("wrong") is None


def put(backend: S3Backend, data: bytes) -> None:
    backend.put_whole("k", BytesBody(data), properties=Properties())
