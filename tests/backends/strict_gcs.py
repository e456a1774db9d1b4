"""A small GCS server that believes nothing: JSON API, multipart calls of the XML API and a token endpoint.

It checks the CRC32C of every upload, the end boundary of a `multipart/related`, generations of composed and copied
objects, signatures of addresses, preconditions without a race, ETags, order and sizes when a multipart upload is
completed; and the bearer token, once `store.tokens` is a set. It fails on demand.

It takes resumable uploads too, which are the way of gcsfs and not ours: as a yardstick, it takes their word for all.

A fault has `on` (operation: token, insert, get, media, list, delete, compose, rewrite, signed, create, part, complete,
abort, parts, uploads), `number` (only that part), `key` (only keys that this pattern finds), `times` (default 1, -1 for
ever), and what happens, `do`:

A batch is the operation `batch`, and each request in it is one of its own kind, which can only have the fault `error`.

- `error`: answer `status`, `code` and `message` (with `headers`) instead of doing anything.
- `reset`: read `after_bytes` of the body, then reset the connection. `lose_reply`: do it, then close without a word.
- `empty`: do it, then answer 200 with nothing.
- `error_200`, `say`: do nothing, answer 200 with an error document, or with the `document` of the fault.
- `flip`, `cut`: change or lose one byte near the end of what is uploaded, before anything is verified.
- `rot`: change one bit after everything was verified. `wrong_crc`: lie in the answer.
- `hang`: wait `seconds`, then close without having done anything.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
import socket
import struct
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.backends.strict_gcs_copies import verify
from tests.backends.strict_gcs_store import BLOCK, Headers, Operations, Refusal, Reply, Request, Store


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do(self) -> None:
        store, url = self.server.store, urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        operation, bucket, key = route(self.command, url.path, query)
        number = int(query.get("partNumber", 0) or (key[-5:] if key[-5:].isdigit() else 0))
        fault = store.fault_for(operation, number, query.get("name", key))
        entry = {"on": operation, "key": query.get("name", key), "fault": fault.get("do", ""), "query": query}
        headers = {name.lower(): value for name, value in self.headers.items()}
        with store.lock:
            store.log.append({**entry, "headers": headers})
        try:
            self.answer(*self.perform(Request(operation, key, query, headers, fault, store.new_path()), bucket))
        except Refusal as refusal:
            self.answer(*self.refused(refusal, operation))

    do_GET = do_PUT = do_POST = do_DELETE = do

    def perform(self, request: Request, bucket: str) -> Reply:
        store, kind = self.server.store, request.fault.get("do")
        if kind == "hang":
            time.sleep(request.fault["seconds"])
            raise ConnectionResetError
        self.receive(request)
        try:
            if kind == "error":
                asked = request.fault
                message = asked.get("message", "strictly refused")
                raise Refusal(asked["status"], asked["code"], message, asked.get("headers"))
            if self.command in ("POST", "PUT") and "content-length" not in request.headers:
                raise Refusal(411, "MissingContentLength")  # as Google's front ends answer
            if request.operation == "token":
                return self.token()
            if request.operation == "signed":
                if refused := verify(self.path, request.headers["host"], store.signers):
                    raise Refusal(403, refused)
                return Operations(store).signed(request, b"")
            granted = request.headers.get("authorization", "").removeprefix("Bearer ")
            if store.tokens is not None and granted not in store.tokens:
                raise Refusal(401, "authError", "Invalid Credentials")
            if request.operation == "batch":
                return self.batch(request.body.read_bytes())
            if bucket != "bucket":
                raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
            if kind == "say":
                return 200, {}, request.fault["document"].encode()
            if kind == "error_200":
                return 200, {}, b"<Error><Code>InternalError</Code><Message>late trouble</Message></Error>"
            with self.content(request.body) as data:
                reply = getattr(Operations(store), request.operation)(request, data)
        finally:
            request.body.unlink(missing_ok=True)
        if kind == "lose_reply":
            self.close_connection = True
            return 0, {}, b""
        if kind == "empty":
            return 200, {}, b""
        if kind == "wrong_crc" and reply[2]:
            return 200, reply[1], json.dumps({**json.loads(reply[2]), "crc32c": "AAAAAA=="}).encode()
        return reply

    def batch(self, body: bytes) -> Reply:
        """Deletes in one request, each with its own fault; answered in another order, as Google says of itself."""
        boundary, answers = self.headers.get_boundary(), []
        asked = re.findall(rb"Content-ID: <(\d+)>\r\n\r\nDELETE (\S+) HTTP/1.1\r\n", body)
        assert boundary, "a batch has a boundary"
        assert len(asked) == body.count(b"--" + boundary.encode()) - 1 <= 100, "each request has an ID, and is known"
        for which, target in asked:
            status, _, text = self.delete(target.decode())
            head = (
                f"Content-Type: application/http\r\nContent-ID: <response-{which.decode()}>\r\n\r\nHTTP/1.1 {status} x"
            )
            answers.append(f"--answers\r\n{head}\r\n\r\n".encode() + text + b"\r\n")
        return 200, {"Content-Type": 'multipart/mixed; boundary="answers"'}, b"".join([*answers[::-1], b"--answers--"])

    def delete(self, target: str) -> Reply:
        store, url = self.server.store, urlsplit(target)
        query = dict(parse_qsl(url.query))
        operation, _, key = route("DELETE", url.path, query)
        fault = store.fault_for(operation, int(key[-5:]) if key[-5:].isdigit() else 0, key)
        with store.lock:
            # Headers of the whole request hold for each of its requests, at Google too.
            headers = {name.lower(): value for name, value in self.headers.items()}
            entry = {"on": operation, "key": key, "fault": fault.get("do", ""), "query": query}
            store.log.append({**entry, "headers": headers})
        try:
            if fault:
                raise Refusal(fault["status"], fault["code"], fault.get("message", "strictly refused"))
            return Operations(store).delete(Request(operation, key, query, {}, fault, store.new_path()), b"")
        except Refusal as refusal:
            return self.refused(refusal, operation)

    def token(self) -> Reply:
        """What Google's token endpoint gives for a signed assertion; the token is good from now on."""
        store = self.server.store
        with store.lock:
            granted = f"token-{sum(entry['on'] == 'token' for entry in store.log)}"
            if store.tokens is not None:
                store.tokens.add(granted)
        answer = {"access_token": granted, "expires_in": 3600, "token_type": "Bearer"}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def receive(self, request: Request) -> None:
        """Take the body into a file, with the damage that was asked for."""
        length = left = int(request.headers.get("content-length", 0))
        kind = request.fault.get("do")
        with request.body.open("wb") as file:
            while left:
                if kind == "reset" and length - left >= request.fault.get("after_bytes", 0):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    raise ConnectionResetError
                data = self.rfile.read(min(left, BLOCK))
                if not data:
                    raise ConnectionResetError
                left -= len(data)
                if kind in ("flip", "cut") and not left:
                    middle = len(data) - min(len(data), 60)
                    data = damaged(data, middle, cut=kind == "cut")
                file.write(data)

    def content(self, path: Path) -> Any:
        """The body as something that can be sliced without being in memory."""
        if not path.stat().st_size:
            return memoryview(b"")
        with path.open("rb") as file:
            return _Closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def refused(self, refusal: Refusal, operation: str) -> Reply:
        if operation in ("create", "part", "complete", "abort", "parts", "uploads", "signed"):
            text = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
            return refusal.status, refusal.headers, text.encode()
        reason = "notFound" if refusal.code == "NoSuchBucket" else refusal.code
        error = {"code": refusal.status, "message": refusal.message, "errors": [{"reason": reason}]}
        return refusal.status, refusal.headers, json.dumps({"error": error}).encode()

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        if not status:
            return
        with suppress(OSError):
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Closing:
    """A mapped file that is a context manager and can be forgotten while slices of it are alive."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped

    def __enter__(self) -> mmap.mmap:
        return self._mapped

    def __exit__(self, *error: object) -> None:
        with suppress(BufferError):
            self._mapped.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    store: Store

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is the client's business, or was asked for."""


