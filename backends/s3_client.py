"""One bucket's connection: control calls through s3fs, and requests of the same identity sent without its event loop.

s3fs finds the credentials, the endpoint and the region, and makes the control calls. The requests that carry bytes are
signed here with botocore's signer, which needs no I/O (about 50 µs), and sent by `Transport`. They are signed by
header, so no address that anybody could use is ever sent or logged.

Everything is made on first use and anew in each process, because neither an event loop nor a connection outlives a
fork.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from backends import s3_errors
from backends.base import Body
from backends.errors import AccessDenied, BackendError, CredentialsExpired
from backends.per_process import PerProcess
from backends.s3 import S3Options
from backends.s3_providers import PRESETS
from backends.transport import CONNECTIONS, Answer, Transport

_PROBE_KEY = "k"
_UNRESERVED = "-._~"


class Client:
    """Calls to one bucket. Safe for many threads; raises nothing but `BackendError`."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._connections = PerProcess(self._connect)

    def call(self, method: str, doing: str, **arguments: Any) -> dict[str, Any]:
        """The S3 operation `method` on the bucket, tried once; `doing` says in words what it is for."""
        connection = self._connections.get()
        try:
            answer: dict[str, Any] = connection.fs.call_s3(method, Bucket=self._options.bucket, **arguments)
            return answer
        except Exception as error:
            raise self._noticed(s3_errors.from_exception(error, doing, connection.where), connection) from None

    def put(
        self, key: str, query: Mapping[str, str], headers: Mapping[str, str], body: Body, doing: str, *, md5: bool
    ) -> Answer:
        """PUT `body` with a signed request; any answer but a success is raised."""
        connection = self._connections.get()
        target, signed = connection.sign("PUT", key, query, headers)
        return self._checked(connection.transport.send("PUT", target, signed, body, md5=md5), connection, doing)

    def get(self, key: str, headers: Mapping[str, str], doing: str) -> tuple[Answer, Iterator[bytes]]:
        """GET the object; the blocks are to be read to the end."""
        connection = self._connections.get()
        target, signed = connection.sign("GET", key, {}, headers)
        answer, blocks = connection.transport.fetch(target, signed)
        return self._checked(answer, connection, doing), blocks

    @property
    def bucket(self) -> str:
        return self._options.bucket

    def presign(self, key: str, expires_seconds: int) -> str:
        """An address for GET that ends by itself."""
        return self._connections.get().presign(key, expires_seconds)

    def reaches(self, other: Client) -> bool:
        """Whether both are at one provider with one identity, so that it can copy between their buckets."""
        mine, theirs = self._options, other._options
        identity = ("endpoint_url", "key", "profile", "region")
        return all(getattr(mine, name) == getattr(theirs, name) for name in identity)

    def close(self) -> None:
        connection = self._connections.take()
        if connection is not None:
            connection.close()

    def _checked(self, answer: Answer, connection: _Connection, doing: str) -> Answer:
        if 200 <= answer.status < 300:
            return answer
        raise self._noticed(s3_errors.from_answer(answer, doing), connection)

    def _noticed(self, error: BackendError, connection: _Connection) -> BackendError:
        """After expired credentials the next call starts with fresh ones; calls under way keep what they have."""
        if isinstance(error, CredentialsExpired):
            self._connections.forget(connection)
        return error

    def _connect(self) -> _Connection:
        try:
            return _Connection(self._options)
        except Exception as error:
            where = self._options.endpoint_url or "the provider"
            raise s3_errors.from_exception(error, f"connect to {where}", where) from None


