"""How a job's key and properties travel to Google: unchanged after the round trip, or refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from backends import header_texts
from backends.base import JSON, Properties
from backends.errors import InvalidRequest

LARGEST = 8192
"""Bytes of all names and values of the user's metadata together."""

# property: (member of the JSON resource, header of the XML API)
_SPELLING = {
    "content_type": ("contentType", "content-type"),
    "content_disposition": ("contentDisposition", "content-disposition"),
    "cache_control": ("cacheControl", "cache-control"),
    "storage_class": ("storageClass", "x-goog-storage-class"),
}
_ACLS = {
    "private": "private",
    "project-private": "projectPrivate",
    "public-read": "publicRead",
    "authenticated-read": "authenticatedRead",
    "bucket-owner-read": "bucketOwnerRead",
    "bucket-owner-full-control": "bucketOwnerFullControl",
}
_KMS = r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+"
_WORDS = (
    ("storage_class", r"[A-Z][A-Z_]{2,63}", "a word such as NEARLINE, COLDLINE or ARCHIVE"),
    ("acl", "|".join(_ACLS), f"one of {', '.join(_ACLS)}"),
    ("encryption", _KMS, "a key, projects/…/locations/…/keyRings/…/cryptoKeys/…"),
)


def resource_of(properties: Properties) -> dict[str, Any]:
    """The properties as an object resource of the JSON API."""
    kept: dict[str, Any] = {member: value for member, _, value in _spelled(properties)}
    metadata = {name: _armoured(value) for name, value in _checked(properties.metadata).items()}
    return {**kept, "metadata": metadata} if metadata else kept


def query_of(properties: Properties, acl: str = "predefinedAcl") -> dict[str, str]:
    """What the JSON API takes as parameters of a request; the one for the access list is called `acl`."""
    found = {acl: _acl(properties), "kmsKeyName": _word("encryption", properties.encryption)}
    return {name: value for name, value in found.items() if value}


def headers_of(properties: Properties) -> dict[str, str]:
    """The properties as headers of the XML API."""
    kept = {f"x-goog-meta-{name}": header_texts.carried(value) for name, value in _checked(properties.metadata).items()}
    kept |= {header: value for _, header, value in _spelled(properties)}
    if properties.acl:
        kept["x-goog-acl"] = _word("acl", properties.acl)
    if properties.encryption:
        kept["x-goog-encryption-kms-key-name"] = _word("encryption", properties.encryption)
    return kept


def decode(metadata: Mapping[str, str]) -> dict[str, str]:
    """The user's metadata as it was given. What is encoded in another way than ours is shown as it is."""
    return {name: header_texts.read(str(value)) for name, value in metadata.items()}


def told_properties(resource: Mapping[str, Any]) -> dict[str, JSON]:
    """What an object resource tells of the further properties. The access list is not among it."""
    found: dict[str, JSON] = {
        name: resource.get(member) for name, (member, _) in _SPELLING.items() if name != "content_type"
    }
    found["encryption"] = str(resource.get("kmsKeyName") or "").partition("/cryptoKeyVersions/")[0]
    return {name: value for name, value in found.items() if value}


def faults(key: str, properties: Properties, reserved: str = "") -> Iterator[tuple[str, str]]:
    """Everything about an object that Google would refuse, by the name of the option."""
    for name, check in (
        ("key", lambda: check_key(key, reserved)),
        ("metadata", lambda: _checked(properties.metadata)),
    ):
        try:
            check()
        except InvalidRequest as error:
            yield name, error.detail
    for name in ("content_type", "content_disposition", "cache_control"):
        value = getattr(properties, name)
        if value and not header_texts.is_plain(value):
            yield name, "It has characters that no header can carry; RFC 6266 says how a file name is encoded."
    for name, _, _ in _WORDS:
        try:
            _word(name, getattr(properties, name))
        except InvalidRequest as error:
            yield name, error.detail
    if properties.tags:
        yield "tags", "Google Cloud Storage has no tags on objects."


def check_key(key: str, reserved: str = "") -> None:
    """Raise `InvalidRequest` for a key that is no object name, or one that something on the way would change.

    Google's own rules, and two more: control characters cannot be told in the XML of a listing, and segments `.` and
    `..` are resolved by HTTP clients and proxies, and lead out of their folder in tools that download.
    """
    if not key or re.search(r"[\x00-\x1f\x7f]", key):
        raise InvalidRequest("An object's name is a text that is not empty and has no control characters.")
    if any(segment in (".", "..") for segment in key.split("/")):
        raise InvalidRequest("An object's name has no part that is '.' or '..'.")
    if key.startswith(".well-known/acme-challenge/"):
        raise InvalidRequest("Google keeps names that start with .well-known/acme-challenge/ for itself.")
    if reserved and key.startswith(reserved):
        raise InvalidRequest(f"What is below {reserved} are parts of unfinished uploads (`parts_prefix`).")
    if len(header_texts.utf8(key)) > 1024:
        raise InvalidRequest(f"The key has {len(header_texts.utf8(key))} bytes; Google takes 1024.")


def _spelled(properties: Properties) -> Iterator[tuple[str, str, str]]:
    """(member, header, value) for every property that is set and spelled alike in both APIs."""
    for name, (member, header) in _SPELLING.items():
        value = getattr(properties, name)
        if value:
            if not header_texts.is_plain(value):
                raise InvalidRequest(f"The {name.replace('_', ' ')} has characters that no header can carry.")
            if name == "storage_class":
                _word(name, value)
            yield member, header, value


def _word(name: str, value: str | None) -> str:
    if not value:
        return ""
    pattern, wanted = next((pattern, wanted) for word, pattern, wanted in _WORDS if word == name)
    if not re.fullmatch(pattern, value) or not header_texts.is_plain(value):
        raise InvalidRequest(f"Google takes {wanted} here.")
    return value


def _acl(properties: Properties) -> str:
    return _ACLS[_word("acl", properties.acl)] if properties.acl else ""


def _checked(metadata: Mapping[str, str]) -> Mapping[str, str]:
    for name in metadata:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
            raise InvalidRequest(
                f"{name[:60]!r} is no metadata name: lower case letters, digits, '.', '_' and '-' are."
            )
    size = sum(len(name) + len(header_texts.carried(value)) for name, value in metadata.items())
    if size > LARGEST:
        raise InvalidRequest(f"The metadata has {size} bytes as it is sent; Google takes {LARGEST}.")
    return metadata


def _armoured(value: str) -> str:
    """As text, only what would be taken for our encoding has to be encoded, and control characters."""
    header_texts.utf8(value)
    return header_texts.word(value) if header_texts.is_word(value) or re.search(r"[\x00-\x1f\x7f]", value) else value
