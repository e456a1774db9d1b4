"""The `gcs` backend on servers: the conformance suite in both ways of uploading, on ours and on two that are not."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from backends import conformance
from backends.base import KIB, MIB, ObjectInfo, Properties
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c, crc32c_text
from backends.conformance.subject import Subject
from backends.errors import ConnectionFailed, DestinationMissing, IntegrityError
from backends.gcs import GCSOptions, GCSPlugin
from backends.gcs_backend import GCSBackend
from backends.registry import Destination
from tests import servers
from tests.backends import gcs_servers, narrowed
from tests.backends.strict_gcs import StrictGCS

globals().update(conformance.tests())

SMALL_PART = 256 * KIB
SERVERS = ["strict-xml", "strict-compose", "fake", "emulator"]

SKIPPED = {
    "emulator": {
        "test_hostile_keys_are_stored_byte_for_byte_or_refused_in_one_call": (
            "it keeps objects under their keys as paths, and breaks on some of them"
        ),
        "test_a_copy_has": "it gives a copy the description of its source, whatever the request says",
        "test_sixteen_threads": "it serves one connection at a time and resets what its queue of five cannot hold",
    },
}
"""What a server gets wrong, whatever the backend does, by the start of the check's name."""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictGCS]:
    with StrictGCS(tmp_path_factory.mktemp("strict"), min_part=SMALL_PART) as server:
        yield server