class _Connection:
    """What one process needs to talk to the bucket."""

    def __init__(self, options: S3Options) -> None:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import ReadOnlyCredentials
        from botocore.httpsession import get_cert_path
        from botocore.utils import get_environ_proxies

        class Signer(S3SigV4Auth):  # type: ignore[misc]
            def payload(self, request: Any) -> str:
                return "UNSIGNED-PAYLOAD"  # the CRC32C is among the signed headers instead

        self._bucket = options.bucket
        self.fs = _file_system(options)
        address = urlsplit(self._run(self._example_address))
        origin = f"{address.scheme}://{address.netloc}"
        self.where = address.netloc
        self._origin, self._base = origin, address.path.removesuffix(_PROBE_KEY)
        scope = parse_qs(address.query)["X-Amz-Credential"][0].split("/")
        self._region, self._service = scope[-3], scope[-2]
        self._static = ReadOnlyCredentials(options.key, options.secret, options.token) if options.key else None
        self._chain: Any = None if self._static else self._run(self.fs.session.get_credentials)
        self._frozen: Any = None
        self._signer, self._request = Signer, AWSRequest
        self.transport = Transport(
            origin,
            connect_timeout_seconds=options.connect_timeout_seconds,
            read_timeout_seconds=options.read_timeout_seconds,
            ca_file=options.ca_file or get_cert_path(True),
            proxy=get_environ_proxies(origin).get(address.scheme),  # as s3fs does, so that both go the same way
        )

    def sign(
        self, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """The request target and the headers to send, signature included."""
        target = self._base + quote(key, safe="/~")
        if query:
            target += "?" + "&".join(f"{name}={quote(value, safe=_UNRESERVED)}" for name, value in query.items())
        request = self._request(method, self._origin + target, headers=dict(headers))
        self._signer(self._credentials(), self._service, self._region).add_auth(request)
        return target, dict(request.headers.items())

    def presign(self, key: str, expires_seconds: int) -> str:
        """The address of the object, with a signature in its query."""
        from botocore.auth import S3SigV4QueryAuth

        request = self._request("GET", self._origin + self._base + quote(key, safe="/~"))
        S3SigV4QueryAuth(self._credentials(), self._service, self._region, expires=expires_seconds).add_auth(request)
        return str(request.url)

    def close(self) -> None:
        self.transport.close()
        self.fs.close_session(self.fs.loop, self.fs._s3creator)

    def _credentials(self) -> Any:
        """The keys of this moment. Only ones about to expire cost a round trip to s3fs's event loop."""
        if self._static is not None:
            return self._static
        if self._chain is None:
            raise AccessDenied("No credentials were found: set `key` and `secret`, or give the machine a role.")
        expires = getattr(self._chain, "refresh_needed", None)
        if self._frozen is None or (expires is not None and expires()):
            self._frozen = self._run(self._chain.get_frozen_credentials)
        return self._frozen

    async def _example_address(self) -> str:
        """A presigned address, made only to learn from botocore's endpoint rules where the bucket is."""
        await self.fs.set_session()
        client = await self.fs.get_s3(self._bucket)
        arguments = {"Bucket": self._bucket, "Key": _PROBE_KEY}
        address: str = await client.generate_presigned_url("get_object", Params=arguments)
        return address

    def _run(self, function: Any) -> Any:
        from fsspec.asyn import sync

        return sync(self.fs.loop, function)


def _file_system(options: S3Options) -> Any:
    """An s3fs file system of our own that tries every call once: the engine alone retries."""
    from s3fs import S3FileSystem

    client: dict[str, Any] = {}
    region = options.region or PRESETS[options.provider].region
    if region:
        client["region_name"] = region
    if options.ca_file:
        client["verify"] = str(options.ca_file)
    style = options.addressing_style or ("path" if options.endpoint_url else "auto")
    config = {
        "signature_version": "s3v4",
        "connect_timeout": options.connect_timeout_seconds,
        "read_timeout": options.read_timeout_seconds,
        "max_pool_connections": CONNECTIONS,
        "retries": {"total_max_attempts": 1},
        "s3": {"addressing_style": style, "payload_signing_enabled": True},
        # Newer botocore sums every request on its own, which some S3-compatible servers refuse.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    fs = S3FileSystem(
        key=options.key,
        secret=options.secret,
        token=options.token,
        endpoint_url=options.endpoint_url,
        client_kwargs=client,
        config_kwargs=copy.deepcopy(config),  # botocore changes what it is given
        cache_regions=not options.endpoint_url,
        skip_instance_cache=True,
        use_listings_cache=False,
        **({"profile": options.profile} if options.profile else {}),
    )
    fs.retries = 1
    return fs
