"""What a client says of a file that it sends: its options as parameters and headers, its name and its size."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, TypedDict
from urllib.parse import quote

from bucketline.faults import ClientError


class Options(TypedDict, total=False):
    """The options of a submit, as docs of the API name them."""

    destinations: Iterable[str]
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
    webhook: str | None
    retain_seconds: int | None


File = str | os.PathLike[str] | BinaryIO
_MAPS = ("metadata", "labels", "tags")


def parameters(file: File, options: Options) -> dict[str, str]:
    """The options that are one text each, for the query."""
    asked = {name: value for name, value in options.items() if name not in _MAPS}
    asked["destinations"] = ",".join(options.get("destinations", ()))
    asked["name"] = options.get("name") or name_of(file)
    return {name: str(value) for name, value in asked.items() if value not in (None, "")}


def document(source: Mapping[str, str], options: Options) -> dict[str, object]:
    """The JSON body that names a source instead of bringing bytes."""
    asked: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    if options.get("destinations"):
        asked["destinations"] = list(options["destinations"])
    else:
        asked.pop("destinations", None)
    return {**asked, "source": dict(source)}


def headers(options: Options) -> dict[str, str]:
    """The options that are maps, each in its header."""
    maps = {"Metadata": options.get("metadata"), "Labels": options.get("labels"), "Tags": options.get("tags")}
    return {
        f"Bucketline-{name}": ", ".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in pairs.items())
        for name, pairs in maps.items()
        if pairs
    }


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


def size_of(file: BinaryIO) -> int | None:
    """Bytes from the file's position to its end; None for a pipe."""
    try:
        here = file.tell()
        size = file.seek(0, os.SEEK_END) - here
        file.seek(here)
        return size
    except OSError:
        return None
