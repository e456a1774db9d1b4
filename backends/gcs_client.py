"""One bucket's connection: every request goes by `Transport`, with the access token of the credentials gcsfs finds.

gcsfs brings the credentials and renews them; its file system, with an event loop, retries and copies of every part, is
not used (docs/decisions/0012). Everything is made on first use and anew in each process, because no connection
outlives a fork.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from backends import gcs_errors
from backends.base import Body
from backends.errors import AccessDenied, BackendError, CredentialsExpired
from backends.gcs import GCSOptions
from backends.gcs_signing import signed_address
from backends.grants import Grants
from backends.per_process import PerProcess
from backends.transport import Answer, Transport, whole

_LARGEST_DOCUMENT = 16 * 1024 * 1024


class Client:
    """Requests to one bucket. Safe for many threads; raises nothing but `BackendError`."""

    def __init__(self, options: GCSOptions) -> None:
        self._options = options
        self._paying = {"x-goog-user-project": options.user_project} if options.user_project else {}
        self._connections = PerProcess(self._connect)

    def send(
        self, method: str, target: str, doing: str, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Answer:
        """One request, tried once; any answer but a success is raised. `doing` says in words what it is for."""
        connection = self._connections.get()
        grant = connection.grants.get(doing)
        answer = connection.transport.send(method, target, self._signed(grant, headers, doing), body)
        return self._checked(answer, connection, grant, doing)

    def fetch(
        self, target: str, doing: str, headers: Mapping[str, str] | None = None
    ) -> tuple[Answer, Iterator[bytes]]:
        """GET `target`; the blocks are to be read to the end."""
        connection = self._connections.get()
        grant = connection.grants.get(doing)
        answer, blocks = connection.transport.fetch(target, self._signed(grant, headers, doing))
        return self._checked(answer, connection, grant, doing), blocks

    def document(self, target: str, doing: str) -> bytes:
        """GET a JSON or XML document of any sensible length."""
        _, blocks = self.fetch(target, doing)
        return whole(blocks, _LARGEST_DOCUMENT, doing)

    def presign(self, path: str, expires_seconds: int, doing: str) -> str:
        """The address of the object at this path of the XML API, signed by the credentials."""
        signer, sign = self._connections.get().grants.get(doing).signer(doing)
        paying = {"userProject": self._options.user_project} if self._options.user_project else {}
        return signed_address(f"{self._options.origin}{path}", signer, sign, expires_seconds, query=paying)

    def reaches(self, other: Client) -> bool:
        """Whether both are at one provider with one identity, so that it can copy between their buckets."""
        mine, theirs = self._options, other._options
        return all(getattr(mine, name) == getattr(theirs, name) for name in ("origin", "method", "credentials_file"))

    def close(self) -> None:
        connection = self._connections.take()
        if connection is not None:
            connection.transport.close()

    def _signed(self, grant: _Grant, headers: Mapping[str, str] | None, doing: str) -> dict[str, str]:
        return {**(headers or {}), **grant.headers(doing), **self._paying}

    def _checked(self, answer: Answer, connection: _Connection, grant: _Grant, doing: str) -> Answer:
        if 200 <= answer.status < 300:
            grant.proved = True
            return answer
        error = gcs_errors.from_answer(answer, doing)
        if isinstance(error, CredentialsExpired):
            connection.grants.doubt(grant)
            if grant.is_anonymous or (grant.renewed and not grant.proved):
                raise AccessDenied(f"{error.detail} Fresh credentials are not accepted either.")
        raise error

    def _connect(self) -> _Connection:
        try:
            return _Connection(self._options)
        except Exception as error:
            raise gcs_errors.from_exception(error, "connect", self._options.origin) from None


class _Connection:
    """What one process needs to talk to the bucket."""

    def __init__(self, options: GCSOptions) -> None:
        from certifi import where
        from requests.utils import get_environ_proxies

        self.grants = Grants(functools.partial(_Grant, options))
        proxies = get_environ_proxies(options.origin, no_proxy=None)  # as google-auth does for its own requests
        self.transport = Transport(
            options.origin,
            connect_timeout_seconds=options.connect_timeout_seconds,
            read_timeout_seconds=options.read_timeout_seconds,
            ca_file=options.ca_file or where(),
            proxy=proxies.get(options.origin.partition(":")[0]),
        )


class _Grant:
    """Credentials as gcsfs found them once. `proved` once a request with them succeeded."""

    def __init__(self, options: GCSOptions, renewed: bool, doing: str) -> None:
        from gcsfs.credentials import GoogleCredentials

        self.renewed, self.proved = renewed, False
        token = options.method if options.credentials_file is None else _key_of(options.credentials_file)
        try:
            self._credentials = GoogleCredentials(None, "full_control", token)
        except Exception as error:
            if isinstance(token, dict):
                raise AccessDenied("`credentials_file` is not the JSON key of a service account.") from None
            raise gcs_errors.from_exception(error, doing, "Google's token service") from None
        self.is_anonymous = self._credentials.credentials is None

    def headers(self, doing: str) -> dict[str, str]:
        found: dict[str, str] = {}
        try:
            self._credentials.apply(found)  # renews them when they are about to expire
        except Exception as error:
            raise self._refusal(error, doing) from None
        return found

    def signer(self, doing: str) -> tuple[str, Callable[[bytes], bytes]]:
        """The e-mail of a service account, and what makes its signatures: its key, or Google for it."""
        from google.auth.credentials import Signing

        found = self._credentials.credentials
        if not isinstance(found, Signing):
            raise AccessDenied(
                f"Cannot {doing}: only a service account can sign. Set `credentials_file` to the JSON key of one, or "
                "run on a machine that has one."
            )
        self.headers(doing)  # a machine learns of its account's name with its first token

        def sign(data: bytes) -> bytes:
            try:
                signature: bytes = found.sign_bytes(data)  # type: ignore[no-untyped-call]
            except Exception as error:
                raise self._refusal(error, doing) from None
            return signature

        return str(found.signer_email), sign

    def _refusal(self, error: Exception, doing: str) -> BackendError:
        return gcs_errors.from_exception(error, doing, "Google's token service")


def _key_of(path: Path) -> dict[str, Any]:
    """The service account's key. Not given to gcsfs by name: it sends the name to Google when there is no such file."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise AccessDenied(f"`credentials_file` cannot be read: {error.strerror}.") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise AccessDenied("`credentials_file` is not the JSON key of a service account.")
    return found
