"""The stores that are compared, each on a server of its own on loopback: how we reach it, and how the peer does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.sink import BUCKET, Sink
from tests.backends import azure_servers, gcs_servers, generic_servers
from tests.backends.generic_servers import FileServer

MIB = 1 << 20


@dataclass(frozen=True)
class Store:
    """A server that runs: the table of our destination, and the peer's address and options."""

    table: dict[str, Any]
    url: str
    options: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    """What the peer's `put_file` takes, so that it does as well as it can."""

    def toml(self) -> str:
        return "\n".join(
            ["[destinations.store]", *(f"{key} = {_toml(value)}" for key, value in self.table.items()), ""]
        )


@dataclass(frozen=True)
class Kind:
    """A kind of store, the peer's name, and what is promised beside it."""

    name: str
    peer: str
    start: Callable[[Path], AbstractContextManager[Store]]
    native: bool
    """Whether our own sender sends its parts: then half of the peer's CPU is promised, otherwise 1.15 of its time."""


@contextmanager
def _s3(folder: Path) -> Iterator[Store]:
    with Sink(folder) as sink:
        table = {"backend": "s3", "bucket": BUCKET, "endpoint_url": sink.url, "key": "bench", "secret": "bench-secret"}
        options = {"endpoint_url": sink.url, "config_kwargs": {"s3": {"addressing_style": "path"}}}
        more = {"chunksize": 16 * MIB, "max_concurrency": 8}
        yield Store(table, f"s3://{BUCKET}/theirs", options, more)


@contextmanager
def _gcs(folder: Path) -> Iterator[Store]:
    with gcs_servers.fake_gcs(folder) as url:
        bucket = gcs_servers.BUCKET
        table = {"backend": "gcs", "bucket": bucket, "endpoint_url": url, "token": "anon"}
        options = {"endpoint_url": url, "token": "anon", "project": "p"}
        yield Store(table, f"gs://{bucket}/theirs", options, {"chunksize": 16 * MIB})


@contextmanager
def _azure(folder: Path) -> Iterator[Store]:
    with azure_servers.azurite(folder) as url:
        account, key = azure_servers.ACCOUNT, azure_servers.KEY
        connection = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={url};"
        table = {"backend": "azure", **azure_servers.options(url)}
        options = {"connection_string": connection, "blocksize": 16 * MIB, "max_concurrency": 8}
        yield Store(table, f"abfs://{azure_servers.CONTAINER}/theirs", options, {"overwrite": True})


def _files(start: Callable[[Path], AbstractContextManager[FileServer]]) -> Callable[[Path], Any]:
    @contextmanager
    def started(folder: Path) -> Iterator[Store]:
        with start(folder) as server:
            # Where sshfs is installed, it has registered itself for sftp.
            own = {"class": "fsspec.implementations.sftp.SFTPFileSystem"} if server.url.startswith("sftp") else {}
            peer = {**server.options, **own}
            yield Store({"backend": "fsspec", **server.table}, f"{server.url.rstrip('/')}/theirs", peer)

    return started


@contextmanager
def _directory(folder: Path) -> Iterator[FileServer]:
    yield FileServer(f"file://{folder}", folder)


KINDS = (
    Kind("S3 (nginx that discards)", "s3fs", _s3, native=True),
    Kind("GCS (fake-gcs-server)", "gcsfs", _gcs, native=True),
    Kind("Azure (Azurite)", "adlfs", _azure, native=True),
    Kind("SFTP (OpenSSH)", "fsspec sftp", _files(generic_servers.sshd), native=False),
    Kind("FTP (pyftpdlib)", "fsspec ftp", _files(generic_servers.ftpd), native=False),
    Kind("a directory", "fsspec file", _files(_directory), native=False),
)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
