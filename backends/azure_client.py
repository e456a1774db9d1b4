"""One container's connection: every request goes by `Transport`, opened by the key, SAS or token of the options.

The SDK signs with the account's key and finds and renews tokens; it sends nothing but requests for tokens
(docs/decisions/0015). Everything is made on first use and anew in each process, because no connection outlives a fork.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, urlsplit

from backends import azure_errors
from backends.azure import AzureOptions
from backends.azure_errors import StaleToken
from backends.azure_signing import Signatures
from backends.base import Body
from backends.errors import AccessDenied
from backends.grants import Grants
from backends.per_process import PerProcess
from backends.transport import Answer, Transport, whole

VERSION = "2023-11-03"
SCOPE = "https://storage.azure.com/.default"
_A_DAY = 24 * 3600
_LARGEST_DOCUMENT = 32 * 1024 * 1024


class Client:
    """Requests to one container. Safe for many threads; raises nothing but `BackendError`."""

    def __init__(self, options: AzureOptions) -> None:
        self._options = options
        address = urlsplit(options.account.endpoint)
        self._origin = f"{address.scheme}://{address.netloc}"
        self._path = f"{address.path.rstrip('/')}/{options.container}"
        self._connections = PerProcess(self._connect)

    def target(self, key: str, query: Mapping[str, str] | None = None) -> str:
        """The path and query of a blob."""
        words = "&".join(f"{name}={quote(value, safe='')}" for name, value in (query or {}).items())
        return f"{self._path}/{quote(key, safe='/~')}{'?' if words else ''}{words}"

    def send(
        self, method: str, target: str, doing: str, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Answer:
        """One request, tried once; any answer but a success is raised. `doing` says in words what it is for."""
        connection = self._connections.get()
        grant = connection.grants.get(doing)
        length = {} if body is None else {"content-length": str(body.size)}
        opened, signed = grant.open(method, target, {**(headers or {}), **length}, doing)
        return self._checked(connection.transport.send(method, opened, signed, body), connection, grant, doing)

    def fetch(
        self, target: str, doing: str, headers: Mapping[str, str] | None = None
    ) -> tuple[Answer, Iterator[bytes]]:
        """GET `target`; the blocks are to be read to the end."""
        connection = self._connections.get()
        grant = connection.grants.get(doing)
        opened, signed = grant.open("GET", target, headers or {}, doing)
        answer, blocks = connection.transport.fetch(opened, signed)
        return self._checked(answer, connection, grant, doing), blocks

    def document(self, target: str, doing: str) -> bytes:
        """GET an XML document of any sensible length."""
        _, blocks = self.fetch(target, doing)
        return whole(blocks, _LARGEST_DOCUMENT, doing)

    def presign(self, key: str, expires_seconds: int, doing: str) -> str:
        """The address of a blob, with a signature in its query that only lets it be read."""
        address = f"{self._origin}{self.target(key)}"
        return f"{address}?{Signatures(self._options, self._delegated).of(key, expires_seconds, doing)}"

    def readable(self, key: str, doing: str) -> str:
        """The address of a blob as another account of Azure may read it for a day; a SAS opens it as it is."""
        if self._options.account.sas:
            return f"{self._origin}{self.target(key)}?{self._options.account.sas}"
        return self.presign(key, _A_DAY, doing)

    def reaches(self, other: Client) -> bool:
        """Whether the service can read from the other account: the same one, or another in the same cloud."""
        mine, theirs = self._origin, other._origin
        return mine == theirs or (".blob." in mine and mine.partition(".blob.")[2] == theirs.partition(".blob.")[2])

    def close(self) -> None:
        connection = self._connections.take()
        if connection is not None:
            connection.transport.close()

    def _delegated(self, body: Body, doing: str) -> bytes:
        """What the account answers when the identity asks for a key to sign with."""
        account = urlsplit(self._options.account.endpoint).path.rstrip("/")
        target, headers = f"{account}/?restype=service&comp=userdelegationkey", {"content-type": "application/xml"}
        return self.send("POST", target, doing, headers, body).body

    def _checked(self, answer: Answer, connection: _Connection, grant: _Grant, doing: str) -> Answer:
        if 200 <= answer.status < 300:
            grant.proved = True
            return answer
        error = azure_errors.from_answer(answer, doing)
        if isinstance(error, StaleToken):
            connection.grants.doubt(grant)
            if not grant.renewable:
                raise AccessDenied(error.detail)
            if grant.renewed and not grant.proved:
                raise AccessDenied(f"{error.detail} Fresh credentials are not accepted either.")
        raise error

    def _connect(self) -> _Connection:
        try:
            return _Connection(self._options)
        except Exception as error:
            raise azure_errors.from_exception(error, "connect") from None


class _Connection:
    """What one process needs to talk to the container."""

    def __init__(self, options: AzureOptions) -> None:
        from certifi import where
        from requests.utils import get_environ_proxies

        address = urlsplit(options.account.endpoint)
        origin = f"{address.scheme}://{address.netloc}"
        self.grants = Grants(functools.partial(_Grant, options))
        proxies = get_environ_proxies(origin, no_proxy=None)  # as the SDK does for its own requests
        self.transport = Transport(
            origin,
            connect_timeout_seconds=options.connect_timeout_seconds,
            read_timeout_seconds=options.read_timeout_seconds,
            ca_file=options.ca_file or where(),
            proxy=proxies.get(address.scheme),
        )


class _Grant:
    """What opens the container. `proved` once a request with it succeeded."""

    def __init__(self, options: AzureOptions, renewed: bool, doing: str) -> None:
        self.renewed, self.proved = renewed, False
        self._account = options.account
        self.renewable = not (self._account.key or self._account.sas)
        address = urlsplit(self._account.endpoint)
        self._origin = f"{address.scheme}://{address.netloc}"
        try:
            self._credential = self._opener(options)
        except Exception as error:
            raise azure_errors.from_exception(error, doing) from None

    def open(self, method: str, target: str, headers: Mapping[str, str], doing: str) -> tuple[str, dict[str, str]]:
        """The target and the headers with which the request is let in."""
        known = {**headers, "x-ms-version": VERSION, "x-ms-date": formatdate(usegmt=True)}
        if self._account.sas:
            return f"{target}{'&' if '?' in target else '?'}{self._account.sas}", known
        try:
            if self._account.key:
                return target, self._sign(method, target, known)
            token = self._credential.get_token(SCOPE).token
        except Exception as error:
            raise azure_errors.from_exception(error, doing) from None
        return target, {**known, "authorization": f"Bearer {token}"}

    def _opener(self, options: AzureOptions) -> Any:
        """What signs with the key, or gives tokens; a SAS needs neither."""
        if not self._account.key:
            return _tokens(options) if self.renewable else None
        from azure.storage.blob import BlobServiceClient

        given = {"account_name": self._account.name, "account_key": self._account.key}
        return BlobServiceClient(self._account.endpoint, credential=given).credential

    def _sign(self, method: str, target: str, headers: Mapping[str, str]) -> dict[str, str]:
        from azure.core.pipeline import PipelineContext, PipelineRequest
        from azure.core.pipeline.transport import HttpRequest

        request = HttpRequest(method, self._origin + target, headers=dict(headers))
        self._credential.on_request(PipelineRequest(request, PipelineContext(None)))
        return dict(request.headers)


def _tokens(options: AzureOptions) -> Any:
    """A service principal, or what azure-identity finds: the environment, workload identity, managed identity."""
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    limits = {"connection_timeout": options.connect_timeout_seconds, "read_timeout": options.read_timeout_seconds}
    if options.client_secret:
        return ClientSecretCredential(
            str(options.tenant_id), str(options.client_id), options.client_secret, retry_total=0, **limits
        )
    return DefaultAzureCredential(managed_identity_client_id=options.client_id, **limits)
