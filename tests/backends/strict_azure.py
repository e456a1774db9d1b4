"""A strict stand-in for Azure Blob Storage: it tells CRC-64, and refuses what Azure refuses and Azurite does not.

It is one container in memory. `fail` makes the next requests of an operation go wrong.
"""

from __future__ import annotations

import re
import socket
import threading
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from awscrt.checksums import crc64nvme

CONTAINER = "strict"


class Fault(NamedTuple):
    """What happens to a request: an answer with a code, or a `how` of cut, lost, hang, corrupt, silent, say."""

    how: str = "error"
    status: int = 500
    code: str = ""
    headers: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    def __init__(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers or {}


class Blob(NamedTuple):
    data: bytes
    etag: str
    headers: dict[str, str]


class StrictAzure:
    """The server, up in a `with` block. `requests` has a line for each request it has seen."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.ending = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.strict = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.reset()

    def reset(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self.blocks: dict[str, dict[str, bytes]] = {}
        self.scopes: dict[str, str] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[str] = []
        self.authorizations: list[str] = []
        self._count = 0

    def fail(self, operation: str, how: str = "error", *, times: int = 1, **more: Any) -> None:
        self.faults.setdefault(operation, []).extend([Fault(how, **more)] * times)

    def __enter__(self) -> StrictAzure:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()

    def etag(self) -> str:
        self._count += 1
        return f'"0x{self._count:08X}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        strict: StrictAzure = self.server.strict  # type: ignore[attr-defined]
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        usual = {"PUT": "put", "HEAD": "head", "GET": "get", "DELETE": "delete", "POST": "lend"}[self.command]
        meant = {"block": "block", "blocklist": "list" if self.command == "GET" else "commit"}
        operation = "fetch" if "x-ms-copy-source" in self.headers else meant.get(query.get("comp", ""), usual)
        body = self._body()
        if body is None:
            return
        with strict.lock:
            strict.requests.append(operation)
            strict.authorizations.append(self.headers.get("authorization", ""))
            waiting = strict.faults.get(operation)
            fault = waiting.pop(0) if waiting else None
        if fault is not None and self._fail_before(strict, fault):
            return
        if fault is not None and fault.how == "corrupt" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        try:
            let_in = self.headers.get("authorization") or "sig" in query
            if not let_in or not ("x-ms-version" in self.headers or "sv" in query):
                raise Refused(401, "NoAuthenticationInformation")
            with strict.lock:
                status, headers, data = self._do(strict, operation, address.path, query, body)
        except Refused as refused:
            self._refuse(refused.status, refused.code, refused.headers)
            return
        if fault is not None and fault.how == "lost":
            self._hang_up()
            return
        if fault is not None and fault.how == "say":
            data = b"<Something/>"
        if fault is not None and fault.how == "silent":
            headers.pop("x-ms-content-crc64", None)
        self._answer(status, headers, data)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _serve

    def _body(self) -> bytes | None:
        """The request's body; None when it broke off, which stores nothing."""
        size = int(self.headers.get("content-length") or 0)
        data = self.rfile.read(size)
        if len(data) < size:
            self.close_connection = True
            return None
        return data

    def _fail_before(self, strict: StrictAzure, fault: Fault) -> bool:
        if fault.how == "error":
            self._refuse(fault.status, fault.code, fault.headers)
        elif fault.how == "cut":
            self._hang_up()
        elif fault.how == "hang":
            strict.ending.wait(5)
            self._hang_up()
        return fault.how in ("error", "cut", "hang")

    def _do(
        self, strict: StrictAzure, operation: str, path: str, query: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if operation == "lend":
            return 200, {"content-type": "application/xml"}, lent(body, query)
        _, container, name = unquote(path).split("/", 2)
        if container != CONTAINER:
            raise Refused(404, "ContainerNotFound")
        if operation == "block":
            return self._block(strict, name, query["blockid"], body)
        if operation == "fetch":
            return self._block(strict, name, query["blockid"], self._fetched(strict))
        if operation == "list":
            if name not in strict.blocks and name not in strict.blobs:
                raise Refused(404, "BlobNotFound")
            named = "".join(
                f"<Block><Name>{id_}</Name><Size>{len(data)}</Size></Block>"
                for id_, data in strict.blocks.get(name, {}).items()
            )
            text = f"\ufeff<BlockList><UncommittedBlocks>{named}</UncommittedBlocks></BlockList>"
            return 200, {"content-type": "application/xml"}, text.encode()
        if operation == "commit":
            self._check_conditions(strict.blobs.get(name))
            return self._make(strict, name, self._joined(strict, name, body))
        if operation == "put":
            self._check_conditions(strict.blobs.get(name))
            self._check_crc(body)
            if self.headers.get("x-ms-blob-type") != "BlockBlob":
                raise Refused(400, "InvalidHeaderValue")
            status, headers, data = self._make(strict, name, body)
            return status, {**headers, "x-ms-content-crc64": _crc64(body)}, data
        if name not in strict.blobs:
            raise Refused(404, "BlobNotFound")
        blob = strict.blobs[name]
        if operation == "delete":
            del strict.blobs[name]
            return 202, {}, b""
        return self._told(blob) if operation == "head" else self._read(blob)

    def _block(self, strict: StrictAzure, name: str, block_id: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        staged = strict.blocks.setdefault(name, {})
        if not body:
            raise Refused(400, "InvalidHeaderValue")
        if len(b64decode(block_id, validate=True)) > 64 or any(len(known) != len(block_id) for known in staged):
            raise Refused(400, "InvalidBlobOrBlock")
        strict.scopes[block_id] = self.headers.get("x-ms-encryption-scope", "")
        self._check_crc(body)
        staged[block_id] = body
        return 201, {"x-ms-content-crc64": _crc64(body)}, b""

    def _fetched(self, strict: StrictAzure) -> bytes:
        """The range of another blob here that the request names by a signed address, if that is still what it was."""
        source = urlsplit(self.headers["x-ms-copy-source"])
        blob = strict.blobs.get(unquote(source.path).split("/", 2)[2])
        if self.headers.get("content-length", "0") != "0" or f"http://{source.netloc}" != strict.url:
            raise Refused(400, "InvalidHeaderValue")
        if blob is None or "sig" not in parse_qs(source.query):
            raise Refused(404, "CannotVerifyCopySource")
        if self.headers["x-ms-source-if-match"] != blob.etag:
            raise Refused(412, "SourceConditionNotMet")
        first, last = map(int, self.headers["x-ms-source-range"].removeprefix("bytes=").split("-"))
        if last >= len(blob.data):
            raise Refused(416, "InvalidRange")
        return blob.data[first : last + 1]

    def _joined(self, strict: StrictAzure, name: str, body: bytes) -> bytes:
        staged = strict.blocks.get(name, {})
        wanted = [item.text or "" for item in ElementTree.fromstring(body).iterfind("Uncommitted")]
        if any(block_id not in staged for block_id in wanted):
            raise Refused(400, "InvalidBlockList")
        scope = self.headers.get("x-ms-encryption-scope", "")
        if any(strict.scopes[block_id] != scope for block_id in wanted):
            raise Refused(409, "BlobDoesNotUseCustomerSpecifiedEncryption")
        return b"".join(staged[block_id] for block_id in wanted)

    def _make(self, strict: StrictAzure, name: str, data: bytes) -> tuple[int, dict[str, str], bytes]:
        kept = {key.lower(): value for key, value in self.headers.items()}
        for header in kept:
            if header.startswith("x-ms-meta-") and not re.fullmatch(r"[a-z_][a-z0-9_]*", header[10:]):
                raise Refused(400, "InvalidMetadata")
        strict.blobs[name] = Blob(data, strict.etag(), kept)
        strict.blocks.pop(name, None)
        return 201, {"etag": strict.blobs[name].etag}, b""

    def _check_conditions(self, found: Blob | None) -> None:
        if self.headers.get("if-none-match") == "*" and found is not None:
            raise Refused(409, "BlobAlreadyExists")
        wanted = self.headers.get("if-match")
        if wanted is not None and (found is None or found.etag != wanted):
            raise Refused(412, "ConditionNotMet")

    def _check_crc(self, body: bytes) -> None:
        wanted = self.headers.get("x-ms-content-crc64")
        if wanted is not None and wanted != _crc64(body):
            raise Refused(400, "Crc64Mismatch")

    def _told(self, blob: Blob) -> tuple[int, dict[str, str], bytes]:
        told = {name: value for name, value in blob.headers.items() if name.startswith("x-ms-meta-")}
        for name in ("content-type", "content-disposition", "cache-control"):
            if value := blob.headers.get(f"x-ms-blob-{name}"):
                told[name] = value
        if tier := blob.headers.get("x-ms-access-tier"):
            told["x-ms-access-tier"] = tier
        told |= {} if tier else {"x-ms-access-tier": "Hot", "x-ms-access-tier-inferred": "true"}
        return 200, {**told, "etag": blob.etag}, blob.data

    def _read(self, blob: Blob) -> tuple[int, dict[str, str], bytes]:
        if "x-ms-range" not in self.headers:
            return 200, {"etag": blob.etag}, blob.data
        first, last = map(int, self.headers["x-ms-range"].removeprefix("bytes=").split("-"))
        if first >= len(blob.data):
            raise Refused(416, "InvalidRange")
        return 206, {"etag": blob.etag}, blob.data[first : last + 1]

    def _refuse(self, status: int, code: str, headers: Mapping[str, str]) -> None:
        text = f"\ufeff<Error><Code>{code}</Code><Message>no\nsig=abc Authorization: SharedKey x:y</Message></Error>"
        told = {"x-ms-error-code": code} if code else {}
        self._answer(status, {**told, **headers}, text.encode())

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def lent(document: bytes, query: Mapping[str, str]) -> bytes:
    """A user delegation key for the time that was asked for, which is at most seven days."""
    asked = ElementTree.fromstring(document)
    start, expiry = (datetime.fromisoformat(asked.findtext(name) or "") for name in ("Start", "Expiry"))
    if query != {"restype": "service", "comp": "userdelegationkey"} or not start < expiry <= start + timedelta(days=7):
        raise Refused(400, "InvalidInput")
    names = {"SignedOid": "o", "SignedTid": "t", "SignedStart": asked.findtext("Start") or "",
             "SignedExpiry": asked.findtext("Expiry") or "", "SignedService": "b", "SignedVersion": "2023-11-03",
             "Value": "bGVudA=="}  # fmt: skip
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in names.items())
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?><UserDelegationKey>{inner}</UserDelegationKey>'.encode()


def _crc64(data: bytes) -> str:
    return b64encode(crc64nvme(data, 0).to_bytes(8, "little")).decode()
