"""The `azure` backend on Azurite: the conformance suite, and what the SDK's own client sees of it."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest

from backends import azure_backend, conformance
from backends.azure import AzureOptions, AzurePlugin
from backends.azure_backend import AzureBackend
from backends.base import MIB, Properties
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c, crc32c_text
from backends.conformance.bodies import ChangedBody
from backends.conformance.subject import Subject
from backends.errors import AccessDenied, ConnectionFailed, DestinationMissing, IntegrityError, SessionLost
from backends.registry import Destination
from tests import servers
from tests.backends import azure_servers, narrowed

globals().update(conformance.tests())

SKIPPED: dict[str, str] = {}
"""What the server gets wrong, whatever the backend does, by the start of the check's name."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azure_servers.azurite(tmp_path_factory.mktemp("azurite")) as url:
        yield url


@pytest.fixture
def subject(url: str, request: pytest.FixtureRequest) -> Iterator[Subject]:
    for start, reason in SKIPPED.items():
        if request.node.name.startswith(start):
            pytest.skip(reason)
    plugin, parsed = AzurePlugin(), msgspec.convert(azure_servers.options(url), AzureOptions)
    claims = narrowed.for_check(request.node.name, plugin.capabilities(parsed))
    destination = Destination("tested", plugin, parsed, claims)
    with Subject(destination, look=lambda key: stored_at(url, key)) as subject:
        yield subject


@pytest.fixture
def backend(url: str) -> Iterator[AzureBackend]:
    backend = connect(url)
    yield backend
    backend.close()


def stored_at(url: str, key: str) -> bytes:
    """The object as the SDK's own client reads it."""
    with azure_servers.container(url) as client:
        data: bytes = client.download_blob(key).readall()
        return data


def connect(url: str, **more: Any) -> AzureBackend:
    return AzurePlugin().build(msgspec.convert({**azure_servers.options(url), **more}, AzureOptions))


def put(backend: AzureBackend, data: bytes, key: str = "k") -> None:
    backend.put_whole(key, BytesBody(data), properties=Properties())


def test_a_file_sent_in_parts_is_the_same_file_behind_the_servers_back(
    url: str, backend: AzureBackend, tmp_path: Path
) -> None:
    source, key = tmp_path / "source", "folder/a+b ü&?#%2e;*.bin"
    data = os.urandom(17 * MIB + 1)
    source.write_bytes(data)
    described = Properties(content_type="video/mp4", metadata={"note": "Größe", "bucketline-job": "j"})
    session = backend.begin(key, size=len(data), part_size=5 * MIB, properties=described)
    receipts = []
    for number in (4, 2, 1, 3):
        piece = data[(number - 1) * 5 * MIB : number * 5 * MIB]
        body = FileBody(source, (number - 1) * 5 * MIB, len(piece), crc32c(piece))
        receipts.append(backend.put_part(session, number, body))
        assert receipts[-1].checksum == crc32c_text(crc32c(piece)), "Azurite tells the CRC-64 of each block"
    info = backend.complete(session, receipts)

    assert hashlib.sha256(stored_at(url, key)).digest() == hashlib.sha256(data).digest()
    assert (info.content_type, info.metadata) == ("video/mp4", described.metadata)
    with azure_servers.container(url) as client:
        assert client.get_blob_client(key).get_blob_properties().metadata["bucketline_djob"] == "j"


def test_completing_again_tells_of_the_object_that_was_made(backend: AzureBackend) -> None:
    session = backend.begin("twice", size=2, part_size=1, properties=Properties(), create_only=True)
    receipts = [backend.put_part(session, number, BytesBody(b"x")) for number in (1, 2)]
    assert backend.complete(session, receipts) == backend.complete(session, receipts)
    backend.delete("twice")


def test_completing_one_upload_loses_another_of_its_key(backend: AzureBackend) -> None:
    sessions = [backend.begin("race", size=1, part_size=1, properties=Properties()) for _ in range(2)]
    receipts = [backend.put_part(session, 1, BytesBody(b"x")) for session in sessions]
    backend.complete(sessions[0], [receipts[0]])
    with pytest.raises(SessionLost):
        backend.complete(sessions[1], [receipts[1]])


def test_an_empty_object_never_replaces_what_came_meanwhile(backend: AzureBackend) -> None:
    session = backend.begin("empty", size=0, part_size=1, properties=Properties())
    receipt = backend.put_part(session, 1, BytesBody(b""))
    put(backend, b"newer", "empty")
    with pytest.raises(SessionLost):
        backend.complete(session, [receipt])
    info = backend.stat("empty")
    assert info is not None
    assert info.size == 5


