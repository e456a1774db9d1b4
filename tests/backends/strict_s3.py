"""A small S3 server that believes nothing: it verifies what others only store, and fails on demand.

It checks lengths, CRC32C, MD5, SHA-256 and access key of every request; ETags, order, sizes and checksums when an
upload is completed; `If-None-Match` without a race. Objects are files below the directory, at `<bucket>/<key>`. One
upload cannot be completed twice. Signatures are not checked (rclone's server does that in these tests).

In a test: `with StrictS3(directory) as server: … server.url`. As a process of its own:
`python -m tests.backends.strict_s3 --port 0 --dir D` prints its port; it is then told and asked over HTTP:
`POST /_strict/faults` (a JSON list of faults, added), `GET /_strict/log`, `GET /_strict/sessions`.

A fault is an object: `on` (operation: create, part, complete, abort, put, head, get, delete, parts, uploads), `number`
(only that part), `having` (only requests with that header, or with `{header: value}`), `times` (default 1, -1 for
ever), and what happens, `do`:

- `error`: answer `status` and `code` (with `headers`) instead of doing anything; `early` does so without reading.
- `reset`: read `after_bytes` of the body, then reset the connection. `lose_reply`: do it, then close without a word.
- `empty`: do it, then answer 200 with nothing. `error_200`: do nothing, answer 200 with an error document.
- `flip`, `cut`: change one bit, or lose the last byte, of the body before anything is verified.
- `rot`: change one bit after everything was verified. `wrong_etag`, `wrong_size`, `wrong_crc`: lie in the answer.
- `delay`: wait `seconds` before doing it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import socket
import struct
import threading
import time
from base64 import b64encode
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

from awscrt.checksums import crc32c

from tests.backends.strict_operations import Operations, verify_body
from tests.backends.strict_store import Headers, Refusal, Request, Store, Stored, base64_of

BLOCK = 1 << 20


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do(self) -> None:
        store = self.server.store
        url = urlsplit(self.path)
        if url.path.startswith("/_strict/"):
            return self.control(url.path.removeprefix("/_strict/"))
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        operation = name_of(self.command, bool(key), query)
        number = int(query.get("partNumber", 0))
        fault = store.fault_for(operation, number, headers)
        request = Request(operation, bucket, key, query, headers, fault)
        entry = {"on": operation, "key": key, "number": number, "fault": fault.get("do", ""), "at": time.time()}
        with store.lock:
            store.log.append(entry)
        try:
            self.perform(request, entry)
        except Refusal as refusal:
            entry["status"] = refusal.status
            body = f"<Error><Code>{refusal.code}</Code><Message>strictly refused</Message></Error>".encode()
            self.reply(refusal.status, refusal.headers, b"" if self.command == "HEAD" else body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

    def perform(self, request: Request, entry: dict[str, Any]) -> None:
        store, fault = self.server.store, request.fault
        kind = fault.get("do")
        refusal = Refusal(fault.get("status", 500), fault.get("code", "InternalError"), fault.get("headers"))
        if kind == "early":
            self.close_connection = True
            raise refusal
        if kind == "delay":
            time.sleep(fault["seconds"])
        body = self.receive(request)
        if kind == "error":
            raise refusal
        if f"Credential={store.access_key}/" not in request.headers.get("authorization", ""):
            raise Refusal(403, "InvalidAccessKeyId")
        if not (store.root / request.bucket).is_dir() and request.operation != "make_bucket":
            raise Refusal(404, "NoSuchBucket")
        if kind == "error_200":
            return self.reply(200, {}, b"<Error><Code>InternalError</Code><Message>late trouble</Message></Error>")
        try:
            status, headers, answer = getattr(Operations(store), request.operation)(request, body)
        finally:
            if request.operation not in ("part", "put"):
                body.path.unlink(missing_ok=True)
        entry["status"] = status
        if kind == "lose_reply":
            self.close_connection = True
            return
        if kind == "empty":
            headers, answer = {}, b""
        if kind == "wrong_etag":
            headers["ETag"] = f'"{"0" * 32}"'
        if kind == "wrong_crc":
            headers["x-amz-checksum-crc32c"] = "AAAAAA=="
        self.reply(status, headers, answer)

    def receive(self, request: Request) -> Stored:
        """Take the body into a file and verify all that was said about it."""
        length = int(request.headers.get("content-length", 0))
        path = self.server.store.hidden / uuid4().hex
        fault, left, crc = request.fault, length, 0
        md5, sha256 = hashlib.md5(), hashlib.sha256()
        with path.open("wb") as file:
            while left:
                if fault.get("do") == "reset" and length - left >= fault.get("after_bytes", 0):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    raise ConnectionResetError
                data = self.rfile.read(min(left, BLOCK))
                if not data:
                    path.unlink()
                    raise Refusal(400, "IncompleteBody")
                if left == length and fault.get("do") == "flip":
                    data = bytes([data[0] ^ 1]) + data[1:]
                left -= len(data)
                if not left and fault.get("do") == "cut":
                    data = data[:-1]
                crc = crc32c(data, crc)
                md5.update(data)
                sha256.update(data)
                file.write(data)
        told = request.headers.get("x-amz-checksum-crc32c")
        stored = Stored(path, path.stat().st_size, md5.hexdigest(), base64_of(crc), told_crc=told is not None)
        if request.operation in ("part", "put"):
            verify_body(request, stored, told, b64encode(md5.digest()).decode(), sha256.hexdigest())
            if fault.get("do") == "rot":
                flip_at_rest(path)
        return stored

    def control(self, name: str) -> None:
        store = self.server.store
        with store.lock:
            if name == "faults" and self.command == "POST":
                store.faults += json.loads(self.rfile.read(int(self.headers["content-length"])))
            rows: dict[str, Any] = {
                "faults": store.faults,
                "log": store.log,
                "sessions": [{"id": i, "key": up.key, "parts": sorted(up.parts)} for i, up in store.uploads.items()],
            }
            self.reply(200, {}, json.dumps(rows[name]).encode())

    def reply(self, status: int, headers: Headers, body: bytes) -> None:
        with suppress(OSError):
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), "Date": formatdate(usegmt=True), **headers}.items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    store: Store

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is the client's business, or was asked for."""


