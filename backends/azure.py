"""The `azure` backend: block blobs of Azure Blob Storage, and servers that speak its REST API.

For the operator. Rights needed on the container: read, write and delete; the role Storage Blob Data Contributor has
them. A SAS needs `sp=rcwd`, and `t` for tags.

An upload stages blocks under names of its own at the blob, and commits their list: nothing is visible before, and one
blob is made. Azure has neither a call that begins an upload nor one that aborts it. So:

- Aborting frees nothing. Blocks that no list names are dropped when any list or blob is written there, or after 7 days;
  until then Azure bills them. No lifecycle rule can do it earlier (the capability `aborts` is false).
- Of two uploads to one name, the first to be completed drops the blocks of the other, which is then told that its
  session is lost (`parallel_sessions` is false).
- Open uploads cannot be listed.

Signed addresses need the account's key, or the role Storage Blob Delegator; a SAS cannot sign.

How bytes are proved: Azure answers each block with the CRC-64 of what it stored (`x-ms-content-crc64`, the polynomial
of CRC-64/NVME). We compute the same, and the CRC32C, in one pass over the bytes as they are sent. Where the two CRC-64
are equal, the provider has confirmed exactly the bytes that have this CRC32C, and the receipt says so. A server that
tells no CRC-64 gets receipts without a checksum, and the object is read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import msgspec

from backends.base import MIB, Capabilities, Properties

if TYPE_CHECKING:
    from backends.azure_backend import AzureBackend

PROPERTIES = ("content_disposition", "cache_control", "storage_class", "encryption", "tags")
MAX_PART = 4000 * MIB
MAX_PARTS = 50_000
_SECRETS = ("account_key", "sas_token", "connection_string", "client_secret")


class Account(msgspec.Struct, frozen=True):
    """Where the account is and what opens it; without a key and a SAS, tokens of Microsoft Entra ID do."""

    endpoint: str
    name: str = ""
    key: str = ""
    sas: str = ""


class AzureOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a destination with `backend = "azure"`."""

    container: str
    account_name: str | None = None
    account_key: str | None = None
    sas_token: str | None = None
    connection_string: str | None = None
    """As the portal shows it, instead of the three above and `endpoint_url`."""
    endpoint_url: str | None = None
    """Default: `https://<account_name>.blob.core.windows.net`. For emulators and sovereign clouds."""
    client_id: str | None = None
    """With `client_secret` and `tenant_id`: a service principal. Alone: a managed identity that the user assigned."""
    client_secret: str | None = None
    tenant_id: str | None = None
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    ca_file: Path | None = None
    """Certificates to trust instead of the usual ones."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\$root|[a-z0-9](-?[a-z0-9]){2,62}", self.container) or len(self.container) > 63:
            raise ValueError("`container` is not a container's name")
        if self.connect_timeout_seconds <= 0 or self.read_timeout_seconds <= 0:
            raise ValueError("timeouts are positive numbers of seconds")
        self._check_ways_in()
        address = urlsplit(self.account.endpoint)
        if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
            raise ValueError("the endpoint is `http(s)://host[:port][/account]`, without user or password")
        if address.query or address.fragment:
            raise ValueError("the endpoint has no query; a SAS goes into `sas_token`")
        if not (self.account.key or self.account.sas) and not _keeps_secrets(address.scheme, address.hostname):
            raise ValueError("tokens are sent over https only: set `account_key`, `sas_token` or an https endpoint")

    def _check_ways_in(self) -> None:
        named = (self.account_name, self.account_key, self.sas_token, self.endpoint_url)
        if self.connection_string is not None and any(named):
            raise ValueError("`connection_string` says the account, its key and its address already")
        if self.connection_string is None and not (self.account_name or self.endpoint_url):
            raise ValueError("`account_name`, `endpoint_url` or `connection_string` is missing")
        if self.account_key and not self.account_name:
            raise ValueError("`account_key` needs `account_name`")
        if bool(self.account_key) + bool(self.sas_token) + bool(self.client_secret) > 1:
            raise ValueError("`account_key`, `sas_token` and `client_secret` exclude each other")
        if self.client_secret and not (self.client_id and self.tenant_id):
            raise ValueError("`client_secret` needs `client_id` and `tenant_id`")

    @property
    def account(self) -> Account:
        if self.connection_string is not None:
            return _parsed(self.connection_string)
        endpoint = self.endpoint_url or f"https://{self.account_name}.blob.core.windows.net"
        sas = (self.sas_token or "").lstrip("?")
        return Account(endpoint.rstrip("/"), self.account_name or "", self.account_key or "", sas)


class AzurePlugin:
    """The entry point `azure` of the group `bucketline.backends`."""

    name: ClassVar[str] = "azure"
    Options: ClassVar[type[msgspec.Struct]] = AzureOptions
    secrets: ClassVar[frozenset[str]] = frozenset(_SECRETS)
    endpoint: ClassVar[str] = "endpoint_url"

    def capabilities(self, options: AzureOptions) -> Capabilities:
        return Capabilities(
            max_part=MAX_PART,
            max_parts=MAX_PARTS,
            max_object=MAX_PART * MAX_PARTS,
            create_only=True,
            metadata=True,
            properties=PROPERTIES,
            aborts=False,
            parallel_sessions=False,
        )

    def object_faults(self, options: AzureOptions, key: str, properties: Properties) -> Iterator[tuple[str, str]]:
        from backends.azure_metadata import faults

        return faults(key, properties)

    def url(self, options: AzureOptions, key: str) -> str:
        return f"az://{options.container}/{key}"

    def build(self, options: AzureOptions) -> AzureBackend:
        import azure.identity
        import azure.storage.blob  # noqa: F401 - a missing extra shows here, and not in the first transfer

        from backends.azure_backend import AzureBackend

        return AzureBackend(options, self.capabilities(options))


def _keeps_secrets(scheme: str, host: str) -> bool:
    return scheme == "https" or host in ("127.0.0.1", "localhost", "::1")


def _parsed(text: str) -> Account:
    fields = dict(field.strip().split("=", 1) for field in text.split(";") if "=" in field)
    lower = {name.lower(): value for name, value in fields.items()}
    name, suffix = lower.get("accountname", ""), lower.get("endpointsuffix", "core.windows.net")
    usual = f"{lower.get('defaultendpointsprotocol', 'https')}://{name}.blob.{suffix}" if name else ""
    endpoint = lower.get("blobendpoint", usual).rstrip("/")
    if not endpoint or not (lower.get("accountkey") or lower.get("sharedaccesssignature")):
        raise ValueError("`connection_string` names no account with a key or a shared access signature")
    return Account(endpoint, name, lower.get("accountkey", ""), lower.get("sharedaccesssignature", "").lstrip("?"))
