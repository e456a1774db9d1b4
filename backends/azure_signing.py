"""Signatures that let anybody read one blob for a while: by the account's key, or by one that an identity is lent."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from backends import azure_errors
from backends.azure import AzureOptions
from backends.base import Body
from backends.body import BytesBody
from backends.errors import AccessDenied, InvalidRequest, Unavailable

_SKEW = timedelta(minutes=5)
_LONGEST_LENT = timedelta(days=7) - _SKEW
_MEMBERS = ("SignedOid", "SignedTid", "SignedStart", "SignedExpiry", "SignedService", "SignedVersion", "Value")


class Signatures:
    """`lend` asks the account for a user delegation key: it takes a document, and what it is for, and answers one."""

    def __init__(self, options: AzureOptions, lend: Callable[[Body, str], bytes]) -> None:
        self._options, self._account, self._lend = options, options.account, lend

    def of(self, key: str, expires_seconds: int, doing: str) -> str:
        """The query that opens the blob `key` for reading."""
        if expires_seconds < 1:
            raise InvalidRequest("A signed address lasts for at least a second.")
        if self._account.sas and not self._account.key:
            raise AccessDenied(
                f"Cannot {doing}: a SAS cannot sign others. Set `account_key`, or leave `sas_token` out and give the "
                "machine an identity with the role Storage Blob Delegator."
            )
        if not self._name:
            raise AccessDenied(f"Cannot {doing}: the name of the account is signed too. Set `account_name`.")
        expiry = datetime.now(UTC) + timedelta(seconds=expires_seconds)
        return self._signed(key, expiry, doing)

    @property
    def _name(self) -> str:
        host = urlsplit(self._account.endpoint).hostname or ""
        return self._account.name or (host.partition(".")[0] if ".blob." in host else "")

    def _signed(self, key: str, expiry: datetime, doing: str) -> str:
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        by: dict[str, Any] = {"account_key": self._account.key}
        if not self._account.key:
            by = {"user_delegation_key": self._lent(expiry, doing)}
        scheme = urlsplit(self._account.endpoint).scheme
        try:
            signed: str = generate_blob_sas(
                self._name, self._options.container, key, permission=BlobSasPermissions(read=True), expiry=expiry,
                protocol="https" if scheme == "https" else "https,http", **by,
            )  # fmt: skip
        except Exception as error:
            raise azure_errors.from_exception(error, doing) from None
        return signed

    def _lent(self, expiry: datetime, doing: str) -> Any:
        """A key for as long as the signature lasts. Azure lends it to who has the role Storage Blob Delegator."""
        from azure.storage.blob import UserDelegationKey

        now = datetime.now(UTC)
        if expiry - now > _LONGEST_LENT:
            raise InvalidRequest("Without the account's key, an address lasts for less than 7 days.")
        start, end = (
            (moment).strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (now - _SKEW, expiry + timedelta(seconds=1))
        )
        asked = BytesBody(f"<KeyInfo><Start>{start}</Start><Expiry>{end}</Expiry></KeyInfo>".encode())
        try:
            answer = ElementTree.fromstring(self._lend(asked, doing))
        except ElementTree.ParseError:
            raise Unavailable(f"Cannot {doing}: the provider's answer is no key.") from None
        found = {member: answer.findtext(member) or "" for member in _MEMBERS}
        if not all(found.values()):
            raise Unavailable(f"Cannot {doing}: the provider's answer is no key.")
        lent: Any = UserDelegationKey()  # type: ignore[no-untyped-call]
        for member, value in found.items():
            setattr(lent, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member).lower(), value)
        return lent
