"""What the strict S3 server keeps: buckets, objects, open uploads, faults and a log; and the few texts made of them."""

from __future__ import annotations

import threading
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Headers = dict[str, str]


class Refusal(Exception):
    def __init__(self, status: int, code: str, headers: Headers | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers or {}


@dataclass
class Stored:
    """One part or object: what is known of the bytes in `path`."""

    path: Path
    size: int
    etag: str
    crc: str
    headers: Headers = field(default_factory=dict)
    told_crc: bool = False


@dataclass
class Upload:
    bucket: str
    key: str
    headers: Headers
    checksum: str
    started: float
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass
class Request:
    operation: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: Headers
    fault: dict[str, Any]

    @property
    def number(self) -> int:
        return int(self.query.get("partNumber", 0))


class Store:
    """Buckets, objects, uploads, faults and the log of one server."""

    def __init__(self, root: Path, *, min_part: int = 5 << 20, page: int = 1000, access_key: str = "AKID") -> None:
        self.root, self.min_part, self.page, self.access_key = root, min_part, page, access_key
        self.hidden = root / ".strict"
        self.hidden.mkdir(parents=True, exist_ok=True)
        self.objects: dict[tuple[str, str], Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.faults: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.lock = threading.RLock()

    def fault_for(self, operation: str, number: int, headers: Headers) -> dict[str, Any]:
        """The first fault that fits; it is used up by one."""
        with self.lock:
            for fault in self.faults:
                having = fault.get("having", {})
                wanted = {having: None} if isinstance(having, str) else having
                if (
                    fault["on"] == operation
                    and fault.get("number", number) == number
                    and fault.get("times", 1) != 0
                    and all(name in headers and value in (None, headers[name]) for name, value in wanted.items())
                ):
                    fault["times"] = fault.get("times", 1) - 1
                    return fault
        return {}

    def upload(self, request: Request) -> Upload:
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None or (upload.bucket, upload.key) != (request.bucket, request.key):
            raise Refusal(404, "NoSuchUpload")
        return upload

    def object(self, request: Request) -> Stored:
        with self.lock:
            try:
                return self.objects[request.bucket, request.key]
            except KeyError:
                raise Refusal(404, "NoSuchKey") from None

    def file_of(self, request: Request) -> Path:
        """`<bucket>/<key>`, or a hidden file for a key that no file can be named after."""
        key, target = request.key, self.root / request.bucket / request.key
        plain = key.isprintable() and all(
            part not in ("", ".", "..") and len(part.encode()) < 256 for part in key.split("/")
        )
        if plain and not target.is_dir() and not any(parent.is_file() for parent in target.parents):
            return target
        return self.hidden / sha256(f"{request.bucket}/{key}".encode()).hexdigest()

    def publish(self, request: Request, stored: Stored) -> None:
        """Make it an object, all at once; the precondition is checked under the same lock."""
        with self.lock:
            target = self.file_of(request)
            if request.headers.get("if-none-match") == "*" and (request.bucket, request.key) in self.objects:
                raise Refusal(412, "PreconditionFailed")
            target.parent.mkdir(parents=True, exist_ok=True)
            stored.path.replace(target)
            stored.path = target
            self.objects[request.bucket, request.key] = stored


def kept_headers(headers: Headers) -> Headers:
    served = ("cache-control", "content-disposition", "x-amz-storage-class", "x-amz-tagging")
    kept = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-") or name in served}
    return {**kept, "Content-Type": headers.get("content-type", "binary/octet-stream")}


def base64_of(crc: int) -> str:
    return b64encode(crc.to_bytes(4, "big")).decode()


def crc_header(stored: Stored) -> Headers:
    return {"x-amz-checksum-crc32c": stored.crc, "x-amz-checksum-type": "FULL_OBJECT"} if stored.told_crc else {}


def crc_element(stored: Stored) -> Headers:
    return {"ChecksumCRC32C": stored.crc} if stored.told_crc else {}


def document(root: str, members: dict[str, Any], name: str = "", rows: list[dict[str, Any]] | None = None) -> bytes:
    inner = elements(members) + "".join(f"<{name}>{elements(row)}</{name}>" for row in rows or [])
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inner}</{root}>'.encode()


def elements(members: dict[str, Any]) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in members.items())