class StrictGCS:
    """The server in this process, in a thread of its own, with one bucket `bucket`."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.store = Store(root, **settings)
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.store = self.store
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StrictGCS:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        store = self.store
        with store.lock:
            shutil.rmtree(store.root, ignore_errors=True)
            store.root.mkdir(exist_ok=True)
            store.tokens, store.signers = None, {}
            for kept in (store.objects, store.uploads, store.faults, store.log):
                kept.clear()

    def fail(self, on: str, do: str, **more: Any) -> None:
        self.store.faults.append({"on": on, "do": do, **more})

    def count(self, on: str) -> int:
        return sum(entry["on"] == on for entry in self.store.log)

    def data(self, key: str) -> bytes:
        return self.store.objects[key].path.read_bytes()

    @property
    def names(self) -> list[str]:
        return sorted(self.store.objects)


def damaged(data: bytes, at: int, *, cut: bool) -> bytes:
    """The byte at `at` lost, or changed. In a `multipart/related` it is one of the uploaded bytes, not of the frame."""
    return data[:at] + data[at + 1 :] if cut else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def route(method: str, path: str, query: dict[str, str]) -> tuple[str, str, str]:
    """(operation, bucket, key). The path is decoded after it was taken apart, as Google does it."""
    words = path.lstrip("/").split("/")
    if path == "/batch/storage/v1":
        return "batch", "", ""
    if path == "/token":
        return "token", "", ""
    if words[:4] == ["upload", "storage", "v1", "b"]:
        return "resume" if query.get("uploadType") == "resumable" else "insert", words[4], ""
    if words[:3] == ["storage", "v1", "b"]:
        if len(words) == 5:
            return "list", words[3], ""
        if words[6:7] == ["rewriteTo"]:
            query["source"] = unquote(words[5])
            return "rewrite", words[8], unquote(words[10])
        if words[6:] == ["compose"]:
            return "compose", words[3], unquote(words[5])
        assert len(words) == 6, "a name is one segment of the path"
        return {"DELETE": "delete"}.get(method, "media" if "alt" in query else "get"), words[3], unquote(words[5])
    bucket, _, key = path.lstrip("/").partition("/")
    if not key:
        return "uploads", bucket, ""
    if "X-Goog-Signature" in query:
        return "signed", bucket, unquote(key)
    if "uploads" in query:
        return "create", bucket, unquote(key)
    return {"PUT": "part", "POST": "complete", "DELETE": "abort"}.get(method, "parts"), bucket, unquote(key)
