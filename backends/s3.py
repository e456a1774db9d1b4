"""The `s3` backend: Amazon S3 and every store that speaks its protocol (MinIO, R2, B2, Wasabi, Ceph…).

For the operator. Rights needed: s3:PutObject, s3:GetObject (verification), s3:AbortMultipartUpload,
s3:ListMultipartUploadParts, s3:ListBucketMultipartUploads, and s3:DeleteObject for `bucketline check`. One object is
made per transfer, at its key; nothing is visible there before the upload is completed. Every session is completed or
aborted by the engine; a lifecycle rule that aborts incomplete multipart uploads after some days is a good second line.

Bytes are sent by `Transport` in requests signed with the CRC32C from ingest, so that the provider verifies what the
client sent. A server that refuses such a request gets the same part by s3fs's own call; if that succeeds, this backend
stays with the plain call. Where a server does not confirm the CRC32C, the MD5 in its ETag is compared instead.

User metadata: names become lower case, as S3 does it; a value that a header cannot carry unchanged is encoded after
RFC 2047 (`=?utf-8?b?…?=`), which S3's own tools show decoded, and decoded by `stat`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from backends.base import FURTHER_PROPERTIES, GIB, MIB, Capabilities, Properties
from backends.s3_providers import PRESETS, Provider

if TYPE_CHECKING:
    from backends.s3_backend import S3Backend


class S3Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a destination with `backend = "s3"`."""

    bucket: str
    provider: Provider = "aws"
    """Whose limits hold (`backends.s3_providers`)."""
    endpoint_url: str | None = None
    """For stores other than Amazon's: `https://host[:port]`."""
    key: str | None = None
    """Without `key` and `secret`, the SDK's own chain finds them: environment, profile, instance role…"""
    secret: str | None = None
    token: str | None = None
    profile: str | None = None
    region: str | None = None
    addressing_style: Literal["path", "virtual", "auto"] | None = None
    """Default: `path` with an `endpoint_url`, else `auto`."""
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    checksum: Literal["crc32c", "none"] = "crc32c"
    """`none`: neither CRC32C nor ETag is used, for a store that answers either wrongly."""
    ca_file: Path | None = None
    """Certificates to trust instead of the usual ones."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{1,254}", self.bucket):
            raise ValueError("`bucket` is not a bucket's name")
        if bool(self.key) != bool(self.secret):
            raise ValueError("`key` and `secret` belong together: give both or none")
        if self.connect_timeout_seconds <= 0 or self.read_timeout_seconds <= 0:
            raise ValueError("timeouts are positive numbers of seconds")
        if self.provider != "aws" and self.endpoint_url is None:
            like = PRESETS[self.provider].endpoint
            raise ValueError("`endpoint_url` is missing" + (f": {like}" if like else ""))
        if self.endpoint_url is not None:
            address = urlsplit(self.endpoint_url)
            if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
                raise ValueError("`endpoint_url` is `http(s)://host[:port]`, without user or password")


class S3Plugin:
    """The entry point `s3` of the group `bucketline.backends`."""

    name: ClassVar[str] = "s3"
    Options: ClassVar[type[msgspec.Struct]] = S3Options
    secrets: ClassVar[frozenset[str]] = frozenset({"key", "secret", "token"})
    endpoint: ClassVar[str] = "endpoint_url"

    def capabilities(self, options: S3Options) -> Capabilities:
        claimed = Capabilities(
            min_part=5 * MIB,
            max_part=5 * GIB,
            max_parts=10_000,
            max_object=10_000 * 5 * GIB,
            checksums=("crc32c",) if options.checksum == "crc32c" else (),
            create_only=True,
            metadata=True,
            properties=FURTHER_PROPERTIES,
        )
        return PRESETS[options.provider].narrow(claimed)

    def object_faults(self, options: S3Options, key: str, properties: Properties) -> Iterator[tuple[str, str]]:
        from backends.s3_metadata import faults

        return faults(key, properties)

    def url(self, options: S3Options, key: str) -> str:
        return f"s3://{options.bucket}/{key}"

    def build(self, options: S3Options) -> S3Backend:
        import s3fs  # noqa: F401 - a missing extra shows here, and not in the first transfer

        from backends.s3_backend import S3Backend

        return S3Backend(options, self.capabilities(options))
