"""Which store is measured on which server, against whose upload. Servers are those that the tests start."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.sink import BUCKET, Sink
from tests.backends import azure_servers, gcs_servers, generic_servers
from tests.backends.generic_servers import PASSWORD, USER, FileServer
from tests.backends.strict_gcs import StrictGCS

PART = 1 << 24
AT_ONCE = 8
OURS = "Bucketline"
BY_SIZE = 'Bucketline, verify = "size"'
READ_BACK = "read back"


@dataclass(frozen=True)
class Contest:
    """One destination of ours, and the peers that upload to the same server: by name, the settings of `stores.peer`."""

    backend: str
    options: dict[str, Any]
    peers: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Ours once more, by name, with these further options."""

    @property
    def ours(self) -> dict[str, dict[str, Any]]:
        """Our own subjects, by name, with their options."""
        return {OURS: self.options, **{name: {**self.options, **more} for name, more in self.variants.items()}}

    @property
    def subjects(self) -> list[str]:
        return [*self.ours, *self.peers]

    def settings(self, subject: str) -> str:
        """What the process of a subject is told."""
        if subject in self.peers:
            return json.dumps(self.peers[subject])
        ours = {"backend": self.backend, "options": self.ours[subject], "part_size": PART, "threads": AT_ONCE}
        return json.dumps(ours)


Start = Callable[[Path], AbstractContextManager[Contest]]


def _peer(file_system: str, options: dict[str, Any], folder: str, **put: Any) -> dict[str, Any]:
    return {"file_system": file_system, "options": options, "folder": folder, "put": put}


@contextmanager
def s3(root: Path) -> Iterator[Contest]:
    keys = {"key": "bench", "secret": "bench-secret"}
    with Sink(root) as sink:
        options = {"endpoint_url": sink.url, **keys, "config_kwargs": {"s3": {"addressing_style": "path"}}}
        peer = _peer("s3fs.S3FileSystem", options, f"{BUCKET}/", chunksize=PART, max_concurrency=AT_ONCE)
        ours = {"bucket": BUCKET, "endpoint_url": sink.url, "region": "us-east-1", **keys}
        yield Contest("s3", ours, {"s3fs put_file": peer})


def _gcs(url: str, bucket: str, upload: str) -> Contest:
    # Not gcsfs.GCSFileSystem, which asks by gRPC first and waits for an answer that no emulator gives.
    options = {"endpoint_url": url, "token": "anon", "project": "p"}
    peer = _peer("gcsfs.core.GCSFileSystem", options, f"{bucket}/", chunksize=PART)
    return Contest("gcs", {"bucket": bucket, "endpoint_url": url, "upload": upload}, {"gcsfs put_file": peer})


@contextmanager
def gcs_compose(root: Path) -> Iterator[Contest]:
    with gcs_servers.fake_gcs(root) as url:
        yield _gcs(url, gcs_servers.BUCKET, "compose")


@contextmanager
def gcs_xml(root: Path) -> Iterator[Contest]:
    with StrictGCS(root) as server:
        yield _gcs(server.url, "bucket", "xml")


@contextmanager
def azure(root: Path) -> Iterator[Contest]:
    with azure_servers.azurite(root) as url:
        ours = azure_servers.options(url)
        text = f"DefaultEndpointsProtocol=http;AccountName={azure_servers.ACCOUNT};AccountKey={azure_servers.KEY};"
        # put_file takes its part size from these.
        options = {"connection_string": f"{text}BlobEndpoint={url};", "blocksize": PART, "max_concurrency": AT_ONCE}
        folder = f"{azure_servers.CONTAINER}/"
        peer = _peer("adlfs.AzureBlobFileSystem", options, folder, max_concurrency=AT_ONCE)
        yield Contest("azure", ours, {"adlfs put_file": peer})


def _files(server: FileServer, file_system: str, options: dict[str, Any], folder: str) -> Contest:
    """Ours twice, and plain fsspec twice: each as it comes, and each with the work of the other."""
    server.root.mkdir(parents=True, exist_ok=True)
    plain = _peer(file_system, options, folder)
    peers = {"put_file": plain, f"put_file, {READ_BACK}": {**plain, "read_back": True}}
    return Contest("fsspec", server.table, peers, {BY_SIZE: {"verify": "size"}})


def _address(server: FileServer) -> dict[str, Any]:
    address = urlsplit(server.url)
    return {"host": address.hostname, "port": address.port}


@contextmanager
def sftp(root: Path) -> Iterator[Contest]:
    with generic_servers.sshd(root) as server:
        options = {**_address(server), "username": urlsplit(server.url).username, **server.options}
        yield _files(server, "fsspec.implementations.sftp.SFTPFileSystem", options, f"{server.root}/")


@contextmanager
def sshfs(root: Path) -> Iterator[Contest]:
    with generic_servers.sshd(root) as plain:
        server = generic_servers.as_sshfs(plain)
        options = {**_address(server), "username": urlsplit(server.url).username, **server.options}
        yield _files(server, "sshfs.SSHFileSystem", options, f"{server.root}/")


@contextmanager
def smb(root: Path) -> Iterator[Contest]:
    with generic_servers.smbd(root) as server:
        options = {**_address(server), **server.options}
        yield _files(server, "fsspec.implementations.smb.SMBFileSystem", options, "/share/in/")


@contextmanager
def ftp(root: Path) -> Iterator[Contest]:
    with generic_servers.ftpd(root) as server:
        options = {**_address(server), **server.options}
        yield _files(server, "fsspec.implementations.ftp.FTPFileSystem", options, "/in/")


@contextmanager
def webdav(root: Path) -> Iterator[Contest]:
    with generic_servers.rclone_webdav(root) as server:
        address = f"http://{urlsplit(server.url).netloc}/in"
        options = {"base_url": address, "auth": [USER, PASSWORD]}
        yield _files(server, "webdav4.fsspec.WebdavFileSystem", options, "/")


@contextmanager
def directory(root: Path) -> Iterator[Contest]:
    server = FileServer(f"file://{root}/in", root / "in")
    yield _files(server, "fsspec.implementations.local.LocalFileSystem", {}, f"{server.root}/")


NATIVE: dict[str, Start] = {
    "s3 on the sink (nginx)": s3,
    "gcs, compose, on fake-gcs-server": gcs_compose,
    "gcs, xml, on the strict server of the tests": gcs_xml,
    "azure on Azurite": azure,
}
GENERIC: dict[str, Start] = {
    "fsspec: file://": directory,
    "fsspec: SFTP by paramiko, OpenSSH": sftp,
    "fsspec: SFTP by sshfs, OpenSSH": sshfs,
    "fsspec: SMB, Samba": smb,
    "fsspec: FTP, pyftpdlib": ftp,
    "fsspec: WebDAV, rclone": webdav,
}
