"""What Google does on its side: copies from object to object, and addresses that a service account signed."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest

from backends import errors
from backends.base import MIB, ObjectInfo, Properties
from backends.body import BytesBody
from backends.checksums import crc32c, crc32c_text
from backends.gcs import GCSOptions, GCSPlugin
from backends.gcs_backend import GCSBackend
from backends.gcs_signing import signed_address
from backends.memory import MemoryOptions, MemoryPlugin
from tests.backends import gcs_servers
from tests.backends.strict_gcs import StrictGCS
from tests.backends.strict_gcs_copies import verify

MARK = {"bucketline-job": "j1"}
KMS_KEY = "projects/p/locations/europe/keyRings/r/cryptoKeys/k"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictGCS]:
    with StrictGCS(tmp_path_factory.mktemp("strict") / "objects") as server:
        yield server


@pytest.fixture
def server(strict: StrictGCS) -> StrictGCS:
    strict.reset()
    return strict


@pytest.fixture(params=["xml", "compose"])
def backend(server: StrictGCS, request: pytest.FixtureRequest) -> Iterator[GCSBackend]:
    backend = connect(server, upload=request.param)
    yield backend
    backend.close()


def connect(server: StrictGCS, **more: object) -> GCSBackend:
    options = {"bucket": "bucket", "endpoint_url": server.url, **more}
    return GCSPlugin().build(msgspec.convert(options, GCSOptions))


def put(backend: GCSBackend, data: bytes = b"hello", key: str = "key") -> None:
    backend.put_whole(key, BytesBody(data), properties=Properties(metadata=MARK))


def signed(server: StrictGCS, tmp_path: Path, **more: object) -> GCSBackend:
    """A backend with the key of a service account whose signatures the server knows."""
    path = tmp_path / "robot.json"
    server.store.signers[gcs_servers.ROBOT] = gcs_servers.service_account(path, f"{server.url}/token")
    return connect(server, credentials_file=path, **more)


def refused(address: str) -> str:
    with pytest.raises(HTTPError) as failure:
        urllib.request.urlopen(address, timeout=10)
    with failure.value as answer:
        assert answer.code == 403
        return answer.read().decode()


def test_a_signed_address_opens_one_object_for_a_while(server: StrictGCS, tmp_path: Path) -> None:
    backend = signed(server, tmp_path, user_project="payer")
    key = "a b/ü?#+%41~"
    put(backend, key=key)
    address = backend.presign(key, expires_seconds=60)
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.read() == b"hello"
    assert "userProject=payer" in address
    assert "SignatureDoesNotMatch" in refused(address.replace("%20b", "%20c"))
    assert "SignatureDoesNotMatch" in refused(address.replace("Expires=60", "Expires=61"))
    server.store.signers.clear()
    assert "AccessDenied" in refused(address)
    backend.close()


def test_a_signed_address_ends(tmp_path: Path) -> None:
    from google.oauth2.service_account import Credentials

    known = {gcs_servers.ROBOT: gcs_servers.service_account(tmp_path / "key", "https://tokens.example")}
    robot, begun = Credentials.from_service_account_file(tmp_path / "key"), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    address = signed_address("https://g.example/b/k", gcs_servers.ROBOT, robot.sign_bytes, 60, now=begun)
    path = address.removeprefix("https://g.example")
    assert verify(path, "g.example", known, begun + timedelta(seconds=60)) == ""
    assert verify(path, "g.example", known, begun + timedelta(seconds=61)) == "ExpiredToken"
    for seconds in (0, 7 * 24 * 3600 + 1):
        with pytest.raises(errors.InvalidRequest, match="7 days"):
            signed_address("https://g.example/b/k", gcs_servers.ROBOT, robot.sign_bytes, seconds)


def test_who_is_no_service_account_cannot_sign(backend: GCSBackend) -> None:
    with pytest.raises(errors.AccessDenied, match="`credentials_file`"):
        backend.presign("key", expires_seconds=60)


def test_a_signature_that_google_does_not_make_is_no_address(
    server: StrictGCS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.exceptions import TransportError
    from google.oauth2.service_account import Credentials

    def fails(*_: object) -> bytes:
        raise TransportError("Error calling the IAM signBlob API: secret")

    backend = signed(server, tmp_path)
    monkeypatch.setattr(Credentials, "sign_bytes", fails)
    with pytest.raises(errors.BackendError) as failure:
        backend.presign("key", expires_seconds=60)
    assert "secret" not in str(failure.value)
    backend.close()


def copy(backend: GCSBackend, *, create_only: bool = False, **properties: Any) -> ObjectInfo:
    wanted = Properties(metadata=MARK, **properties)
    return backend.copy_from(backend, "source", "copy", properties=wanted, create_only=create_only)


def test_a_copy_goes_on_until_google_is_done(server: StrictGCS, backend: GCSBackend) -> None:
    data = os.urandom(2 * MIB + 5)
    put(backend, data, "source")
    info = copy(backend, storage_class="NEARLINE", acl="public-read", encryption=KMS_KEY)
    assert server.data("copy") == data
    assert server.count("rewrite") == 3
    assert (info.checksum, info.metadata) == (crc32c_text(crc32c(data)), MARK)
    assert info.content_type == "application/octet-stream"
    assert info.properties == {"storage_class": "NEARLINE", "encryption": KMS_KEY}
    assert server.store.objects["copy"].resource["acl"] == "publicRead"


def test_a_copy_that_never_ends_is_given_up(server: StrictGCS, backend: GCSBackend) -> None:
    put(backend, key="source")
    server.fail("rewrite", "say", document='{"done": false, "rewriteToken": "t", "totalBytesRewritten": "1"}', times=9)
    with pytest.raises(errors.Unavailable, match="neither goes on"):
        copy(backend)
    assert server.count("rewrite") == 2


def test_a_copy_of_other_bytes_is_no_success(server: StrictGCS, backend: GCSBackend) -> None:
    put(backend, key="source")
    server.fail("rewrite", "rot")
    with pytest.raises(errors.IntegrityError):
        copy(backend)


def test_a_source_that_is_gone_meanwhile_is_refused(
    server: StrictGCS, backend: GCSBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, key="source")
    get = backend._objects.get

    def replaced(*arguments: str) -> Any:
        found = get(*arguments)
        put(backend, key="source")
        return found

    monkeypatch.setattr(backend._objects, "get", replaced)
    with pytest.raises(errors.InvalidRequest):
        copy(backend)
    assert "copy" not in server.names


def test_a_copy_that_may_not_replace_does_not(server: StrictGCS, backend: GCSBackend) -> None:
    put(backend, key="source")
    put(backend, b"old", "copy")
    with pytest.raises(errors.ObjectExists):
        copy(backend, create_only=True)
    assert server.data("copy") == b"old"


def test_only_with_one_identity_at_one_provider_is_copied(
    server: StrictGCS, backend: GCSBackend, tmp_path: Path
) -> None:
    same, other, elsewhere = (
        connect(server, bucket="bucket-2"), signed(server, tmp_path), connect(server, endpoint_url="http://127.0.0.2:9")
    )  # fmt: skip
    assert backend.can_copy_from(same)
    assert not backend.can_copy_from(other)
    assert not backend.can_copy_from(elsewhere)
    memory = MemoryPlugin().build(MemoryOptions())
    assert not backend.can_copy_from(memory)
    with pytest.raises(errors.InvalidRequest, match="Google"):
        backend.copy_from(memory, "source", "copy", properties=Properties())
