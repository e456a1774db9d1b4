"""GCS when things go wrong: each fault at a strict server is named rightly, and no wrong bytes are ever accepted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pytest

from backends import errors
from backends.base import MIB, Properties, Receipt, Session
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c, crc32c_text
from backends.gcs import GCSOptions, GCSPlugin
from backends.gcs_backend import GCSBackend
from backends.gcs_xml import XMLUploads
from tests import servers
from tests.backends import gcs_servers
from tests.backends.strict_gcs import StrictGCS

PART = 5 * MIB
DATA = os.urandom(2 * PART + 12_345)
MARK = {"bucketline-job": "j1"}
# The operations that carry a part and that finish an upload, in each way of uploading.
PART_OF, FINISH_OF = {"xml": "part", "compose": "insert"}, {"xml": "complete", "compose": "compose"}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictGCS]:
    with StrictGCS(tmp_path_factory.mktemp("strict") / "objects") as server:
        yield server


@pytest.fixture
def server(strict: StrictGCS) -> StrictGCS:
    strict.reset()
    return strict


@pytest.fixture(params=["xml", "compose"])
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def backend(server: StrictGCS, way: str) -> Iterator[GCSBackend]:
    backend = connect(server, upload=way)
    yield backend
    backend.close()


@pytest.fixture
def composing(server: StrictGCS) -> Iterator[GCSBackend]:
    backend = connect(server)
    yield backend
    backend.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def key_file(server: StrictGCS, tmp_path: Path) -> Path:
    """The key of a service account, whose tokens come from the server."""
    path = tmp_path / "key.json"
    gcs_servers.service_account(path, f"{server.url}/token")
    server.store.tokens = set()
    return path


def connect(server: StrictGCS, **more: object) -> GCSBackend:
    options = {"bucket": "bucket", "endpoint_url": server.url, **more}
    return GCSPlugin().build(msgspec.convert(options, GCSOptions))


def begin(backend: GCSBackend, key: str = "key", *, create_only: bool = False) -> Session:
    properties = Properties(metadata=MARK)
    return backend.begin(key, size=len(DATA), part_size=PART, properties=properties, create_only=create_only)


def part(source: Path, number: int) -> FileBody:
    offset = (number - 1) * PART
    data = DATA[offset : offset + PART]
    return FileBody(source, offset, len(data), crc32c(data))


def send_all(backend: GCSBackend, session: Session, source: Path) -> list[Receipt]:
    return [backend.put_part(session, number, part(source, number)) for number in (3, 1, 2)]


def put(backend: GCSBackend, data: bytes = b"hello", key: str = "key", *, create_only: bool = False) -> None:
    backend.put_whole(key, BytesBody(data), properties=Properties(metadata=MARK), create_only=create_only)


def test_parts_in_any_order_become_the_object_and_its_checksum_is_confirmed(
    server: StrictGCS, backend: GCSBackend, source: Path
) -> None:
    session = begin(backend)
    receipts = send_all(backend, session, source)
    assert backend.stat("key") is None
    info = backend.complete(session, receipts)

    assert server.data("key") == DATA
    assert {receipt.number: receipt.checksum for receipt in receipts}[1] == crc32c_text(crc32c(DATA[:PART]))
    assert info.checksum == crc32c_text(crc32c(DATA))
    assert backend.stat("key") == info
    assert info.metadata == MARK
    assert server.names == ["key"]
    assert not server.store.uploads


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "backendError", errors.Unavailable),
        (502, "", errors.Unavailable),
        (503, "backendError", errors.Unavailable),
        (503, "SlowDown", errors.Throttled),
        (429, "rateLimitExceeded", errors.Throttled),
        (403, "userRateLimitExceeded", errors.Throttled),
        (408, "", errors.TimedOut),
        (409, "conflict", errors.Unavailable),
        (403, "forbidden", errors.AccessDenied),
        (403, "AccessDenied", errors.AccessDenied),
        (404, "NoSuchBucket", errors.DestinationMissing),
        (404, "NoSuchUpload", errors.SessionLost),
        (400, "BadDigest", errors.IntegrityError),
        (400, "invalid", errors.InvalidRequest),
        (400, "EntityTooLarge", errors.InvalidRequest),
        (412, "conditionNotMet", errors.ObjectExists),
        (507, "", errors.StoreFull),
        (418, "Teapot", errors.InvalidRequest),
    ],
)
def test_every_code_has_one_meaning(
    server: StrictGCS,
    backend: GCSBackend,
    way: str,
    source: Path,
    status: int,
    code: str,
    expected: type[errors.BackendError],
) -> None:
    session = begin(backend)
    message = "The specified bucket does not exist." if code == "NoSuchBucket" else "no"
    for operation in (PART_OF[way], "insert", "get"):
        server.fail(operation, "error", status=status, code=code, message=message, times=-1)

    with pytest.raises(expected) as sent:
        backend.put_part(session, 1, part(source, 1))
    with pytest.raises(expected) as whole:
        put(backend)
    assert type(sent.value) is type(whole.value) is expected
    if code not in ("", "NoSuchBucket"):
        assert code in str(sent.value)
    with pytest.raises(expected):
        backend.stat("key")


def test_a_bucket_that_went_away_is_named(server: StrictGCS, backend: GCSBackend, way: str) -> None:
    for operation in ("list", "uploads"):
        gone = "NoSuchBucket" if way == "xml" else "notFound"
        server.fail(operation, "error", status=404, code=gone, message="The specified bucket does not exist.")
    with pytest.raises(errors.DestinationMissing):
        backend.list_sessions()


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), ("99999999", 3600.0)])
def test_the_wait_that_a_server_asks_for_is_passed_on(
    server: StrictGCS, backend: GCSBackend, header: str, seconds: float | None
) -> None:
    server.fail("insert", "error", status=429, code="rateLimitExceeded", headers={"Retry-After": header})
    with pytest.raises(errors.Throttled) as sent:
        put(backend)
    assert sent.value.retry_after == seconds


def test_no_call_is_repeated_below_the_engine(server: StrictGCS, backend: GCSBackend, way: str, source: Path) -> None:
    session = begin(backend)
    receipts = send_all(backend, session, source)
    server.store.log.clear()
    for operation in (PART_OF[way], FINISH_OF[way], "media"):
        server.fail(operation, "error", status=503, code="backendError", times=-1)

    calls = {
        PART_OF[way]: lambda: backend.put_part(session, 1, part(source, 1)),
        FINISH_OF[way]: lambda: backend.complete(session, receipts),
        "media": lambda: list(backend.read_range("key", 0, 1)),
    }
    for operation, call in calls.items():
        with pytest.raises(errors.Unavailable):
            call()
        assert server.count(operation) == 1, operation


@pytest.mark.parametrize("after", [0, 2 * MIB])
def test_a_connection_reset_in_the_middle_costs_one_part(
    server: StrictGCS, backend: GCSBackend, way: str, source: Path, after: int
) -> None:
    session = begin(backend)
    server.fail(PART_OF[way], "reset", after_bytes=after)

    with pytest.raises(errors.ConnectionFailed):
        backend.put_part(session, 2, part(source, 2))
    backend.complete(session, send_all(backend, session, source))
    assert server.data("key") == DATA


def test_a_lost_reply_is_a_failed_connection_and_the_part_can_be_sent_again(
    server: StrictGCS, backend: GCSBackend, way: str, source: Path
) -> None:
    session = begin(backend)
    server.fail(PART_OF[way], "lose_reply")

    with pytest.raises(errors.ConnectionFailed):
        backend.put_part(session, 1, part(source, 1))
    backend.complete(session, send_all(backend, session, source))
    assert server.data("key") == DATA


@pytest.mark.parametrize("what", ["lose_reply", "empty"])
def test_an_unclear_answer_of_the_xml_api_is_transient_and_stat_shows_the_truth(
    server: StrictGCS, source: Path, what: str
) -> None:
    backend = connect(server, upload="xml")
    session = begin(backend)
    receipts = send_all(backend, session, source)
    server.fail("complete", what)

    with pytest.raises(errors.TransientError):
        backend.complete(session, receipts)
    found = backend.stat("key")
    assert found is not None
    assert found.metadata == MARK
    with pytest.raises(errors.SessionLost):
        backend.complete(session, receipts)
    backend.close()


@pytest.mark.parametrize("what", ["lose_reply", "empty"])
def test_a_lost_answer_to_the_last_compose_is_cleared_up_and_leaves_no_parts(
    server: StrictGCS, composing: GCSBackend, source: Path, what: str
) -> None:
    session = begin(composing)
    receipts = send_all(composing, session, source)
    server.fail("compose", what, key="^key$")

    info = composing.complete(session, receipts)
    assert info.metadata == MARK
    assert server.data("key") == DATA
    assert server.names == ["key"]


def test_an_object_of_somebody_else_is_not_taken_for_ours(
    server: StrictGCS, composing: GCSBackend, source: Path
) -> None:
    session = begin(composing)
    receipts = send_all(composing, session, source)
    composing.put_whole("key", BytesBody(DATA), properties=Properties(metadata={"bucketline-job": "other"}))
    server.fail("compose", "error", status=503, code="backendError", key="^key$")

    with pytest.raises(errors.Unavailable):
        composing.complete(session, receipts)
    assert composing.complete(session, receipts).metadata == MARK


def test_an_error_that_comes_as_200_is_an_error(server: StrictGCS, source: Path) -> None:
    backend = connect(server, upload="xml")
    session = begin(backend)
    receipts = send_all(backend, session, source)
    server.fail("complete", "error_200")

    with pytest.raises(errors.Unavailable, match="InternalError"):
        backend.complete(session, receipts)
    assert backend.stat("key") is None
    backend.complete(session, receipts)
    assert server.data("key") == DATA
    backend.close()


def test_an_answer_that_says_nothing_is_not_believed(
    server: StrictGCS, backend: GCSBackend, way: str, source: Path
) -> None:
    session = begin(backend)
    server.fail(PART_OF[way], "empty")
    with pytest.raises(errors.Unavailable):
        backend.put_part(session, 1, part(source, 1))
    server.fail("insert", "empty")
    with pytest.raises(errors.Unavailable):
        put(backend)
    server.fail("create" if way == "xml" else "insert", "empty")
    with pytest.raises(errors.Unavailable):
        begin(backend)


@pytest.mark.parametrize("document", ["<html>", "[]", "{}", '{"items": [{"name": "x"}]}', "<a><Part/></a>"])
def test_a_document_of_something_between_us_and_the_store_is_not_believed(
    server: StrictGCS, backend: GCSBackend, way: str, document: str
) -> None:
    session = begin(backend)
    for operation in ("get", "list", "parts"):
        server.fail(operation, "say", document=document, times=-1)
    with pytest.raises(errors.Unavailable):
        backend.stat("key")
    if document not in ("{}", "[]") and not (way == "xml" and document.startswith("{")):
        with pytest.raises(errors.Unavailable):
            backend.list_parts(session)


@pytest.mark.parametrize("what", ["flip", "cut"])
def test_damage_on_the_wire_is_seen_by_the_server_from_the_checksum_of_ingest(
    server: StrictGCS, backend: GCSBackend, way: str, source: Path, what: str
) -> None:
    session = begin(backend)
    server.fail(PART_OF[way], what)
    with pytest.raises(errors.IntegrityError):
        backend.put_part(session, 1, part(source, 1))
    server.fail("insert", what)
    with pytest.raises(errors.IntegrityError):
        put(backend, bytes(1000))
    assert "key" not in server.names


def test_a_server_that_stored_other_bytes_than_were_sent_is_not_believed(
    server: StrictGCS, backend: GCSBackend, source: Path
) -> None:
    session = begin(backend)
    for operation in ("part", "insert"):
        server.fail(operation, "wrong_crc", times=-1)
    with pytest.raises(errors.IntegrityError):
        backend.put_part(session, 1, part(source, 1))
    with pytest.raises(errors.IntegrityError):
        put(backend)


@pytest.mark.parametrize("where", ["insert", "compose"])
def test_rot_after_the_receipts_is_refused_before_anything_is_visible(
    server: StrictGCS, composing: GCSBackend, source: Path, where: str
) -> None:
    session = begin(composing)
    if where == "insert":
        [first, third] = [composing.put_part(session, number, part(source, number)) for number in (1, 3)]
        second = composing.put_part(session, 2, part(source, 2))
        composing.put_part(session, 2, BytesBody(os.urandom(PART)))  # the receipt is for what was there before
        receipts = [first, second, third]
    else:
        receipts = send_all(composing, session, source)
        server.fail("compose", "rot")

    with pytest.raises(errors.IntegrityError, match={"insert": "Part 2", "compose": "joined"}[where]):
        composing.complete(session, receipts)
    assert composing.stat("key") is None


def test_rot_at_the_xml_api_shows_in_the_checksum_of_the_whole(server: StrictGCS, source: Path) -> None:
    backend = connect(server, upload="xml")
    session = begin(backend)
    receipts = send_all(backend, session, source)
    stored = next(iter(server.store.uploads.values())).parts[2].path
    stored.write_bytes(b"x" + stored.read_bytes()[1:])

    assert backend.complete(session, receipts).checksum not in (None, crc32c_text(crc32c(DATA)))
    backend.close()


def test_a_source_that_changed_is_not_sent(server: StrictGCS, backend: GCSBackend, source: Path) -> None:
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


def test_a_source_that_shrank_is_not_sent(server: StrictGCS, backend: GCSBackend, source: Path) -> None:
    body = part(source, 2)
    os.truncate(source, PART + 2 * MIB)

    session = begin(backend)
    with pytest.raises(errors.ShortBody):
        backend.put_part(session, 2, body)
    assert backend.list_parts(session) == []


def test_a_part_of_another_size_than_planned_is_refused(backend: GCSBackend) -> None:
    session = begin(backend)
    with pytest.raises(errors.InvalidRequest, match="planned"):
        backend.put_part(session, 1, BytesBody(b"short"))


class GivenBack(BaseException):
    """As the engine's own: it stops a call from inside and is nobody's error."""


class Stopping(BytesBody):
    def open(self) -> BinaryIO:
        raise GivenBack


def test_what_stops_a_reader_passes_through_untouched(backend: GCSBackend) -> None:
    session = begin(backend)
    with pytest.raises(GivenBack):
        backend.put_part(session, 1, Stopping(bytes(PART)))
    with pytest.raises(GivenBack):
        backend.put_whole("key", Stopping(b"x"), properties=Properties())


def test_parts_that_vanished_lose_the_session(server: StrictGCS, backend: GCSBackend, source: Path) -> None:
    session = begin(backend)
    receipts = send_all(backend, session, source)
    with pytest.raises(errors.InvalidRequest):
        backend.complete(session, receipts[:2])
    for name in server.names:
        if name.endswith("00002"):
            del server.store.objects[name]
    for upload in server.store.uploads.values():
        del upload.parts[2]

    with pytest.raises(errors.SessionLost):
        backend.complete(session, receipts)
    assert backend.stat("key") is None


def test_parts_replaced_while_they_are_joined_lose_the_session(
    server: StrictGCS, composing: GCSBackend, source: Path
) -> None:
    session = begin(composing)
    receipts = send_all(composing, session, source)
    server.fail("compose", "error", status=404, code="notFound", message="No such object")
    with pytest.raises(errors.SessionLost):
        composing.complete(session, receipts)


def test_of_two_creators_one_wins(server: StrictGCS, composing: GCSBackend, source: Path) -> None:
    session = begin(composing, create_only=True)
    receipts = send_all(composing, session, source)
    put(composing, b"first", create_only=True)

    with pytest.raises(errors.ObjectExists):
        put(composing, b"second", create_only=True)
    with pytest.raises(errors.ObjectExists):
        composing.complete(session, receipts)
    assert server.data("key") == b"first"


def test_the_xml_api_is_not_asked_to_create_only(server: StrictGCS) -> None:
    backend = connect(server, upload="xml")
    assert not backend.capabilities.create_only
    with pytest.raises(errors.InvalidRequest, match="compose"):
        begin(backend, create_only=True)
    backend.close()


def test_many_parts_are_joined_in_a_tree_and_nothing_of_it_stays(server: StrictGCS, composing: GCSBackend) -> None:
    data = os.urandom(65)
    session = composing.begin("key", size=65, part_size=1, properties=Properties())
    receipts = [composing.put_part(session, n, BytesBody(data[n - 1 : n])) for n in range(65, 0, -1)]
    composing.complete(session, receipts)

    assert server.data("key") == data
    assert server.names == ["key"]
    # 32 + 32 + a part that needs no company; then these three; then the object.
    assert server.count("compose") == 2 + 1 + 1


def test_a_part_that_comes_late_removes_itself(server: StrictGCS, composing: GCSBackend, source: Path) -> None:
    session = begin(composing)
    send_all(composing, session, source)
    composing.abort(session)
    assert server.names == []
    with pytest.raises(errors.SessionLost):
        composing.put_part(session, 1, part(source, 1))
    assert server.names == []
    with pytest.raises(errors.SessionLost):
        composing.complete(session, [Receipt(n, part(source, n).size) for n in (1, 2, 3)])


def test_parts_that_cannot_be_removed_do_not_make_an_upload_fail(
    server: StrictGCS, composing: GCSBackend, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = begin(composing)
    receipts = send_all(composing, session, source)
    server.fail("delete", "error", status=403, code="retentionPolicyNotMet", times=-1)

    with caplog.at_level(logging.WARNING):
        composing.complete(session, receipts)
    assert server.data("key") == DATA
    assert "retentionPolicyNotMet" in caplog.text
    with pytest.raises(errors.AccessDenied):
        composing.abort(session)


def test_one_part_that_cannot_be_removed_keeps_no_other(server: StrictGCS, composing: GCSBackend, source: Path) -> None:
    session = begin(composing)
    send_all(composing, session, source)
    server.fail("delete", "error", status=503, code="backendError", key="00001$", times=2)

    with pytest.raises(errors.Unavailable):
        composing.abort(session)
    assert [name[-5:] for name in server.names] == ["00001"]
    composing.abort(session)
    assert server.names == []


def test_what_is_left_is_removed_with_few_requests(server: StrictGCS, composing: GCSBackend) -> None:
    session = composing.begin("key", size=120, part_size=1, properties=Properties())
    receipts = [composing.put_part(session, number, BytesBody(b"x")) for number in range(1, 121)]
    composing.complete(session, receipts)

    assert server.names == ["key"]
    # 120 parts, four joined objects and the whole, by 50; the mark of the open upload has a request of its own.
    assert server.count("batch") == 3
    assert sum(entry["on"] == "delete" for entry in server.store.log) == 1 + 125


@pytest.mark.parametrize(
    "trouble",
    [
        {"do": "error", "status": 404, "code": "notFound"},
        {"do": "error", "status": 503, "code": "backendError"},
        {"do": "reset"},
        {"do": "lose_reply"},
        {"do": "empty"},
        {"do": "say", "document": "--answers"},
    ],
    ids=lambda trouble: f"{trouble['do']}{trouble.get('status', '')}",
)
def test_a_batch_that_tells_nothing_is_done_singly(
    server: StrictGCS, composing: GCSBackend, source: Path, trouble: dict[str, Any]
) -> None:
    session = begin(composing)
    send_all(composing, session, source)
    server.fail("batch", **trouble)

    composing.abort(session)
    assert server.names == []


def test_listings_go_on_over_all_pages(tmp_path: Path, source: Path, way: str) -> None:
    with StrictGCS(tmp_path / "pages", page=2) as server:
        backend = connect(server, upload=way)
        sessions = [begin(backend, f"pre/{name}") for name in ("a", "b", "ü&<", "a", "a")] + [begin(backend, "other")]
        receipts = send_all(backend, sessions[0], source)

        listed = [(part.number, part.size, part.etag) for part in backend.list_parts(sessions[0])]
        assert listed == [(each.number, each.size, each.etag) for each in sorted(receipts, key=lambda r: r.number)]
        found = backend.list_sessions("pre/")
        ids = [str(session.get("upload_id", session.get("id"))) for session in sessions]
        assert sorted(info.id for info in found) == sorted(ids[:5])
        assert all(info.started_at_ms for info in found)
        for info in found:
            backend.abort(info.session)
        assert [info.key for info in backend.list_sessions()] == ["other"]
        assert len(server.names) == (0 if way == "xml" else 1)
        backend.close()


def test_a_silent_server_times_out(server: StrictGCS) -> None:
    backend = connect(server, read_timeout_seconds=0.05)
    for operation in ("get", "insert"):
        server.fail(operation, "hang", seconds=1)
    with pytest.raises(errors.TimedOut):
        backend.stat("key")
    with pytest.raises(errors.TimedOut):
        put(backend)
    backend.close()


def test_properties_reach_the_object_in_every_way(server: StrictGCS, backend: GCSBackend, source: Path) -> None:
    kms = "projects/p/locations/europe/keyRings/r/cryptoKeys/k"
    wanted = {
        "content_disposition": 'attachment; filename="a b"',
        "cache_control": "no-store",
        "storage_class": "NEARLINE",
        "encryption": kms,
    }
    metadata = {"note": "Größe", "a.b_c-d": "two  spaces ", "odd": "=?utf-8?b?eA==?="}
    described = Properties(content_type="video/mp4; a=b", metadata=metadata, acl="bucket-owner-read", **wanted)

    session = backend.begin("parts", size=len(DATA), part_size=PART, properties=described)
    infos = [
        backend.complete(session, send_all(backend, session, source)),
        backend.put_whole("whole", BytesBody(b"x"), properties=described),
    ]
    for info in [*infos, *(backend.stat(key) for key in ("parts", "whole"))]:
        assert info is not None
        assert (info.content_type, info.metadata) == ("video/mp4; a=b", metadata)
        assert info.properties == wanted
    acls = [server.store.objects[key].resource["acl"] for key in ("parts", "whole")]
    assert set(acls) <= {"bucketOwnerRead", "bucket-owner-read"}


def test_the_project_that_pays_is_named_in_every_request(server: StrictGCS, source: Path, way: str) -> None:
    backend = connect(server, upload=way, user_project="billed-to")
    session = begin(backend)
    backend.complete(session, send_all(backend, session, source))
    backend.delete("key")
    assert {entry["headers"].get("x-goog-user-project") for entry in server.store.log} == {"billed-to"}
    backend.close()


def test_a_listing_that_never_ends_ends(server: StrictGCS, composing: GCSBackend) -> None:
    server.fail("list", "say", document='{"nextPageToken": "again"}', times=-1)
    assert composing.list_sessions() == []
    assert server.count("list") == 2


def test_tags_are_refused(backend: GCSBackend) -> None:
    with pytest.raises(errors.InvalidRequest, match="tags"):
        backend.put_whole("key", BytesBody(b"x"), properties=Properties(tags={"a": "b"}))


def test_a_service_account_is_granted_a_token_that_goes_with_every_request(
    server: StrictGCS, key_file: Path, source: Path, way: str
) -> None:
    backend = connect(server, upload=way, credentials_file=key_file)
    session = begin(backend)
    backend.complete(session, send_all(backend, session, source))
    assert b"".join(backend.read_range("key", 0, len(DATA))) == DATA
    assert server.count("token") == 1
    backend.close()


def test_the_environments_credentials_are_found(
    server: StrictGCS, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    backend = connect(server, token="google_default")
    put(backend)
    assert server.data("key") == b"hello"
    backend.close()


def test_a_token_that_is_refused_is_fetched_anew_once(server: StrictGCS, key_file: Path) -> None:
    backend = connect(server, credentials_file=key_file)
    put(backend, b"before")
    server.store.tokens = set()

    with pytest.raises(errors.CredentialsExpired):
        put(backend, b"expired")
    put(backend, b"after")
    assert server.data("key") == b"after"
    assert server.count("token") == 2

    server.fail("insert", "error", status=401, code="authError", times=2)
    with pytest.raises(errors.CredentialsExpired):
        put(backend)
    with pytest.raises(errors.AccessDenied, match="Fresh credentials"):
        put(backend)
    put(backend, b"once more")
    assert server.data("key") == b"once more"
    backend.close()


def test_without_credentials_access_is_denied(server: StrictGCS) -> None:
    server.store.tokens = set()
    backend = connect(server)
    with pytest.raises(errors.AccessDenied, match="authError"):
        put(backend)
    backend.close()


def test_credentials_that_google_refuses_are_no_passing_trouble(server: StrictGCS, key_file: Path) -> None:
    backend = connect(server, credentials_file=key_file)
    server.fail("token", "error", status=400, code="invalid_grant", times=-1)
    with pytest.raises(errors.AccessDenied, match="access token") as failure:
        put(backend)
    assert "PRIVATE" not in str(failure.value)
    backend.close()


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"type": "other"}', '{"client_email": "x"}'])
def test_a_key_file_that_is_none_is_named(server: StrictGCS, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "secret-name.json"
    if content is not None:
        path.write_text(content)
    backend = connect(server, credentials_file=path)
    with pytest.raises(errors.AccessDenied, match="`credentials_file`") as failure:
        put(backend)
    assert "secret-name" not in str(failure.value)
    backend.close()


def test_no_credentials_anywhere_says_what_to_do(
    server: StrictGCS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    backend = connect(server, token="google_default")
    with pytest.raises(errors.AccessDenied, match="`credentials_file`"):
        put(backend)
    backend.close()


def test_errors_hold_no_token(server: StrictGCS, key_file: Path) -> None:
    backend = connect(server, credentials_file=key_file)
    message = "Bearer token-1 may not, access_token=token-1 Authorization: token-1"
    server.fail("insert", "error", status=403, code="forbidden", message=message)
    with pytest.raises(errors.AccessDenied) as failure:
        put(backend)
    assert "token-1" not in repr(failure.value)
    assert "Storage Object User" in str(failure.value)
    backend.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_connects_anew(server: StrictGCS, key_file: Path) -> None:
    backend = connect(server, credentials_file=key_file)
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
    assert server.data("child") == b"child"
    assert server.data("parent") == b"parent again"
    backend.close()


def test_the_multipart_calls_are_those_of_a_server_that_is_not_ours(tmp_path: Path, source: Path) -> None:
    """Google's XML API is S3's protocol but for its headers: moto, which asks for no signature, takes our calls."""
    with servers.moto(tmp_path) as moto:
        moto.make_bucket("bucket")
        options = {"bucket": "bucket", "endpoint_url": moto.endpoint_url, "upload": "xml"}
        backend = GCSPlugin().build(msgspec.convert(options, GCSOptions))
        uploads = XMLUploads(backend._client, "bucket")
        kept, given_up = (uploads.begin(key, len(DATA), PART, Properties()) for key in ("a b/ü?#", "other"))
        assert sorted(info.key for info in uploads.list_sessions("")) == ["a b/ü?#", "other"]
        receipts = [uploads.put_part(kept, number, part(source, number)) for number in (2, 3, 1)]
        assert [each.number for each in uploads.list_parts(kept)] == [1, 2, 3]
        uploads.complete(kept, receipts)
        uploads.abort(given_up)
        uploads.abort(given_up)
        assert uploads.list_sessions("") == []
        assert backend._client.document("/bucket/a%20b/%C3%BC%3F%23", "read it") == DATA
        backend.close()
