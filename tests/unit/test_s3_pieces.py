"""The pure pieces of the s3 backend: options, keys and metadata, and the meaning of codes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import errors
from backends.base import GIB, MIB, Properties
from backends.errors import InvalidRequest
from backends.faults import FaultList
from backends.narrowing import narrow
from backends.s3 import S3Options, S3Plugin
from backends.s3_errors import TABLE, from_answer
from backends.s3_metadata import arguments_of, check_key, decode, encode, faults, headers_of, told_properties
from backends.s3_providers import PRESETS
from backends.transport import Answer


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket": ""},
        {"bucket": "no spaces"},
        {"endpoint_url": "minio:9000"},
        {"endpoint_url": "ftp://minio"},
        {"endpoint_url": "https://me:secret@minio"},
        {"key": "only"},
        {"secret": "only"},
        {"read_timeout_seconds": 0},
        {"addressing_style": "dns"},
        {"checksum": "md5"},
        {"colour": "blue"},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"bucket": "acme", **wrong}, S3Options)


def test_what_the_plugin_says_needs_no_sdk() -> None:
    options = msgspec.convert({"bucket": "acme", "key": "k", "secret": "s"}, S3Options)
    claims = S3Plugin().capabilities(options)
    assert (claims.min_part, claims.max_part, claims.max_parts) == (5 * MIB, 5 * GIB, 10_000)
    assert S3Plugin().url(options, "up/a b") == "s3://acme/up/a b"
    assert S3Plugin.secrets == {"key", "secret", "token"}
    assert S3Plugin().capabilities(msgspec.structs.replace(options, checksum="none")).checksums == ()


@given(st.dictionaries(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True), st.text(max_size=60), max_size=5))
def test_metadata_in_any_script_survives_the_way_there_and_back(metadata: dict[str, str]) -> None:
    try:
        kept = encode(metadata)
    except InvalidRequest:
        return
    assert all(value.isascii() and value.isprintable() and value == value.strip() for value in kept.values())
    assert decode(kept) == metadata


@pytest.mark.parametrize(
    "metadata",
    [{"a b": "x"}, {"": "x"}, {"ü": "x"}, {"a:b": "x"}, {"A": "1", "a": "2"}, {"a": "x" * 2048}, {"a": "\ud800"}],
)
def test_metadata_that_cannot_be_kept_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        encode(metadata)


def test_metadata_that_others_wrote_is_shown_as_it_is() -> None:
    assert decode({"A": "=?broken?=", "b": "=?no-such?b?eA==?=", "c": "a=?b"}) == {
        "a": "=?broken?=",
        "b": "=?no-such?b?eA==?=",
        "c": "a=?b",
    }


@pytest.mark.parametrize("name", ["content_type", "content_disposition", "cache_control", "storage_class", "acl"])
@pytest.mark.parametrize("value", ["text/plain\r\nX-Evil: 1", "text/plän", "a\0"])
def test_a_property_that_is_no_header_is_refused(name: str, value: str) -> None:
    properties = Properties(**{name: value})
    with pytest.raises(InvalidRequest):
        headers_of(properties)
    with pytest.raises(InvalidRequest):
        arguments_of(properties)
    assert [found for found, _ in faults("key", properties)] == [name]


def test_properties_are_spelled_as_arguments_and_as_headers() -> None:
    properties = Properties(
        content_type="video/mp4",
        metadata={"Note": "Größe"},
        content_disposition="attachment",
        cache_control="max-age=60",
        storage_class="STANDARD_IA",
        acl="public-read",
        encryption="aws:kms:arn:aws:kms:eu-central-1:1:key/2",
        tags={"team": "blue + green", "x": "1"},
    )
    assert list(faults("key", properties)) == []
    assert arguments_of(properties) == {
        "ContentType": "video/mp4",
        "Metadata": {"note": "=?utf-8?b?R3LDtsOfZQ==?="},
        "ContentDisposition": "attachment",
        "CacheControl": "max-age=60",
        "StorageClass": "STANDARD_IA",
        "ACL": "public-read",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "arn:aws:kms:eu-central-1:1:key/2",
        "Tagging": "team=blue+%2B+green&x=1",
    }
    assert headers_of(properties) == {
        "content-type": "video/mp4",
        "x-amz-meta-note": "=?utf-8?b?R3LDtsOfZQ==?=",
        "content-disposition": "attachment",
        "cache-control": "max-age=60",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-acl": "public-read",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-central-1:1:key/2",
        "x-amz-tagging": "team=blue+%2B+green&x=1",
    }
    assert arguments_of(Properties()) == {"Metadata": {}}


@pytest.mark.parametrize(
    ("properties", "option"),
    [
        (Properties(metadata={"a": "x" * 2048}), "metadata"),
        (Properties(storage_class="cold"), "storage_class"),
        (Properties(acl="Everybody!"), "acl"),
        (Properties(encryption="rot13"), "encryption"),
        (Properties(tags={str(number): "" for number in range(11)}), "tags"),
        (Properties(tags={"aws:x": ""}), "tags"),
        (Properties(tags={"a": "?"}), "tags"),
        (Properties(tags={"a": "x" * 257}), "tags"),
    ],
)
def test_what_s3_would_refuse_is_known_before(properties: Properties, option: str) -> None:
    assert [name for name, _ in faults("key", properties)] == [option]


def test_a_key_that_s3_would_refuse_is_known_before() -> None:
    assert [name for name, _ in faults("a/../b", Properties())] == ["key"]


def test_what_the_store_tells_of_properties_is_understood() -> None:
    answer = {"CacheControl": "no-store", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k", "StorageClass": None}
    assert told_properties(answer) == {"cache_control": "no-store", "encryption": "aws:kms:k"}
    assert told_properties({"ServerSideEncryption": "AES256"}) == {"encryption": "AES256"}


@pytest.mark.parametrize("key", ["", "a\0b", "a\nb", "..", "a/../b", "./a", "a/.", "x" * 1025, "ü" * 513, "\ud800"])
def test_keys_that_would_not_arrive_as_they_are_are_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "a/b", "..a", "a..", "ü", "x" * 1024, "a b?#%2e*", "\u202eevil", "/a//b/"])
def test_other_keys_are_not_touched(key: str) -> None:
    check_key(key)


def test_an_error_text_is_for_people_and_holds_no_signature() -> None:
    document = (
        "<Error><Code>SignatureDoesNotMatch</Code><Message>We &amp; you differ: X-Amz-Signature=abc&#10;</Message>"
        "<StringToSign>secret</StringToSign></Error>"
    )
    error = from_answer(Answer(403, {}, document.encode()), "send part 3")
    assert isinstance(error, errors.AccessDenied)
    assert str(error).startswith("Cannot send part 3: SignatureDoesNotMatch (HTTP 403). We & you differ:")
    assert "abc" not in str(error)
    assert "secret," in str(error)  # the hint's word, not the document's
    assert "StringToSign" not in str(error)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, b"", errors.Throttled),
        (500, b"<html>gateway</html>", errors.Unavailable),
        (599, b"", errors.Unavailable),
        (404, b"", InvalidRequest),
        (418, b"\xff\xfe", InvalidRequest),
        (301, b"", InvalidRequest),
    ],
)
def test_without_a_code_the_status_decides(status: int, body: bytes, expected: type[errors.BackendError]) -> None:
    assert isinstance(from_answer(Answer(status, {}, body), "try"), expected)


def test_every_code_is_in_the_table_once() -> None:
    from backends import s3_errors

    words = [code for codes in s3_errors._CODES.values() for code in codes.split()]
    assert len(words) == len(set(words)) == len(TABLE)


@pytest.mark.parametrize("provider", PRESETS)
def test_a_preset_narrows_and_never_widens(provider: str) -> None:
    """By the rules for `capabilities` in plugins.toml, so no preset can promise what the backend does not."""
    plugin, options = S3Plugin(), S3Options(bucket="bucket", provider=provider, endpoint_url="https://s3.example")  # type: ignore[arg-type]
    claimed = plugin.capabilities(S3Options(bucket="bucket"))
    faults_found = FaultList("plugins.toml")
    table = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in msgspec.structs.asdict(plugin.capabilities(options)).items()
        if value != getattr(claimed, name)
    }
    narrow(claimed, table, place="x", faults=faults_found)
    assert faults_found.found == []


def test_a_provider_with_an_address_of_its_own_wants_it_named() -> None:
    with pytest.raises(ValueError, match="ACCOUNT_ID"):
        S3Options(bucket="bucket", provider="r2")


def test_equal_parts_for_the_provider_that_wants_them() -> None:
    options = S3Options(bucket="bucket", provider="r2", endpoint_url="https://x.r2.cloudflarestorage.com")
    assert S3Plugin().capabilities(options).uniform_parts
