"""What S3-compatible providers can do less than Amazon, and where they are: presets for the option `provider`.

From their documentation as of November 2026; none could be reached from where this was written. Where it is silent,
the careful value stands. A preset only narrows: who knows better leaves `provider` out and narrows by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from backends.base import FURTHER_PROPERTIES, GIB, TIB, Capabilities

Provider = Literal["aws", "minio", "r2", "b2", "wasabi", "ceph", "gcs"]


@dataclass(frozen=True)
class Preset:
    """`endpoint` names the provider's address where there is only one, or says what it looks like."""

    endpoint: str = ""
    region: str | None = None
    checks: bool = True
    """Whether a CRC32C may be sent with a request; where not, it is not even tried."""
    without: tuple[str, ...] = ()
    """Properties that are refused or ignored there."""
    narrowed: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def narrow(self, claimed: Capabilities) -> Capabilities:
        kept = tuple(name for name in FURTHER_PROPERTIES if name in claimed.properties and name not in self.without)
        return msgspec.structs.replace(claimed, properties=kept, **self.narrowed)


PRESETS: Mapping[str, Preset] = {
    "aws": Preset(),
    "minio": Preset(
        without=("acl",),
        narrowed={"create_only": False},
        note="lists open uploads only for an exact key, so `bucketline gc` finds none; its lifecycle rules abort none",
    ),
    "r2": Preset(
        endpoint="https://ACCOUNT_ID.r2.cloudflarestorage.com",
        region="auto",
        without=("acl", "tags", "encryption"),
        narrowed={"uniform_parts": True, "max_object": 5 * TIB - 5 * GIB},
        note="all parts but the last have the same size",
    ),
    "b2": Preset(
        endpoint="https://s3.REGION.backblazeb2.com",
        without=("acl", "tags", "storage_class"),
        narrowed={"create_only": False, "max_object": 10 * TIB},
        note="access lists are the bucket's; tags are refused",
    ),
    "wasabi": Preset(
        endpoint="https://s3.REGION.wasabisys.com",
        without=("tags", "storage_class"),
        narrowed={"create_only": False, "max_object": 5 * TIB},
        note="aborts unfinished uploads by itself after 30 days",
    ),
    "ceph": Preset(narrowed={"create_only": False, "max_object": 5 * TIB}),
    "gcs": Preset(
        endpoint="https://storage.googleapis.com",
        checks=False,
        without=("tags", "encryption"),
        narrowed={"create_only": False, "max_object": 5 * TIB, "checksums": ()},
        note="with HMAC keys; the backend `gcs` does more",
    ),
}
