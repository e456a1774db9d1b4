"""Azure when things go wrong: each fault at a strict server is named rightly, and no wrong bytes are ever accepted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import errors
from backends.azure import AzureOptions, AzurePlugin
from backends.azure_backend import AzureBackend
from backends.base import MIB, Properties, Receipt, Session
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c, crc32c_text
from tests.backends.strict_azure import CONTAINER, StrictAzure

PART = MIB
DATA = os.urandom(2 * PART + 12_345)
MARK = {"bucketline-job": "j1"}


@pytest.fixture(scope="module")
def strict() -> Iterator[StrictAzure]:
    with StrictAzure() as server:
        yield server


@pytest.fixture
def server(strict: StrictAzure) -> StrictAzure:
    strict.reset()
    return strict


@pytest.fixture
def backend(server: StrictAzure) -> Iterator[AzureBackend]:
    backend = connect(server)
    yield backend
    backend.close()


def connect(server: StrictAzure, **more: Any) -> AzureBackend:
    options = {"container": CONTAINER, "account_name": "a", "account_key": "c2VjcmV0", "endpoint_url": server.url}
    return AzurePlugin().build(msgspec.convert({**options, **more}, AzureOptions))


def begin(backend: AzureBackend, *, create_only: bool = False, **properties: Any) -> Session:
    wanted = Properties(metadata=MARK, **properties)
    return backend.begin("key", size=len(DATA), part_size=PART, properties=wanted, create_only=create_only)


def part(number: int) -> BytesBody:
    return BytesBody(DATA[(number - 1) * PART : number * PART])


def send_all(backend: AzureBackend, session: Session) -> list[Receipt]:
    return [backend.put_part(session, number, part(number)) for number in (3, 1, 2)]


def put(backend: AzureBackend, *, create_only: bool = False) -> None:
    backend.put_whole("key", BytesBody(b"hello"), properties=Properties(metadata=MARK), create_only=create_only)


def test_parts_in_any_order_become_the_object_and_each_is_confirmed(server: StrictAzure, backend: AzureBackend) -> None:
    session = begin(backend, storage_class="Cool", encryption="scope-1", tags={"a b": "c"})
    receipts = send_all(backend, session)
    assert backend.stat("key") is None
    info = backend.complete(session, receipts)

    assert server.blobs["key"].data == DATA
    assert {receipt.number: receipt.checksum for receipt in receipts}[1] == crc32c_text(crc32c(DATA[:PART]))
    assert backend.stat("key") == info
    assert (info.metadata, info.properties) == (MARK, {"storage_class": "Cool"})
    assert server.blobs["key"].headers["x-ms-tags"] == "a%20b=c"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "InternalError", errors.Unavailable),
        (502, "", errors.Unavailable),
        (500, "OperationTimedOut", errors.TimedOut),
        (503, "ServerBusy", errors.Throttled),
        (429, "", errors.Throttled),
        (403, "AuthenticationFailed", errors.AccessDenied),
        (403, "AuthorizationPermissionMismatch", errors.AccessDenied),
        (401, "InvalidAuthenticationInfo", errors.AccessDenied),  # there is no fresh key to be had
        (409, "BlobImmutableDueToPolicy", errors.AccessDenied),
        (409, "ContainerBeingDeleted", errors.Unavailable),
        (404, "ContainerNotFound", errors.DestinationMissing),
        (400, "InvalidBlobOrBlock", errors.InvalidRequest),
        (413, "RequestBodyTooLarge", errors.InvalidRequest),
        (400, "Md5Mismatch", errors.IntegrityError),
        (412, "ConditionNotMet", errors.ObjectExists),
        (507, "", errors.StoreFull),
        (418, "Teapot", errors.InvalidRequest),
    ],
)
def test_every_code_has_one_meaning(
    server: StrictAzure, backend: AzureBackend, status: int, code: str, expected: type[errors.BackendError]
) -> None:
    session = begin(backend)
    for operation in ("block", "put", "head"):
        server.fail(operation, status=status, code=code, times=9)
    calls: list[Any] = [lambda: backend.put_part(session, 1, part(1)), lambda: put(backend), lambda: backend.stat("k")]
    for call in calls:
        with pytest.raises(expected) as raised:
            call()
        assert type(raised.value) is expected
        assert code in str(raised.value)
        assert "abc" not in str(raised.value)
        assert "x:y" not in str(raised.value)


def test_the_wait_that_a_server_asks_for_is_passed_on(server: StrictAzure, backend: AzureBackend) -> None:
    server.fail("put", status=503, code="ServerBusy", headers={"Retry-After": "7"})
    with pytest.raises(errors.Throttled) as raised:
        put(backend)
    assert raised.value.retry_after == 7


def test_no_call_is_repeated_below_the_engine(server: StrictAzure, backend: AzureBackend) -> None:
    session = begin(backend)
    server.fail("block", status=500, code="InternalError")
    with pytest.raises(errors.Unavailable):
        backend.put_part(session, 1, part(1))
    assert server.requests == ["block"]


@pytest.mark.parametrize("operation", ["block", "put"])
def test_other_bytes_at_the_provider_are_an_integrity_error(
    server: StrictAzure, backend: AzureBackend, operation: str
) -> None:
    session = begin(backend)
    server.fail(operation, "corrupt")
    with pytest.raises(errors.IntegrityError):
        backend.put_part(session, 1, part(1)) if operation == "block" else put(backend)
    assert "key" not in server.blobs


def test_a_server_that_tells_no_crc64_confirms_nothing(server: StrictAzure, backend: AzureBackend) -> None:
    server.fail("block", "silent")
    assert backend.put_part(begin(backend), 1, part(1)).checksum == ""


@pytest.mark.parametrize(("how", "expected"), [("cut", errors.ConnectionFailed), ("hang", errors.TimedOut)])
def test_connections_that_end_or_hang(server: StrictAzure, how: str, expected: type[errors.BackendError]) -> None:
    backend = connect(server, read_timeout_seconds=0.3)
    session = begin(backend)
    server.fail("block", how)
    with pytest.raises(expected):
        backend.put_part(session, 1, part(1))
    backend.close()


def test_a_lost_answer_to_complete_is_found_by_completing_again(server: StrictAzure, backend: AzureBackend) -> None:
    session = begin(backend, create_only=True)
    receipts = send_all(backend, session)
    server.fail("commit", "lost")
    with pytest.raises(errors.ConnectionFailed):
        backend.complete(session, receipts)
    assert backend.complete(session, receipts).size == len(DATA)
    assert server.requests.count("commit") == 1


def test_a_part_whose_answer_was_lost_is_sent_again(server: StrictAzure, backend: AzureBackend) -> None:
    session = begin(backend)
    server.fail("block", "lost")
    with pytest.raises(errors.ConnectionFailed):
        backend.put_part(session, 1, part(1))
    backend.complete(session, send_all(backend, session))
    assert server.blobs["key"].data == DATA


def test_blocks_that_are_gone_are_a_lost_session(server: StrictAzure, backend: AzureBackend) -> None:
    session = begin(backend)
    receipts = send_all(backend, session)
    server.fail("commit", status=400, code="InvalidBlockList")
    with pytest.raises(errors.SessionLost):
        backend.complete(session, receipts)
    put(backend)
    with pytest.raises(errors.SessionLost):
        backend.complete(session, receipts)


def test_a_lost_race_to_create_is_told_as_such(server: StrictAzure, backend: AzureBackend) -> None:
    session = begin(backend, create_only=True)
    receipts = send_all(backend, session)
    put(backend)
    with pytest.raises(errors.ObjectExists):
        backend.complete(session, receipts)
    with pytest.raises(errors.ObjectExists):
        put(backend, create_only=True)


def test_a_source_that_changed_is_never_whole_at_the_provider(
    server: StrictAzure, backend: AzureBackend, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    session = backend.begin("key", size=len(DATA), part_size=len(DATA), properties=Properties())
    with pytest.raises(errors.IntegrityError):
        backend.put_part(session, 1, FileBody(source, 0, len(DATA), 1))
    assert server.blocks == {}


class Tokens:
    """A credential that gives one token after the other."""

    def __init__(self) -> None:
        self.given = 0

    def get_token(self, *_: str) -> Any:
        from azure.core.credentials import AccessToken

        self.given += 1
        return AccessToken(f"token-{self.given}", 0)


def test_a_stale_token_is_renewed_once(server: StrictAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends import azure_client

    tokens = Tokens()
    monkeypatch.setattr(azure_client, "_tokens", lambda options: tokens)
    backend = connect(server, account_key=None)
    server.fail("put", status=401, code="InvalidAuthenticationInfo", times=2)
    with pytest.raises(errors.CredentialsExpired):
        put(backend)
    with pytest.raises(errors.AccessDenied, match="Fresh credentials"):
        put(backend)
    put(backend)
    assert server.authorizations[:2] == ["Bearer token-1", "Bearer token-2"]
    backend.close()