@pytest.fixture(scope="module")
def key_file(strict: StrictGCS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key of a service account, whose tokens come from our server and are good everywhere."""
    path = tmp_path_factory.mktemp("key") / "key.json"
    strict.store.signers[gcs_servers.ROBOT] = gcs_servers.service_account(path, f"{strict.url}/token")
    return path


@pytest.fixture(scope="module")
def fake_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gcs_servers.fake_gcs(tmp_path_factory.mktemp("fake")) as url:
        yield url


@pytest.fixture(scope="module")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gcs_servers.emulator(tmp_path_factory.mktemp("emulator")) as url:
        yield url


@pytest.fixture(scope="module", params=SERVERS)
def server_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def options(server_name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a destination at each of the servers; with a key, because without one nothing can be signed."""
    known: dict[str, Any] = {"credentials_file": request.getfixturevalue("key_file")}
    if server_name.startswith("strict"):
        url = request.getfixturevalue("strict").url
        return {**known, "bucket": "bucket", "endpoint_url": url, "upload": server_name.removeprefix("strict-")}
    return {**known, "bucket": gcs_servers.BUCKET, "endpoint_url": request.getfixturevalue(f"{server_name}_url")}


@pytest.fixture(scope="module")
def backend(options: dict[str, Any]) -> Iterator[GCSBackend]:
    backend = connect(options)
    yield backend
    backend.close()


@pytest.fixture
def subject(
    server_name: str, options: dict[str, Any], backend: GCSBackend, request: pytest.FixtureRequest
) -> Iterator[Subject]:
    for start, reason in SKIPPED.get(server_name, {}).items():
        if request.node.name.startswith(start):
            pytest.skip(reason)
    plugin, parsed = GCSPlugin(), msgspec.convert(options, GCSOptions)
    claims = plugin.capabilities(parsed)
    if server_name == "strict-xml":
        claims = msgspec.structs.replace(claims, min_part=SMALL_PART)  # it takes them, and it is four times faster
    if not server_name.startswith("strict"):
        # Neither looks at preconditions when it composes; an operator says so in the destination's `capabilities`.
        claims = msgspec.structs.replace(claims, create_only=False)

    claims = narrowed.for_check(request.node.name, claims)

    def look(key: str) -> bytes:
        if server_name.startswith("strict"):
            strict: StrictGCS = request.getfixturevalue("strict")
            return strict.data(key)
        return stored_at(options["endpoint_url"], key)

    tested = Destination("tested", plugin, parsed, claims)
    if server_name.startswith("strict") and request.node.name.startswith("test_bad_credentials"):
        yield from subject_that_needs_a_key(tested, request.getfixturevalue("strict"))
        return
    with Subject(tested, backend=Shared(backend), look=look) as subject:
        yield subject


def subject_that_needs_a_key(known: Destination, server: StrictGCS) -> Iterator[Subject]:
    """The server lets in only whom it gave a token; the emulators of others let everybody in."""
    anonymous = replace(known, options=msgspec.structs.replace(known.options, credentials_file=None, token="anon"))
    server.store.tokens = set()
    try:
        with Subject(known, refused=anonymous) as subject:
            yield subject
    finally:
        server.store.tokens = None


class Shared:
    """The module's backend, which is closed when the last check is done, and not by each of them."""

    def __init__(self, backend: GCSBackend) -> None:
        self._backend = backend
        # Set here, and not by `__getattr__`: from Python 3.12 on, a protocol's `isinstance` does not ask that.
        for name in dir(backend):
            if not hasattr(self, name):
                setattr(self, name, getattr(backend, name))

    def can_copy_from(self, other: Shared) -> bool:
        return self._backend.can_copy_from(other._backend)

    def copy_from(self, other: Shared, *arguments: Any, **options: Any) -> ObjectInfo:
        return self._backend.copy_from(other._backend, *arguments, **options)

    def close(self) -> None:
        pass


def stored_at(url: str, key: str) -> bytes:
    """The object as the server gives it to anybody."""
    address = f"{url}/storage/v1/b/{gcs_servers.BUCKET}/o/{quote(key, safe='')}?alt=media"
    with urllib.request.urlopen(address, timeout=10) as answer:
        data: bytes = answer.read()
        return data


def connect(options: dict[str, Any], **more: Any) -> GCSBackend:
    return GCSPlugin().build(msgspec.convert({**options, **more}, GCSOptions))


def test_a_file_sent_in_parts_is_the_same_file_behind_the_servers_back(
    options: dict[str, Any], backend: GCSBackend, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source, key = tmp_path / "source", "folder/a+b ü&?#%2e;*.bin"
    data = os.urandom(17 * MIB + 1)
    source.write_bytes(data)

    described = Properties(content_type="video/mp4", metadata={"note": "Größe", "plain": "a b"})
    session = backend.begin(key, size=len(data), part_size=5 * MIB, properties=described)
    receipts = []
    for number in (4, 2, 1, 3, 2):
        piece = data[(number - 1) * 5 * MIB : number * 5 * MIB]
        body = FileBody(source, (number - 1) * 5 * MIB, len(piece), crc32c(piece))
        receipts.append(backend.put_part(session, number, body))
    info = backend.complete(session, receipts[:3] + receipts[3:4])

    strict: StrictGCS | None = request.getfixturevalue("strict") if options["bucket"] == "bucket" else None
    stored = strict.data(key) if strict else stored_at(options["endpoint_url"], key)
    assert hashlib.sha256(stored).digest() == hashlib.sha256(data).digest()
    assert (info.content_type, info.metadata) == ("video/mp4", described.metadata)
    assert info.checksum == crc32c_text(crc32c(data))


def test_a_missing_bucket_is_named(options: dict[str, Any]) -> None:
    backend = connect(options, bucket="not-there")
    with pytest.raises(DestinationMissing):
        backend.begin("k", size=1, part_size=5 * MIB, properties=Properties())
    with pytest.raises(DestinationMissing):
        put(backend, b"x")
    backend.close()


def test_a_server_that_is_not_there_is_a_failed_connection(options: dict[str, Any]) -> None:
    backend = connect(options, endpoint_url=f"http://127.0.0.1:{servers.free_port()}")
    with pytest.raises(ConnectionFailed, match="refused"):
        put(backend, b"x")
    with pytest.raises(ConnectionFailed, match="refused"):
        backend.stat("k")
    backend.close()


def test_a_wrong_checksum_stores_nothing(backend: GCSBackend, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(6 * MIB))
    for size in (10, 6 * MIB):
        with pytest.raises(IntegrityError):
            backend.put_whole("wrong", FileBody(source, 0, size, 1), properties=Properties())
    assert backend.stat("wrong") is None


def put(backend: GCSBackend, data: bytes) -> None:
    backend.put_whole("k", BytesBody(data), properties=Properties())