def test_a_changed_source_stores_nothing(backend: AzureBackend) -> None:
    session = backend.begin("wrong", size=5, part_size=5, properties=Properties())
    with pytest.raises(IntegrityError):
        backend.put_part(session, 1, ChangedBody(b"small"))
    with pytest.raises(IntegrityError):
        backend.put_whole("wrong", ChangedBody(b"small"), properties=Properties())
    assert backend.list_parts(session) == []
    assert backend.stat("wrong") is None


def test_a_missing_container_is_named(url: str) -> None:
    backend = connect(url, container="not-there")
    session = backend.begin("k", size=1, part_size=1, properties=Properties())
    with pytest.raises(DestinationMissing):
        backend.put_part(session, 1, BytesBody(b"x"))
    with pytest.raises(DestinationMissing):
        put(backend, b"x")
    backend.close()


def test_a_wrong_key_is_refused_and_never_shown(url: str) -> None:
    backend = connect(url, account_key="bm90IHRoZSBrZXk=")
    with pytest.raises(AccessDenied) as refused:
        put(backend, b"x")
    assert "bm90" not in str(refused.value)
    assert "devstoreaccount1:" not in str(refused.value)
    backend.close()


def test_a_shared_access_signature_opens_the_container(url: str) -> None:
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    sas = generate_container_sas(
        azure_servers.ACCOUNT,
        azure_servers.CONTAINER,
        account_key=azure_servers.KEY,
        permission=ContainerSasPermissions(read=True, write=True, create=True, delete=True, tag=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    backend = connect(url, account_key=None, sas_token=f"?{sas}")
    session = backend.begin("by sas", size=3, part_size=2, properties=Properties(tags={"team": "blue"}))
    receipts = [backend.put_part(session, 1, BytesBody(b"ab")), backend.put_part(session, 2, BytesBody(b"c"))]
    assert backend.complete(session, receipts).size == 3
    assert b"".join(backend.read_range("by sas", 1, 2)) == b"bc"
    assert backend.copy_from(backend, "by sas", "copy by sas", properties=Properties()).size == 3
    with pytest.raises(AccessDenied, match="`account_key`") as refused:
        backend.presign("by sas", expires_seconds=60)
    assert "sig=" not in str(refused.value)
    backend.close()


def test_a_server_that_is_not_there_is_a_failed_connection(url: str) -> None:
    backend = connect(url, endpoint_url=f"http://127.0.0.1:{servers.free_port()}/devstoreaccount1")
    with pytest.raises(ConnectionFailed, match="refused"):
        put(backend, b"x")
    backend.close()


def opened(address: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=10) as answer:
        data: bytes = answer.read()
        return data


def test_a_signed_address_lets_read_one_blob_for_a_while_and_nothing_else(backend: AzureBackend) -> None:
    put(backend, b"hello", "signed")
    address = backend.presign("signed", expires_seconds=2)
    assert opened(address) == b"hello"
    for changed, method in [(address, "DELETE"), (address.replace("signed?", "k?"), "GET")]:
        with pytest.raises(HTTPError) as refused:
            opened(changed, method)
        assert refused.value.code == 403
        refused.value.close()
    time.sleep(2.5)
    with pytest.raises(HTTPError) as late:
        opened(address)
    assert late.value.code == 403
    late.value.close()


def test_a_copy_of_several_blocks_from_another_container_is_the_same_file(
    url: str, backend: AzureBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_backend, "COPIED_AT_ONCE", MIB)
    data = os.urandom(2 * MIB + 5)
    with azure_servers.container(url, "elsewhere") as client:
        client.create_container()
        client.upload_blob("from here+ü", data)
        other = connect(url, container="elsewhere")
        copy = backend.copy_from(other, "from here+ü", "copied", properties=Properties(metadata={"of": "a-b"}))
        other.close()
    assert (copy.size, copy.metadata) == (len(data), {"of": "a-b"})
    assert stored_at(url, "copied") == data


def test_an_empty_object_is_copied_too(url: str, backend: AzureBackend) -> None:
    put(backend, b"", "empty source")
    assert backend.copy_from(backend, "empty source", "empty copy", properties=Properties()).size == 0
    assert stored_at(url, "empty copy") == b""
