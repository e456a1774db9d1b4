"""The `gcs` backend: Google Cloud Storage, and servers that speak its JSON API.

For the operator. Rights needed on the bucket: storage.objects.create, storage.objects.get, storage.objects.delete and
storage.objects.list; with `upload = "xml"` also storage.multipartUploads.create, .abort, .list and .listParts. The role
Storage Object User holds all of them.

An upload goes one of two ways, which the option `upload` chooses:

- `xml` is the multipart upload of Google's XML API. Its parts cannot be seen, an abandoned upload is removed by the
  lifecycle rule AbortIncompleteMultipartUpload, and one object is made. Google honours no precondition there, so an
  object that appears meanwhile is replaced: `create_only` is not claimed.
- `compose` stores each part as an object below `parts_prefix`, joins 32 at a time into larger ones, and joins the last
  of them, once its CRC32C is that of the receipts, into the object: at once, and with a precondition. The part
  objects are deleted after. A bucket with soft delete or a retention period keeps (and bills) what is deleted: such a
  bucket wants `xml`, or those turned off. A lifecycle rule that deletes what is old below `parts_prefix` is the second
  line.

Small objects go in one request, which carries the CRC32C from ingest as every part does: Google refuses other bytes.

Signed addresses need the key of a service account, or the right to sign as the machine's own; copies, the right to read
the source.

User metadata: `compose` and single requests keep it as text. The XML API has headers for it, so `xml` encodes a value
that a header cannot carry unchanged (`=?utf-8?b?…?=`), and `stat` decodes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from backends.base import GIB, MIB, TIB, Capabilities, Properties

if TYPE_CHECKING:
    from backends.gcs_backend import GCSBackend

PROPERTIES = ("content_disposition", "cache_control", "storage_class", "acl", "encryption")
GOOGLE = "https://storage.googleapis.com"


class GCSOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a destination with `backend = "gcs"`."""

    bucket: str
    endpoint_url: str | None = None
    """For emulators and private endpoints: `http(s)://host[:port]`."""
    token: Literal["google_default", "cloud", "anon"] | None = None
    """How gcsfs finds credentials. Default: `anon` with an `endpoint_url`, else `google_default`."""
    credentials_file: Path | None = None
    """The JSON key of a service account, instead of `token`."""
    user_project: str | None = None
    """The project that pays, where the bucket wants the requester to pay."""
    upload: Literal["xml", "compose"] | None = None
    """Default: `compose` with an `endpoint_url`, else `xml`."""
    parts_prefix: str = ".bucketline-parts/"
    """Where `compose` keeps parts. Objects below it belong to this backend alone."""
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    ca_file: Path | None = None
    """Certificates to trust instead of the usual ones."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", self.bucket):
            raise ValueError("`bucket` is not a bucket's name")
        if self.token is not None and self.credentials_file is not None:
            raise ValueError("`token` and `credentials_file` exclude each other")
        if self.user_project is not None and not re.fullmatch(r"[a-z0-9.:-]{1,60}", self.user_project):
            raise ValueError("`user_project` is not a project's name")
        if not re.fullmatch(r"([A-Za-z0-9._-]{1,60}/){1,5}", self.parts_prefix) or "./" in self.parts_prefix:
            raise ValueError("`parts_prefix` is folders of letters, digits, '.', '_' and '-', each ending with '/'")
        if self.connect_timeout_seconds <= 0 or self.read_timeout_seconds <= 0:
            raise ValueError("timeouts are positive numbers of seconds")
        if self.endpoint_url is not None:
            address = urlsplit(self.endpoint_url)
            if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
                raise ValueError("`endpoint_url` is `http(s)://host[:port]`, without user or password")
            if address.path.strip("/") or address.query or address.fragment:
                raise ValueError("`endpoint_url` is `http(s)://host[:port]`, without a path")

    @property
    def origin(self) -> str:
        return (self.endpoint_url or GOOGLE).rstrip("/")

    @property
    def way(self) -> Literal["xml", "compose"]:
        return self.upload or ("compose" if self.endpoint_url else "xml")

    @property
    def method(self) -> str:
        return self.token or ("anon" if self.endpoint_url else "google_default")


class GCSPlugin:
    """The entry point `gcs` of the group `bucketline.backends`."""

    name: ClassVar[str] = "gcs"
    Options: ClassVar[type[msgspec.Struct]] = GCSOptions
    secrets: ClassVar[frozenset[str]] = frozenset({"credentials_file"})
    endpoint: ClassVar[str] = "endpoint_url"

    def capabilities(self, options: GCSOptions) -> Capabilities:
        composed = options.way == "compose"
        return Capabilities(
            min_part=1 if composed else 5 * MIB,
            max_part=5 * GIB,
            max_parts=10_000,
            max_object=5 * TIB,
            checksums=("crc32c",),
            create_only=composed,
            metadata=True,
            properties=PROPERTIES,
        )

    def object_faults(self, options: GCSOptions, key: str, properties: Properties) -> Iterator[tuple[str, str]]:
        from backends.gcs_metadata import faults

        return faults(key, properties, options.parts_prefix if options.way == "compose" else "")

    def url(self, options: GCSOptions, key: str) -> str:
        return f"gs://{options.bucket}/{key}"

    def build(self, options: GCSOptions) -> GCSBackend:
        import gcsfs.credentials  # noqa: F401 - a missing extra shows here, and not in the first transfer

        from backends.gcs_backend import GCSBackend

        return GCSBackend(options, self.capabilities(options))
