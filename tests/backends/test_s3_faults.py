"""S3 when things go wrong: each fault at a strict server is named rightly, and no wrong bytes are ever accepted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from backends import errors
from backends.base import MIB, Properties, Receipt, Session
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c, crc32c_text
from backends.s3 import S3Options, S3Plugin
from backends.s3_backend import S3Backend
from tests.backends.strict_s3 import StrictS3

PART = 5 * MIB
DATA = os.urandom(2 * PART + 12_345)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictS3]:
    with StrictS3(tmp_path_factory.mktemp("strict")) as server:
        yield server


@pytest.fixture(scope="module")
def connected(strict: StrictS3) -> Iterator[S3Backend]:
    """Connecting costs a quarter of a second, so tests share a backend; those that change its ways make one."""
    backend = connect(strict)
    yield backend
    backend.close()


@pytest.fixture
def server(strict: StrictS3) -> StrictS3:
    strict.reset()
    return strict


@pytest.fixture
def backend(connected: S3Backend, server: StrictS3) -> S3Backend:
    return connected


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def connect(server: StrictS3, **more: object) -> S3Backend:
    options = {"bucket": "bucket", "endpoint_url": server.url, "key": "AKID", "secret": "secret", **more}
    return S3Plugin().build(msgspec.convert(options, S3Options))


def begin(backend: S3Backend, key: str = "key", *, create_only: bool = False) -> Session:
    return backend.begin(
        key,
        size=len(DATA),
        part_size=PART,
        properties=Properties(metadata={"bucketline-job": "j1"}),
        create_only=create_only,
    )


def part(source: Path, number: int) -> FileBody:
    offset = (number - 1) * PART
    data = DATA[offset : offset + PART]
    return FileBody(source, offset, len(data), crc32c(data))


def send_all(backend: S3Backend, session: Session, source: Path) -> list[Receipt]:
    return [backend.put_part(session, number, part(source, number)) for number in (3, 1, 2)]


def upload(backend: S3Backend, source: Path) -> None:
    session = begin(backend)
    backend.complete(session, send_all(backend, session, source))


def put(backend: S3Backend, data: bytes = b"hello", key: str = "key", *, create_only: bool = False) -> None:
    backend.put_whole(key, BytesBody(data), properties=Properties(), create_only=create_only)


def test_parts_in_any_order_become_the_object_and_its_checksum_is_confirmed(
    server: StrictS3, backend: S3Backend, source: Path
) -> None:
    session = begin(backend)
    receipts = send_all(backend, session, source)
    info = backend.complete(session, receipts)

    assert server.path("key").read_bytes() == DATA
    assert [receipt.checksum for receipt in receipts if receipt.number == 1] == [crc32c_text(crc32c(DATA[:PART]))]
    assert info.checksum == crc32c_text(crc32c(DATA))
    found = backend.stat("key")
    assert found is not None
    assert (found.size, found.checksum, found.metadata) == (len(DATA), info.checksum, {"bucketline-job": "j1"})
    assert not server.store.uploads


def test_nothing_is_visible_before_complete(server: StrictS3, backend: S3Backend, source: Path) -> None:
    session = begin(backend)
    send_all(backend, session, source)

    assert backend.stat("key") is None
    backend.abort(session)
    backend.abort(session)
    assert backend.stat("key") is None
    assert backend.list_sessions() == []


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "InternalError", errors.Unavailable),
        (502, "", errors.Unavailable),
        (503, "SlowDown", errors.Throttled),
        (429, "TooManyRequests", errors.Throttled),
        (400, "RequestTimeout", errors.TimedOut),
        (400, "ExpiredToken", errors.CredentialsExpired),
        (403, "AccessDenied", errors.AccessDenied),
        (403, "RequestTimeTooSkewed", errors.AccessDenied),
        (404, "NoSuchBucket", errors.DestinationMissing),
        (404, "NoSuchUpload", errors.SessionLost),
        (400, "BadDigest", errors.IntegrityError),
        (400, "EntityTooLarge", errors.InvalidRequest),
        (412, "PreconditionFailed", errors.ObjectExists),
        (507, "XMinioStorageFull", errors.StoreFull),
        (418, "Teapot", errors.InvalidRequest),
    ],
)
def test_every_code_has_one_meaning_on_both_ways_to_the_server(
    server: StrictS3, backend: S3Backend, source: Path, status: int, code: str, expected: type[errors.BackendError]
) -> None:
    session = begin(backend)
    server.fail("part", "error", status=status, code=code, times=-1)
    server.fail("complete", "error", status=status, code=code, times=-1)

    with pytest.raises(expected) as sent:
        backend.put_part(session, 1, part(source, 1))
    assert type(sent.value) is expected
    assert code in str(sent.value)

    receipts = [Receipt(n, part(source, n).size, "e") for n in (1, 2, 3)]
    with pytest.raises(expected) as completed:
        backend.complete(session, receipts)
    assert type(completed.value) is expected


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("soon", None), ("99999999", 3600.0)])
def test_the_wait_that_a_server_asks_for_is_passed_on(
    server: StrictS3, backend: S3Backend, source: Path, header: str, seconds: float | None
) -> None:
    session = begin(backend)
    for operation in ("part", "create"):
        server.fail(operation, "error", status=429, code="SlowDown", headers={"Retry-After": header})

    with pytest.raises(errors.Throttled) as sent:
        backend.put_part(session, 1, part(source, 1))
    assert sent.value.retry_after == seconds
    with pytest.raises(errors.Throttled) as begun:
        begin(backend)
    assert begun.value.retry_after == seconds


def test_no_call_is_repeated_below_the_engine(server: StrictS3, backend: S3Backend, source: Path) -> None:
    session = begin(backend)
    for operation in ("part", "complete", "head", "create", "abort"):
        server.fail(operation, "error", status=503, code="SlowDown", times=-1)

    calls = {
        "part": lambda: backend.put_part(session, 1, part(source, 1)),
        "complete": lambda: backend.complete(session, [Receipt(n, part(source, n).size, "e") for n in (1, 2, 3)]),
        "head": lambda: backend.stat("key"),
        "abort": lambda: backend.abort(session),
    }
    for operation, call in calls.items():
        with pytest.raises(errors.Throttled):
            call()
        assert server.count(operation) == 1, operation


@pytest.mark.parametrize("after", [0, 2 * MIB])
def test_a_connection_reset_in_the_middle_costs_one_part(
    server: StrictS3, backend: S3Backend, source: Path, after: int
) -> None:
    session = begin(backend)
    server.fail("part", "reset", after_bytes=after, number=2)

    with pytest.raises(errors.ConnectionFailed):
        backend.put_part(session, 2, part(source, 2))
    backend.complete(session, send_all(backend, session, source))
    assert server.path("key").read_bytes() == DATA


def test_a_lost_reply_is_a_failed_connection_and_the_part_can_be_sent_again(
    server: StrictS3, backend: S3Backend, source: Path
) -> None:
    session = begin(backend)
    server.fail("part", "lose_reply")

    with pytest.raises(errors.ConnectionFailed):
        backend.put_part(session, 1, part(source, 1))
    backend.complete(session, send_all(backend, session, source))
    assert server.path("key").read_bytes() == DATA


@pytest.mark.parametrize("what", ["lose_reply", "empty"])
def test_an_unclear_answer_to_complete_is_transient_and_stat_shows_the_truth(
    server: StrictS3, backend: S3Backend, source: Path, what: str
) -> None:
    session = begin(backend)
    receipts = send_all(backend, session, source)
    server.fail("complete", what)

    with pytest.raises(errors.TransientError):
        backend.complete(session, receipts)
    found = backend.stat("key")
    assert found is not None
    assert found.metadata["bucketline-job"] == "j1"
    with pytest.raises(errors.SessionLost):
        backend.complete(session, receipts)


def test_an_error_that_comes_as_200_is_an_error(server: StrictS3, backend: S3Backend, source: Path) -> None:
    session = begin(backend)
    receipts = send_all(backend, session, source)
    server.fail("complete", "error_200")

    with pytest.raises(errors.Unavailable):
        backend.complete(session, receipts)
    assert backend.stat("key") is None
    backend.complete(session, receipts)
    assert server.path("key").read_bytes() == DATA


def test_a_part_answered_without_an_etag_is_not_believed(server: StrictS3, backend: S3Backend, source: Path) -> None:
    session = begin(backend)
    server.fail("part", "empty")
    with pytest.raises(errors.Unavailable):
        backend.put_part(session, 1, part(source, 1))


@pytest.mark.parametrize("what", ["flip", "cut"])
def test_damage_on_the_wire_is_seen_by_the_server_from_the_checksum_of_ingest(
    server: StrictS3, backend: S3Backend, source: Path, what: str
) -> None:
    session = begin(backend)
    server.fail("part", what)
    server.fail("put", what)

    with pytest.raises(errors.IntegrityError):
        backend.put_part(session, 1, part(source, 1))
    with pytest.raises(errors.IntegrityError):
        put(backend)
    assert server.path("key").exists() is False


def test_damage_is_seen_by_its_etag_where_the_server_knows_no_crc32c(server: StrictS3, source: Path) -> None:
    without_checksums(server)
    backend = connect(server)
    session = begin(backend)
    server.fail("part", "flip", having={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, number=2)

    backend.put_part(session, 1, part(source, 1))
    with pytest.raises(errors.IntegrityError):
        backend.put_part(session, 2, part(source, 2))
    backend.close()


def test_a_server_that_stored_other_bytes_than_were_sent_is_not_believed(
    server: StrictS3, backend: S3Backend, source: Path
) -> None:
    session = begin(backend)
    server.fail("part", "wrong_crc")
    with pytest.raises(errors.IntegrityError):
        backend.put_part(session, 1, part(source, 1))


def test_rot_after_the_receipts_is_refused_by_the_checksum_of_the_whole(
    server: StrictS3, backend: S3Backend, source: Path
) -> None:
    session = begin(backend)
    server.fail("part", "rot", number=2)
    receipts = send_all(backend, session, source)

    with pytest.raises(errors.IntegrityError):
        backend.complete(session, receipts)
    assert backend.stat("key") is None


def test_a_source_that_changed_is_not_sent(server: StrictS3, backend: S3Backend, source: Path) -> None:
    body = part(source, 1)
    source.write_bytes(b"x" + DATA[1:])

    session = begin(backend)
    with pytest.raises(errors.IntegrityError) as failure:
        backend.put_part(session, 1, body)
    assert failure.value.code == "source_corrupt"
    assert backend.list_parts(session) == []
    with pytest.raises(errors.IntegrityError):
        backend.put_whole("key", body, properties=Properties())
    assert backend.stat("key") is None


def test_a_source_that_shrank_is_not_sent(server: StrictS3, backend: S3Backend, source: Path) -> None:
    body = part(source, 2)
    os.truncate(source, PART + 2 * MIB)

    session = begin(backend)
    with pytest.raises(errors.ShortBody):
        backend.put_part(session, 2, body)
    assert backend.list_parts(session) == []


def test_wrong_etags_lose_the_session_and_missing_parts_are_never_asked_for(
    server: StrictS3, backend: S3Backend, source: Path
) -> None:
    session = begin(backend)
    receipts = send_all(backend, session, source)

    with pytest.raises(errors.InvalidRequest):
        backend.complete(session, receipts[:2])
    assert server.count("complete") == 0
    wrong = [msgspec.structs.replace(receipt, etag="0" * 32) for receipt in receipts]
    with pytest.raises(errors.SessionLost):
        backend.complete(session, wrong)
    assert backend.stat("key") is None


def test_of_two_creators_one_wins(server: StrictS3, backend: S3Backend, source: Path) -> None:
    session = begin(backend, create_only=True)
    receipts = send_all(backend, session, source)
    put(backend, b"first", create_only=True)

    with pytest.raises(errors.ObjectExists):
        put(backend, b"second", create_only=True)
    with pytest.raises(errors.ObjectExists):
        backend.complete(session, receipts)
    assert server.path("key").read_bytes() == b"first"


def test_a_server_that_knows_no_crc32c_is_asked_once_and_then_served_without(server: StrictS3, source: Path) -> None:
    without_checksums(server)
    backend = connect(server)

    upload(backend, source)
    put(backend, b"small", "small")
    assert server.path("key").read_bytes() == DATA
    assert server.path("small").read_bytes() == b"small"
    refused = [entry for entry in server.store.log if entry["fault"]]
    assert [entry["on"] for entry in refused] == ["create", "part"]
    backend.close()


def test_a_server_that_wants_signed_payloads_gets_the_plain_call(server: StrictS3, source: Path) -> None:
    for operation in ("part", "put"):
        unsigned = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        server.fail(operation, "error", status=403, code="AccessDenied", having=unsigned, times=-1)
    backend = connect(server)

    upload(backend, source)
    put(backend, b"small", "small")
    assert server.path("key").read_bytes() == DATA
    assert server.path("small").read_bytes() == b"small"
    assert sum(bool(entry["fault"]) for entry in server.store.log) == 2
    backend.close()


def test_a_wrong_key_changes_no_way_of_sending(server: StrictS3) -> None:
    backend = connect(server, key="OTHER")
    for _ in range(2):
        with pytest.raises(errors.AccessDenied, match="InvalidAccessKeyId"):
            put(backend)
    assert server.count("put") == 6
    backend.close()


def test_with_checksum_none_neither_crc32c_nor_etag_is_looked_at(server: StrictS3, source: Path) -> None:
    backend = connect(server, checksum="none")
    server.fail("part", "wrong_etag", number=1)
    session = begin(backend)
    receipt = backend.put_part(session, 1, part(source, 1))
    assert (receipt.etag, receipt.checksum) == ("0" * 32, "")
    assert backend.capabilities.checksums == ()
    backend.close()


def test_listings_go_on_over_all_pages(tmp_path: Path, source: Path) -> None:
    with StrictS3(tmp_path / "pages", page=2) as server:
        backend = connect(server)
        sessions = [begin(backend, f"pre/{name}") for name in "abc"] + [
            begin(backend, "pre/a"),
            begin(backend, "other"),
        ]
        receipts = send_all(backend, sessions[0], source)

        assert backend.list_parts(sessions[0]) == sorted(receipts, key=lambda receipt: receipt.number)
        found = backend.list_sessions("pre/")
        assert sorted(info.id for info in found) == sorted(str(session["upload_id"]) for session in sessions[:4])
        assert all(info.started_at_ms for info in found)
        for info in found:
            backend.abort(info.session)
        assert [info.key for info in backend.list_sessions()] == ["other"]
        backend.close()


def test_a_silent_server_times_out(server: StrictS3, source: Path) -> None:
    backend = connect(server, read_timeout_seconds=0.05)
    server.fail("head", "delay", seconds=1)
    server.fail("put", "delay", seconds=1)
    with pytest.raises(errors.TimedOut):
        backend.stat("key")
    with pytest.raises(errors.TimedOut):
        put(backend)
    backend.close()


def test_expired_credentials_are_looked_up_anew(
    server: StrictS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "one")
    backend = connect(server, key=None, secret=None)
    put(backend, b"before")
    server.store.access_key = "AKID2"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID2")
    server.fail("put", "error", status=400, code="ExpiredToken")

    with pytest.raises(errors.CredentialsExpired):
        put(backend, b"expired")
    put(backend, b"after")
    assert server.path("key").read_bytes() == b"after"
    backend.close()


def test_without_any_credentials_the_text_says_what_to_do(
    server: StrictS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    backend = connect(server, key=None, secret=None)
    with pytest.raises(errors.AccessDenied, match="`key` and `secret`"):
        put(backend)
    backend.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_connects_anew(server: StrictS3, backend: S3Backend) -> None:
    put(backend, b"parent", "parent")
    pid = os.fork()
    if pid == 0:
        try:
            put(backend, b"child", "child")
            os._exit(0 if backend.stat("parent") else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    put(backend, b"parent again", "parent")
    assert server.path("child").read_bytes() == b"child"
    assert server.path("parent").read_bytes() == b"parent again"


def test_errors_hold_no_secret(server: StrictS3, source: Path) -> None:
    backend = connect(server, secret="Wonderland", token="Cheshire")
    session = begin(backend)
    server.fail("part", "error", status=403, code="SignatureDoesNotMatch", times=-1)
    with pytest.raises(errors.AccessDenied) as failure:
        backend.put_part(session, 1, part(source, 1))
    assert not any(word in repr(failure.value) for word in ("Wonderland", "Cheshire", "Signature=", "uploadId"))
    backend.close()


def without_checksums(server: StrictS3) -> None:
    """Have the server refuse what it does not know, as some S3-compatible ones do."""
    for operation, header in [
        ("create", "x-amz-checksum-algorithm"),
        ("part", "x-amz-checksum-crc32c"),
        ("put", "x-amz-checksum-crc32c"),
    ]:
        server.fail(operation, "error", status=400, code="InvalidRequest", having=header, times=-1)
