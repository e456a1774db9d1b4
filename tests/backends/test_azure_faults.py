"""Azure when things go wrong: each fault at a strict server is named rightly, and no wrong bytes are ever accepted."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from backends import azure_backend, azure_client, errors
from backends.azure import AzureOptions, AzurePlugin
from backends.azure_backend import AzureBackend
from backends.base import MIB, Properties, Receipt, Session
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c, crc32c_text
from backends.memory import MemoryOptions, MemoryPlugin
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


# -- signed addresses and copies ---------------------------------------------------------------------------------------


class Identity:
    """What azure-identity finds on a machine that has one."""

    def get_token(self, *scopes: str, **_: Any) -> Any:
        return SimpleNamespace(token="lent token")


@pytest.fixture
def identified(server: StrictAzure, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureBackend]:
    monkeypatch.setattr(azure_client, "_tokens", lambda options: Identity())
    backend = connect(server, account_key=None)
    yield backend
    backend.close()


def test_an_identity_signs_with_a_key_that_azure_lends_it(server: StrictAzure, identified: AzureBackend) -> None:
    put(identified)
    address = identified.presign("key", expires_seconds=600)
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.read() == b"hello"
    words = parse_qs(urlsplit(address).query)
    assert {"skoid": ["o"], "sktid": ["t"], "sp": ["r"], "sr": ["b"]}.items() <= words.items()
    assert server.requests.count("lend") == 1
    assert "lent token" not in address


@pytest.mark.parametrize("seconds", [0, 7 * 24 * 3600 + 1])
def test_an_address_for_no_time_or_too_long_is_refused(identified: AzureBackend, seconds: int) -> None:
    with pytest.raises(errors.InvalidRequest):
        identified.presign("key", expires_seconds=seconds)


def test_an_identity_that_may_not_sign_is_told_what_it_lacks(server: StrictAzure, identified: AzureBackend) -> None:
    server.fail("lend", status=403, code="AuthorizationPermissionMismatch")
    with pytest.raises(errors.AccessDenied):
        identified.presign("key", expires_seconds=60)
    server.fail("lend", "say")
    with pytest.raises(errors.Unavailable, match="no key"):
        identified.presign("key", expires_seconds=60)


def test_an_account_without_a_name_cannot_sign(server: StrictAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_client, "_tokens", lambda options: Identity())
    backend = connect(server, account_key=None, account_name=None)
    with pytest.raises(errors.AccessDenied, match="`account_name`"):
        backend.presign("key", expires_seconds=60)
    backend.close()


def test_a_key_that_is_none_signs_nothing(server: StrictAzure) -> None:
    backend = connect(server, account_key="crypt")
    with pytest.raises(errors.AccessDenied) as refused:
        backend.presign("key", expires_seconds=60)
    assert "crypt" not in str(refused.value)
    backend.close()


def copy(backend: AzureBackend, **more: Any) -> Any:
    return backend.copy_from(backend, "key", "copy", properties=Properties(metadata=MARK), **more)


def test_a_source_that_is_replaced_while_it_is_copied_makes_no_object(
    server: StrictAzure, backend: AzureBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_backend, "COPIED_AT_ONCE", 2)
    put(backend)
    fetch, fetched = backend._fetch, []

    def meanwhile(*arguments: Any) -> None:
        fetch(*arguments)
        fetched.append(arguments)
        put(backend)

    monkeypatch.setattr(backend, "_fetch", meanwhile)
    with pytest.raises(errors.Unavailable, match="replaced"):
        copy(backend)
    assert len(fetched) == 1
    assert backend.stat("copy") is None


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "CannotVerifyCopySource", errors.InvalidRequest),
        (403, "CannotVerifyCopySource", errors.AccessDenied),
        (503, "ServerBusy", errors.Throttled),
        (500, "", errors.Unavailable),
    ],
)
def test_a_copy_that_fails_leaves_nothing_at_the_key(
    server: StrictAzure, backend: AzureBackend, status: int, code: str, expected: type[errors.BackendError]
) -> None:
    put(backend)
    server.fail("fetch", status=status, code=code)
    with pytest.raises(expected) as failure:
        copy(backend)
    assert "sig=abc" not in str(failure.value)
    assert backend.stat("copy") is None
    assert copy(backend, create_only=True).metadata == MARK
    with pytest.raises(errors.ObjectExists):
        copy(backend, create_only=True)


def test_only_accounts_of_one_cloud_copy_from_each_other(server: StrictAzure, backend: AzureBackend) -> None:
    def at(url: str) -> AzureBackend:
        return connect(server, endpoint_url=url)

    one, two, china = (
        at(f"https://{host}") for host in ("a.blob.core.windows.net", "b.blob.core.windows.net", "c.blob.chinacloud.cn")
    )
    assert one.can_copy_from(two)
    assert not one.can_copy_from(china)
    assert not backend.can_copy_from(one)
    assert not backend.can_copy_from(MemoryPlugin().build(MemoryOptions()))
    with pytest.raises(errors.InvalidRequest, match="Azure"):
        backend.copy_from(MemoryPlugin().build(MemoryOptions()), "key", "copy", properties=Properties())
