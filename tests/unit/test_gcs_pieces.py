"""The pure pieces of the gcs backend: options, keys and metadata, the framed body, and the meaning of codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.auth import exceptions as auth
from hypothesis import given
from hypothesis import strategies as st

from backends import errors, gcs_errors
from backends.base import FURTHER_PROPERTIES, GIB, MIB, Properties
from backends.body import BytesBody
from backends.checksums import crc32c
from backends.conformance.bodies import CutBody
from backends.errors import InvalidRequest
from backends.gcs import PROPERTIES, GCSOptions, GCSPlugin
from backends.gcs_errors import TABLE, from_answer, from_exception
from backends.gcs_metadata import check_key, decode, faults, headers_of, query_of, resource_of, told_properties
from backends.gcs_related import Related
from backends.transport import Answer, verify

KMS = "projects/p/locations/eu/keyRings/r/cryptoKeys/k"


def options(**given: Any) -> GCSOptions:
    return msgspec.convert({"bucket": "acme", **given}, GCSOptions)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket": ""},
        {"bucket": "No_Capitals"},
        {"bucket": "a/b"},
        {"endpoint_url": "fake:4443"},
        {"endpoint_url": "ftp://fake"},
        {"endpoint_url": "https://me:secret@fake"},
        {"endpoint_url": "https://fake/storage/v1"},
        {"token": "browser"},
        {"token": "cloud", "credentials_file": Path("key.json")},
        {"user_project": "no spaces"},
        {"upload": "resumable"},
        {"parts_prefix": ""},
        {"parts_prefix": "parts"},
        {"parts_prefix": "/parts/"},
        {"parts_prefix": "../"},
        {"read_timeout_seconds": 0},
        {"colour": "blue"},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        options(**wrong)


def test_what_the_plugin_says_needs_no_sdk() -> None:
    at_google = GCSPlugin().capabilities(options())
    assert (at_google.min_part, at_google.max_part, at_google.max_parts) == (5 * MIB, 5 * GIB, 10_000)
    assert not at_google.create_only
    assert set(FURTHER_PROPERTIES) - set(at_google.properties) == {"tags"}
    composed = GCSPlugin().capabilities(options(upload="compose"))
    assert (composed.min_part, composed.create_only) == (1, True)
    assert GCSPlugin().url(options(), "up/a b") == "gs://acme/up/a b"
    assert GCSPlugin.secrets == {"credentials_file"}


def test_an_endpoint_changes_what_is_not_said() -> None:
    assert (options().way, options().method, options().origin) == (
        "xml",
        "google_default",
        "https://storage.googleapis.com",
    )
    emulated = options(endpoint_url="http://fake:4443/")
    assert (emulated.way, emulated.method, emulated.origin) == ("compose", "anon", "http://fake:4443")
    assert options(endpoint_url="https://private", upload="xml", token="cloud").way == "xml"


NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
ENCODED = st.text(max_size=9).map(lambda text: f"=?utf-8?b?{text}?=") | st.just("=?utf-8?b?eA==?=")


@given(st.dictionaries(NAMES, st.text(max_size=60) | ENCODED, max_size=5))
def test_metadata_in_any_script_survives_both_ways_there_and_back(metadata: dict[str, str]) -> None:
    properties = Properties(metadata=metadata)
    try:
        resource, headers = resource_of(properties), headers_of(properties)
    except InvalidRequest:
        return
    assert decode(json.loads(json.dumps(resource.get("metadata", {})))) == metadata
    sent = {name.removeprefix("x-goog-meta-"): value for name, value in headers.items()}
    assert all(value.isascii() and value.isprintable() and value == value.strip() for value in sent.values())
    assert decode(sent) == metadata


@pytest.mark.parametrize("metadata", [{"a b": "x"}, {"": "x"}, {"A": "x"}, {"a": "x" * 8192}, {"a": "\ud800"}])
def test_metadata_that_cannot_be_kept_is_refused(metadata: dict[str, str]) -> None:
    for spell in (resource_of, headers_of):
        with pytest.raises(InvalidRequest):
            spell(Properties(metadata=metadata))
    assert [name for name, _ in faults("key", Properties(metadata=metadata))] == ["metadata"]


def test_metadata_that_others_wrote_is_shown_as_it_is() -> None:
    foreign = {"a": "=?broken?=", "b": "=?utf-8?b?x?=", "c": "=?utf-8?b?//8=?=", "d": "=?iso-8859-1?q?x?="}
    assert decode(foreign) == foreign


def test_properties_are_spelled_for_both_apis() -> None:
    properties = Properties(
        content_type="video/mp4",
        metadata={"note": "Größe"},
        content_disposition="attachment",
        cache_control="max-age=60",
        storage_class="NEARLINE",
        acl="public-read",
        encryption=KMS,
    )
    assert list(faults("key", properties)) == []
    assert resource_of(properties) == {
        "contentType": "video/mp4",
        "metadata": {"note": "Größe"},
        "contentDisposition": "attachment",
        "cacheControl": "max-age=60",
        "storageClass": "NEARLINE",
    }
    assert query_of(properties) == {"predefinedAcl": "publicRead", "kmsKeyName": KMS}
    assert query_of(properties, "destinationPredefinedAcl")["destinationPredefinedAcl"] == "publicRead"
    assert headers_of(properties) == {
        "content-type": "video/mp4",
        "x-goog-meta-note": "=?utf-8?b?R3LDtsOfZQ==?=",
        "content-disposition": "attachment",
        "cache-control": "max-age=60",
        "x-goog-storage-class": "NEARLINE",
        "x-goog-acl": "public-read",
        "x-goog-encryption-kms-key-name": KMS,
    }
    assert resource_of(Properties()) == headers_of(Properties()) == query_of(Properties()) == {}


@pytest.mark.parametrize(
    ("properties", "option"),
    [
        (Properties(content_type="text/pl\u00e4n"), "content_type"),
        (Properties(content_disposition="a\r\nX-Evil: 1"), "content_disposition"),
        (Properties(cache_control="a\0"), "cache_control"),
        (Properties(storage_class="cold"), "storage_class"),
        (Properties(acl="publicRead!"), "acl"),
        (Properties(acl="public-read\n"), "acl"),
        (Properties(encryption="AES256"), "encryption"),
        (Properties(encryption=f"{KMS}\n"), "encryption"),
        (Properties(encryption=f"{KMS}/ü"), "encryption"),
        (Properties(tags={"a": "b"}), "tags"),
    ],
)
def test_what_google_would_refuse_is_known_before(properties: Properties, option: str) -> None:
    assert [name for name, _ in GCSPlugin().object_faults(options(), "key", properties)] == [option]
    if option != "tags":
        with pytest.raises(InvalidRequest):
            (resource_of(properties), query_of(properties), headers_of(properties))


@pytest.mark.parametrize(
    "key",
    ["", "a\0b", "a\nb", "..", ".", "a/../b", "./a", "x" * 1025, "ü" * 513, "\ud800", ".well-known/acme-challenge/x"],
)
def test_keys_that_google_cannot_hold_are_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        check_key(key)
    assert [name for name, _ in faults(key, Properties())] == ["key"]


@pytest.mark.parametrize("key", ["a", "a/b", "..a", "a..", "ü", "x" * 1024, "a b?#%2e*[]", "\u202eevil", "/a//b/"])
def test_other_keys_are_not_touched(key: str) -> None:
    check_key(key)


def test_the_folder_of_the_parts_is_no_place_for_objects() -> None:
    key, plugin = ".bucketline-parts/open/x", GCSPlugin()
    assert [name for name, _ in plugin.object_faults(options(upload="compose"), key, Properties())] == ["key"]
    assert list(plugin.object_faults(options(upload="xml"), key, Properties())) == []
    other = options(upload="compose", parts_prefix="unfinished/")
    assert list(plugin.object_faults(other, key, Properties())) == []


def test_what_the_store_tells_of_properties_is_understood() -> None:
    told = {"cacheControl": "no-store", "kmsKeyName": f"{KMS}/cryptoKeyVersions/7", "storageClass": "COLDLINE"}
    assert told_properties(told) == {"cache_control": "no-store", "encryption": KMS, "storage_class": "COLDLINE"}
    assert told_properties({}) == {}


@given(st.binary(max_size=3000))
def test_a_framed_body_is_a_description_and_the_bytes(data: bytes) -> None:
    framed = Related(b'{"name":"x"}', "text/plain", BytesBody(data), crc32c(data))
    boundary = framed.content_type.partition("boundary=")[2].encode()
    with framed.open() as reader:
        sent = reader.read()
    _, described, content, end = sent.split(b"--" + boundary)
    assert described.endswith(b'\r\n\r\n{"name":"x"}\r\n')
    assert content == b"\r\ncontent-type: text/plain\r\n\r\n" + data + b"\r\n"
    assert end == b"--\r\n"
    assert verify(framed) == crc32c(sent)
    assert framed.file() is None


def test_a_framed_body_ends_where_its_source_does() -> None:
    framed = Related(b"{}", "text/plain", CutBody(b"x" * 9, 10), 0)
    with pytest.raises(errors.ShortBody):
        verify(framed)


def told(message: str, reason: str = "", status: int = 400) -> Answer:
    error = {"code": status, "message": message, "errors": [{"reason": reason}]}
    return Answer(status, {}, json.dumps({"error": error}).encode())


def test_an_error_text_is_for_people_and_holds_no_token() -> None:
    error = from_answer(told("robot lacks\nstorage.objects.create; Bearer ya29.abc", "forbidden", 403), "send part 3")
    assert isinstance(error, errors.AccessDenied)
    assert str(error).startswith("Cannot send part 3: forbidden (HTTP 403). robot lacks storage.objects.create;")
    assert "abc" not in str(error)
    assert "Storage Object User" in str(error)


def test_where_the_reason_says_little_the_message_decides() -> None:
    assert isinstance(
        from_answer(told("The specified bucket does not exist.", "notFound", 404), "try"), errors.DestinationMissing
    )
    mismatch = 'Provided CRC32C "a" doesn\'t match calculated CRC32C "b".'
    assert isinstance(from_answer(told(mismatch, "invalid"), "try"), errors.IntegrityError)
    assert type(from_answer(told("Invalid argument.", "invalid"), "try")) is InvalidRequest


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, b"", errors.Unavailable),
        (429, b"{", errors.Throttled),
        (500, b"<html>gateway</html>", errors.Unavailable),
        (599, b'{"error": "odd"}', errors.Unavailable),
        (400, b'{"error": {"errors": []}}', InvalidRequest),
        (404, b"", InvalidRequest),
        (401, b'{"error": 7}', errors.CredentialsExpired),
        (401, b"<Error><Code>AuthenticationRequired</Code></Error>", errors.CredentialsExpired),
        (418, b"\xff\xfe", InvalidRequest),
        (301, b"", InvalidRequest),
    ],
)
def test_without_a_code_the_status_decides(status: int, body: bytes, expected: type[errors.BackendError]) -> None:
    assert isinstance(from_answer(Answer(status, {}, body), "try"), expected)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (auth.RefreshError("busy", retryable=True), errors.Unavailable),
        (auth.RefreshError("invalid_grant", {"assertion": "secret"}), errors.AccessDenied),
        (auth.TransportError("no route"), errors.ConnectionFailed),
        (auth.DefaultCredentialsError("none"), errors.AccessDenied),
        (ConnectionRefusedError(111, "refused"), errors.ConnectionFailed),
        (errors.Throttled("slow"), errors.Throttled),
        (ValueError("odd"), errors.TransientError),
    ],
)
def test_trouble_with_credentials_is_named(cause: Exception, expected: type[errors.BackendError]) -> None:
    found = from_exception(cause, "try", "Google's token service")
    assert type(found) is expected
    assert "secret" not in str(found)
    wrapped = RuntimeError("as gcsfs does it")
    wrapped.__cause__ = cause
    assert isinstance(from_exception(wrapped, "try", "Google's token service"), errors.BackendError)


def test_every_code_is_in_the_table_once() -> None:
    words = [code for codes in gcs_errors._CODES.values() for code in codes.split()]
    assert len(words) == len(set(words)) == len(TABLE)
    assert len(PROPERTIES) == len(set(PROPERTIES))