class StrictS3:
    """The server in this process, in a thread of its own, with one bucket `bucket`."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.store = Store(root, **settings)
        (root / "bucket").mkdir(exist_ok=True)
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.store = self.store
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> StrictS3:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget everything, and ask for the first access key again."""
        store = self.store
        with store.lock:
            shutil.rmtree(store.root / "bucket")
            shutil.rmtree(store.hidden)
            (store.root / "bucket").mkdir()
            store.hidden.mkdir()
            store.access_key = "AKID"
            for kept in (store.objects, store.uploads, store.faults, store.log):
                kept.clear()

    def fail(self, on: str, do: str, **more: Any) -> None:
        self.store.faults.append({"on": on, "do": do, **more})

    def count(self, on: str) -> int:
        """How many requests of that operation came, failed ones included."""
        return sum(entry["on"] == on for entry in self.store.log)

    def path(self, key: str) -> Path:
        return self.store.root / "bucket" / key


def name_of(method: str, has_key: bool, query: dict[str, str]) -> str:
    if not has_key:
        return "uploads" if "uploads" in query else {"PUT": "make_bucket"}.get(method, "get")
    if "uploads" in query:
        return "create"
    if "uploadId" in query:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort"}.get(method, "parts")
    return method.lower()


def flip_at_rest(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--bucket", action="append", default=["bucket"])
    parser.add_argument("--access-key", default="AKID")
    parser.add_argument("--min-part", type=int, default=5 << 20)
    parser.add_argument("--faults", default="[]", help="JSON list of faults from the start")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    store = Store(options.dir, min_part=options.min_part, access_key=options.access_key)
    store.faults += json.loads(options.faults)
    for bucket in options.bucket:
        (options.dir / bucket).mkdir(exist_ok=True)
    server = Server(("127.0.0.1", options.port), Handler)
    server.store = store
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    finally:
        shutil.rmtree(store.hidden, ignore_errors=True)


if __name__ == "__main__":
    main()
