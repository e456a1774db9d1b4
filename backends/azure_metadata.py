"""How a job's key and properties travel to Azure: unchanged after the round trip, or refused with the reason.

Names of metadata have to be C# identifiers there, so `-`, `.` and `_` are written `_d`, `_p` and `__`, and a leading
digit gets `_n` before it: the portal shows `bucketline-job` as `bucketline_djob`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from backends import header_texts
from backends.base import JSON, Properties
from backends.errors import InvalidRequest

LARGEST = 8192
META = "x-ms-meta-"
OURS = "bucketline__session"
"""The entry, as it is spelled at Azure, that names the upload which made a blob. It is not shown as metadata."""

_ESCAPES = {"_": "__", "-": "_d", ".": "_p"}
_MEANT = {"__": "_", "_d": "-", "_p": ".", "_n": ""}
# property: (header when a blob is written, header when it is looked at)
_SPELLING = {
    "content_type": ("x-ms-blob-content-type", "content-type"),
    "content_disposition": ("x-ms-blob-content-disposition", "content-disposition"),
    "cache_control": ("x-ms-blob-cache-control", "cache-control"),
    "storage_class": ("x-ms-access-tier", "x-ms-access-tier"),
    "encryption": ("x-ms-encryption-scope", "x-ms-encryption-scope"),
}
_WORDS = {
    "storage_class": (r"Hot|Cool|Cold|Archive", "one of Hot, Cool, Cold, Archive"),
    "encryption": (r"[A-Za-z0-9-]{3,63}", "the name of an encryption scope"),
}
_TAG = re.compile(r"[A-Za-z0-9 +./:=_-]*")


def headers_of(properties: Properties) -> dict[str, str]:
    """The properties as headers of the request that makes the blob."""
    _refuse_first(_property_faults(properties))
    found = {f"{META}{name}": value for name, value in _encoded(properties.metadata).items()}
    for name, (header, _) in _SPELLING.items():
        if value := getattr(properties, name):
            found[header] = value
    if properties.tags:
        found["x-ms-tags"] = "&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in properties.tags.items()
        )
    return found


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The user's metadata as it was given. Names and values that are not spelled our way are shown as they are."""
    found = {name.lower().removeprefix(META): value for name, value in headers.items() if name.lower().startswith(META)}
    return {_name(name): header_texts.read(value) for name, value in found.items() if name != OURS}


def told_properties(headers: Mapping[str, str]) -> dict[str, JSON]:
    """What a look at a blob tells of the further properties. A tier that the account decides is nobody's wish."""
    found: dict[str, JSON] = {
        name: headers.get(header) for name, (_, header) in _SPELLING.items() if name != "content_type"
    }
    if headers.get("x-ms-access-tier-inferred", "").lower() == "true":
        found["storage_class"] = None
    return {name: value for name, value in found.items() if value}


def faults(key: str, properties: Properties) -> Iterator[tuple[str, str]]:
    """Everything about an object that Azure would refuse, by the name of the option."""
    yield from _fault("key", check_key, key)
    yield from _property_faults(properties)


def check_key(key: str) -> None:
    """Raise `InvalidRequest` for a key that is no blob name, or one that something on the way would change."""
    if not key or len(_utf16(key)) > 2 * 1024:
        raise InvalidRequest("A blob's name has 1 to 1024 characters.")
    if re.search(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff\\]", key):
        raise InvalidRequest("A blob's name has no control characters and no backslash: Azure turns that into '/'.")
    segments = key.split("/")
    if any(segment.endswith(".") for segment in segments):
        raise InvalidRequest("No part of a blob's name between slashes ends with '.': Azure cuts it off.")
    if "" in segments:
        raise InvalidRequest("A blob's name has no '/' at either end, and no two of them together.")
    if len(segments) > 254:
        raise InvalidRequest("A blob's name has at most 254 parts between slashes.")


def _property_faults(properties: Properties) -> Iterator[tuple[str, str]]:
    yield from _fault("metadata", _encoded, properties.metadata)
    for name in ("content_type", "content_disposition", "cache_control"):
        value = getattr(properties, name)
        if value and not header_texts.is_plain(value):
            yield name, "It has characters that no header can carry; RFC 6266 says how a file name is encoded."
    for name, (pattern, wanted) in _WORDS.items():
        value = getattr(properties, name)
        if value and not re.fullmatch(pattern, value):
            yield name, f"Azure takes {wanted} here."
    if properties.acl:
        yield "acl", "Azure has no access lists on blobs of this kind."
    yield from _fault("tags", _check_tags, properties.tags)


def _refuse_first(found: Iterator[tuple[str, str]]) -> None:
    for name, problem in found:
        raise InvalidRequest(f"{name}: {problem}")


def _fault(name: str, check: Callable[[Any], object], value: Any) -> Iterator[tuple[str, str]]:
    try:
        check(value)
    except InvalidRequest as error:
        yield name, error.detail


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > 10:
        raise InvalidRequest(f"A blob has at most 10 tags, not {len(tags)}.")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or len(value) > 256 or not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            raise InvalidRequest(
                f"The tag {name[:60]!r} cannot be kept: 1 to 128 characters, its value up to 256, each of letters, "
                "digits, spaces and + - . / : = _."
            )


def _encoded(metadata: Mapping[str, str]) -> dict[str, str]:
    for name in metadata:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
            raise InvalidRequest(
                f"{name[:60]!r} is no metadata name: lower case letters, digits, '.', '_' and '-' are."
            )
    found = {_identifier(name): _header(value) for name, value in metadata.items()}
    size = sum(len(name) + len(value) for name, value in found.items())
    if size > LARGEST - 64:
        raise InvalidRequest(f"The metadata has {size} bytes as it is sent; Azure takes {LARGEST}, 64 of them ours.")
    if OURS in found:
        raise InvalidRequest("The metadata name 'bucketline_session' is ours.")
    return found


def _identifier(name: str) -> str:
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in name)
    return f"_n{escaped}" if escaped[0].isdigit() else escaped


def _name(identifier: str) -> str:
    if re.search(r"_(?!_|d|p|n)", re.sub(r"__", "", identifier)):
        return identifier
    meant = re.sub(r"_[_dpn]", lambda found: _MEANT[found[0]], identifier)
    return meant if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", meant) and _identifier(meant) == identifier else identifier


def _header(value: str) -> str:
    return header_texts.carried(value) if value else header_texts.word(value)


def _utf16(text: str) -> bytes:
    header_texts.utf8(text)
    return text.encode("utf-16-le")
