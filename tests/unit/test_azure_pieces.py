"""The pure pieces of the azure backend: options, keys and metadata, names of blocks, and the CRC-64."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import azure_errors, errors
from backends.azure import AzureOptions, AzurePlugin
from backends.azure_blocks import Counted, block_list, crc64_of, crc64_text, latest, new_block
from backends.azure_metadata import META, check_key, faults, headers_of, metadata_of
from backends.base import FURTHER_PROPERTIES, Properties
from backends.body import BytesBody
from backends.errors import InvalidRequest, Unavailable

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: name != "bucketline_session")
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
CONNECTION = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn"


def options(**given: Any) -> AzureOptions:
    return msgspec.convert({"container": "files", "account_name": "acme", **given}, AzureOptions)


@pytest.mark.parametrize(
    "wrong",
    [
        {"container": "No"},
        {"container": "a--b"},
        {"account_name": None},
        {"account_name": None, "endpoint_url": "https://x", "account_key": "k"},
        {"account_key": "a", "sas_token": "b"},
        {"client_secret": "s"},
        {"connection_string": CONNECTION},
        {"account_name": None, "connection_string": "AccountName=acme"},
        {"endpoint_url": "https://me:secret@x"},
        {"endpoint_url": "https://x?sig=1"},
        {"endpoint_url": "http://far.example"},
        {"read_timeout_seconds": 0},
        {"colour": "blue"},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        options(**wrong)


def test_where_the_account_is() -> None:
    assert options().account.endpoint == "https://acme.blob.core.windows.net"
    assert options(sas_token="?sig=x").account.sas == "sig=x"
    parsed = options(account_name=None, connection_string=CONNECTION).account
    assert (parsed.endpoint, parsed.key) == ("https://acme.blob.core.chinacloudapi.cn", "a2V5")


def test_what_the_plugin_says_needs_no_sdk() -> None:
    claims = AzurePlugin().capabilities(options())
    assert set(FURTHER_PROPERTIES) - set(claims.properties) == {"acl"}
    assert (claims.aborts, claims.parallel_sessions, claims.create_only) == (False, False, True)
    assert AzurePlugin().url(options(), "up/a b") == "az://files/up/a b"
    assert {"account_key", "sas_token", "connection_string", "client_secret"} == AzurePlugin.secrets


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_metadata_comes_back_as_it_was_given(metadata: dict[str, str]) -> None:
    headers = headers_of(Properties(metadata=metadata))
    assert all(name.removeprefix(META).isidentifier() and name.isascii() for name in headers)
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    assert metadata_of(headers) == metadata


@pytest.mark.parametrize("name", ["Foo", "a_b", "_x", "trailing_", "_n", "_nabc"])
def test_names_that_others_gave_are_shown_as_they_are(name: str) -> None:
    assert metadata_of({f"{META}{name}": "v"}) == {name.lower(): "v"}


@pytest.mark.parametrize("key", ["", "a\\b", "a/../b", "a.", "a./b", "/a", "a/", "a//b", "x\0", "y" * 1025, "\ud800"])
def test_keys_that_azure_would_change_are_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        check_key(key)


def test_everything_that_azure_would_refuse_is_named() -> None:
    wrong = Properties(
        content_type="text\n",
        metadata={"Upper": "x"},
        storage_class="GLACIER",
        acl="public-read",
        encryption="no spaces",
        tags={f"t{number}": "" for number in range(11)},
    )
    assert {name for name, _ in faults("a.", wrong)} == {
        "key", "content_type", "metadata", "storage_class", "acl", "encryption", "tags",
    }  # fmt: skip
    assert [name for name, _ in faults("a", Properties(tags={"a": "&"}))] == ["tags"]
    assert [name for name, _ in faults("a", Properties(metadata={"a": "x" * 9000}))] == ["metadata"]


def test_of_two_blocks_for_one_part_the_later_counts() -> None:
    first, second = new_block("0" * 16, 1, 5), new_block("0" * 16, 1, 6)
    other = new_block("1" * 16, 1, 7)
    assert len({len(block.id) for block in (first, second, other)}) == 1
    names = (second.id, first.id, other.id, "Zm9v")
    named = "".join(f"<Block><Name>{name}</Name><Size>3</Size></Block>" for name in names)
    document = f"<BlockList><UncommittedBlocks>{named}</UncommittedBlocks></BlockList>".encode()
    assert latest(document, "0" * 16, "look") == {1: second._replace(size=3)}
    assert second.id.encode() in block_list([second])
    with pytest.raises(Unavailable):
        latest(b"<html>", "0" * 16, "look")


def test_the_crc64_is_that_of_microsofts_own_library() -> None:
    # What `azure.storage.extensions.checksums.crc64.compute(data, 0)` of azure-storage-extensions gives.
    known = {
        b"": 0,
        b"a": 0x8C2F8445B4CBFC3C,
        bytes(range(256)): 0xFF71E21279D9966E,
        bytes(1000): 0x04D1BB8FA63CB488,
        b"\xff" * 4097: 0xFB13B9233E60B2EE,
    }
    assert {data: crc64_of(BytesBody(data)) for data in known} == known


def test_the_crc64_is_written_as_azure_writes_it() -> None:
    # 0xae8b14860a799888 is the check value of CRC-64/NVME, as Microsoft's library computes it too.
    assert crc64_of(BytesBody(b"123456789")) == 0xAE8B14860A799888
    assert crc64_text(0xAE8B14860A799888) == "iJh5CoYUi64="
    counted = Counted(BytesBody(b"x"))
    counted.open().close()
    assert counted.crc64 == 0


def test_each_exception_of_the_token_service_has_one_meaning() -> None:
    from azure.core import exceptions as core

    told = azure_errors.from_exception(core.ClientAuthenticationError("secret=abc"), "send")
    assert isinstance(told, errors.AccessDenied)
    assert "abc" not in told.detail
    assert isinstance(azure_errors.from_exception(core.ServiceRequestError("x"), "send"), errors.ConnectionFailed)
    assert isinstance(azure_errors.from_exception(ValueError("abc"), "send"), errors.AccessDenied)
