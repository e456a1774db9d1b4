"""What a client says of a job that it submits: its options as parameters, headers or JSON, its name and its source."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NotRequired, TypedDict
from urllib.parse import quote

from bucketline.faults import ClientError


class Options(TypedDict, total=False):
    """The options of a submit, as docs of the API name them."""

    destinations: Iterable[str] | str
    """Names, or one name."""
    name: str | None
    key: str | None
    key_template: str | None
    content_type: str | None
    metadata: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    content_disposition: str | None
    cache_control: str | None
    storage_class: str | None
    acl: str | None
    encryption: str | None
    tags: Mapping[str, str] | None
    on_conflict: str | None
    checksum: str | None
    priority: str | None
    retain_seconds: int | None
    webhook: str | None
    on_success: str | None
    on_failure: str | None


class PathSource(TypedDict):
    """A file that the server itself can read."""

    path: str


class UrlSource(TypedDict):
    """A file of a web server; `credentials` names headers that the server's operator keeps."""

    url: str
    credentials: NotRequired[str]


class StoredSource(TypedDict):
    """An object at one of the destinations."""

    destination: str
    key: str


File = str | os.PathLike[str] | BinaryIO
Source = PathSource | UrlSource | StoredSource
_MAPS = ("metadata", "labels", "tags")


def parameters(file: File, options: Options) -> dict[str, str]:
    """The options that are one text each, for the query."""
    asked = {name: value for name, value in options.items() if name not in _MAPS}
    asked["destinations"] = ",".join(names(options.get("destinations")))
    asked["name"] = options.get("name") or name_of(file)
    return {name: str(value) for name, value in asked.items() if value not in (None, "")}


def headers(options: Options) -> dict[str, str]:
    """The options that are maps, each in its header."""
    maps = {"Metadata": options.get("metadata"), "Labels": options.get("labels"), "Tags": options.get("tags")}
    return {
        f"Bucketline-{name}": ", ".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in pairs.items())
        for name, pairs in maps.items()
        if pairs
    }


def document(source: Source, options: Options) -> dict[str, Any]:
    """A source and the options, as one JSON object."""
    asked: dict[str, Any] = {**options, "destinations": names(options.get("destinations"))}
    given = {name: value for name, value in asked.items() if value not in (None, "", [], {})}
    return {"source": source, **given}


def names(given: Iterable[str] | str | None) -> list[str]:
    """Destinations. A text is one name, and not a name for each of its letters."""
    return [given] if isinstance(given, str) else list(given or ())


def quoted(text: str) -> str:
    """A string of RFC 9651."""
    if not text or not text.isascii() or not text.isprintable():
        raise ClientError("an idempotency key is printable ASCII, for example a UUID")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def name_of(file: object) -> str | None:
    path = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    if not isinstance(path, str | os.PathLike):
        return None
    return Path(path).name or None
