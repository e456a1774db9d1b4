"""What the strict GCS server keeps, and what each of its operations checks before it does what it asks."""

from __future__ import annotations

import json
import re
import threading
import time
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from xml.sax.saxutils import escape, unescape

from awscrt.checksums import crc32c

from tests.backends.strict_gcs_copies import Rewrites, finished

Headers = dict[str, str]
Reply = tuple[int, Headers, bytes]
BLOCK = 1 << 20
KEPT_HEADERS = {
    "content-type": "contentType",
    "content-disposition": "contentDisposition",
    "cache-control": "cacheControl",
    "x-goog-storage-class": "storageClass",
    "x-goog-acl": "acl",
    "x-goog-encryption-kms-key-name": "kmsKeyName",
}


class Refusal(Exception):
    """`code` is a reason of the JSON API or a code of the XML API."""

    def __init__(self, status: int, code: str, message: str = "strictly refused", headers: Headers | None = None):
        super().__init__(code)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass
class Stored:
    path: Path
    size: int
    crc: str
    generation: str = ""
    resource: dict[str, Any] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return f"tag-{self.crc}-{self.size}"


@dataclass
class Upload:
    key: str
    resource: dict[str, Any]
    started: float
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass
class Request:
    operation: str
    key: str
    query: dict[str, str]
    headers: Headers
    fault: dict[str, Any]
    body: Path


class Store:
    """One bucket, its uploads, faults and log; objects are files in `root`."""

    def __init__(self, root: Path, *, min_part: int = 5 << 20, page: int = 1000) -> None:
        self.root, self.min_part, self.page = root, min_part, page
        root.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.faults: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.tokens: set[str] | None = None
        self.signers: dict[str, Any] = {}
        self.rewrites = Rewrites(step=BLOCK)
        self._generation = time.time_ns() // 1000

    def new_path(self) -> Path:
        return self.root / uuid4().hex

    def fault_for(self, operation: str, number: int, key: str) -> dict[str, Any]:
        """The first fault that fits; it is used up by one."""
        with self.lock:
            for fault in self.faults:
                fits = fault["on"] == operation and fault.get("number", number) == number
                if fits and re.search(fault.get("key", ""), key) and fault.get("times", 1) != 0:
                    fault["times"] = fault.get("times", 1) - 1
                    return fault
        return {}

    def publish(self, name: str, stored: Stored, query: dict[str, str]) -> dict[str, Any]:
        """Make it an object, all at once; the precondition is checked under the same lock."""
        with self.lock:
            if query.get("ifGenerationMatch") == "0" and name in self.objects:
                raise Refusal(412, "conditionNotMet")
            self._generation += 1
            stored.generation = str(self._generation)
            acl = query.get("predefinedAcl") or query.get("destinationPredefinedAcl")
            if acl:
                stored.resource["acl"] = acl
            if query.get("kmsKeyName") or stored.resource.get("kmsKeyName"):
                key = query.get("kmsKeyName") or stored.resource["kmsKeyName"]
                stored.resource["kmsKeyName"] = f"{key}/cryptoKeyVersions/1"
            stored.resource["timeCreated"] = time.strftime("%FT%TZ", time.gmtime())
            self.objects[name] = stored
            return self.described(name, stored)

    def described(self, name: str, stored: Stored) -> dict[str, Any]:
        """Metadata as it is in the resource; the access list is not told, as without `projection=full`."""
        told = {member: value for member, value in stored.resource.items() if member != "acl"}
        told |= {"name": name, "size": str(stored.size), "crc32c": stored.crc}
        return {**told, "generation": stored.generation, "etag": f"{stored.etag}-{stored.generation}"}

    def take(self, data: Any) -> Stored:
        """A file of these bytes (anything that can be sliced), and what is known of it."""
        path, crc, size = self.new_path(), 0, len(data)
        with path.open("wb") as file:
            for start in range(0, size, BLOCK):
                block = data[start : start + BLOCK]
                crc = crc32c(block, crc)
                file.write(block)
        return Stored(path, size, base64_of(crc))


class Operations:
    """Named as in a fault's `on`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def insert(self, request: Request, data: Any) -> Reply:
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        end = b"\r\n--" + boundary + b"--\r\n"
        head, second = data[: 64 * 1024].split(b"--" + boundary + b"\r\n", 2)[1:]
        offset = data[: 64 * 1024].index(second) + second.index(b"\r\n\r\n") + 4
        if data[-len(end) :] != end:
            raise Refusal(400, "badRequest", "Missing end boundary in multipart body.")
        described = json.loads(head.partition(b"\r\n\r\n")[2])
        stored = self.store.take(memoryview(data)[offset : len(data) - len(end)])
        if described.pop("name") != request.query["name"]:
            raise Refusal(400, "invalid", "Two names.")
        said = described.pop("crc32c")
        if said != stored.crc:
            message = f'Provided CRC32C "{said}" doesn\'t match calculated CRC32C "{stored.crc}".'
            raise Refusal(400, "invalid", message)
        stored.resource = described
        self._rot(request, stored)
        return self._told(self.store.publish(request.query["name"], stored, request.query))

    def resume(self, request: Request, data: Any) -> Reply:
        """Begin a resumable upload, or take its next piece."""
        upload_id = request.query.get("upload_id")
        if upload_id is None:
            upload_id = uuid4().hex
            self.store.uploads[upload_id] = Upload(request.query["name"], {}, time.time())
            path = f"/upload/storage/v1/b/bucket/o?uploadType=resumable&upload_id={upload_id}"
            return 200, {"Location": f"http://{request.headers['host']}{path}"}, b""
        upload = self.store.uploads[upload_id]
        upload.parts[len(upload.parts)] = self.store.take(data)
        last, _, size = request.headers["content-range"].partition("-")[2].partition("/")
        if int(last) + 1 < int(size):
            return 308, {"Range": f"bytes=0-{last}"}, b""
        del self.store.uploads[upload_id]
        stored = self.store.take(b"".join(piece.path.read_bytes() for piece in upload.parts.values()))
        return self._told(self.store.publish(upload.key, stored, {}))

    def get(self, request: Request, data: Any) -> Reply:
        return self._told(self.store.described(request.key, self._object(request)))

    def media(self, request: Request, data: Any) -> Reply:
        found = self._object(request)
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        if first >= found.size:
            raise Refusal(416, "requestedRangeNotSatisfiable")
        with found.path.open("rb") as file:
            file.seek(first)
            return 206, {}, file.read(last - first + 1)

    def list(self, request: Request, data: Any) -> Reply:
        with self.store.lock:
            after, prefix = request.query.get("pageToken", ""), request.query["prefix"]
            known = sorted(
                item for item in self.store.objects.items() if item[0].startswith(prefix) and item[0] > after
            )
        page = known[: self.store.page]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page:
            answer["items"] = [self.store.described(*item) for item in page]
        if len(known) > len(page):
            answer["nextPageToken"] = page[-1][0]
        return self._told(answer)

    def delete(self, request: Request, data: Any) -> Reply:
        with self.store.lock:
            found = self._object(request)
            if request.query.get("generation", found.generation) != found.generation:
                raise Refusal(404, "notFound")
            del self.store.objects[request.key]
        return 204, {}, b""

    def compose(self, request: Request, data: Any) -> Reply:
        asked = json.loads(bytes(data))
        if not 1 <= len(asked["sourceObjects"]) <= 32:
            raise Refusal(400, "invalid", "The number of source components must be 1 to 32.")
        with self.store.lock:
            sources = [self.store.objects.get(source["name"]) for source in asked["sourceObjects"]]
            for found, source in zip(sources, asked["sourceObjects"], strict=True):
                if found is None or found.generation != source["generation"]:
                    raise Refusal(404, "notFound", f"No such object: bucket/{source['name']}")
            stored = self.store.take(b"".join(found.path.read_bytes() for found in sources if found))
            stored.resource = asked["destination"]
            self._rot(request, stored)
            return self._told(self.store.publish(request.key, stored, request.query))

    def rewrite(self, request: Request, data: Any) -> Reply:
        query, source = request.query, request.query["source"]
        with self.store.lock:
            found = self.store.objects.get(source)
            if found is None or found.generation != query["sourceGeneration"]:
                raise Refusal(404, "notFound", f"No such object: bucket/{source}")
            asked = (source, found.generation, request.key, bytes(data).decode())
            try:
                more = self.store.rewrites.advance(asked, found.size, query.get("rewriteToken", ""))
            except KeyError:
                raise Refusal(400, "invalid", "The rewrite token is for something else.") from None
            if more is not None:
                return self._told(more)
            stored = self.store.take(found.path.read_bytes())
            stored.resource = json.loads(bytes(data))
            known = {"kmsKeyName": query["destinationKmsKeyName"]} if "destinationKmsKeyName" in query else {}
            self._rot(request, stored)
            made = self.store.publish(request.key, stored, {**query, **known})
            return self._told(finished(stored.size, made))

    def signed(self, request: Request, data: Any) -> Reply:
        return 200, {}, self._object(request).path.read_bytes()

    def create(self, request: Request, data: Any) -> Reply:
        resource: dict[str, Any] = {
            member: request.headers[name] for name, member in KEPT_HEADERS.items() if name in request.headers
        }
        metadata = {
            name.removeprefix("x-goog-meta-"): value
            for name, value in request.headers.items()
            if name.startswith("x-goog-meta-")
        }
        upload_id = uuid4().hex
        with self.store.lock:
            resource |= {"metadata": metadata} if metadata else {}
            self.store.uploads[upload_id] = Upload(request.key, resource, time.time())
        return self._xml("InitiateMultipartUploadResult", f"<UploadId>{upload_id}</UploadId>")

    def part(self, request: Request, data: Any) -> Reply:
        stored = self.store.take(data)
        if request.headers.get("x-goog-hash") != f"crc32c={stored.crc}":
            raise Refusal(400, "BadDigest")
        with self.store.lock:
            self._upload(request).parts[int(request.query["partNumber"])] = stored
        self._rot(request, stored)
        told = "AAAAAA==" if request.fault.get("do") == "wrong_crc" else stored.crc
        return 200, {"ETag": f'"{stored.etag}"', "x-goog-hash": f"crc32c={told},md5=unlooked=="}, b""

    def complete(self, request: Request, data: Any) -> Reply:
        with self.store.lock:
            upload = self._upload(request)
            chosen = self._chosen(upload, bytes(data).decode())
            stored = self.store.take(b"".join(part.path.read_bytes() for part in chosen))
            stored.resource = upload.resource
            self.store.publish(request.key, stored, {})
            del self.store.uploads[request.query["uploadId"]]
        return self._xml("CompleteMultipartUploadResult", f"<ETag>&quot;{stored.etag}&quot;</ETag>")

    def abort(self, request: Request, data: Any) -> Reply:
        with self.store.lock:
            self._upload(request)
            del self.store.uploads[request.query["uploadId"]]
        return 204, {}, b""

    def parts(self, request: Request, data: Any) -> Reply:
        with self.store.lock:
            after = int(request.query.get("part-number-marker", 0))
            known = sorted(item for item in self._upload(request).parts.items() if item[0] > after)
        rows = [
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size></Part>"
            for number, part in known[: self.store.page]
        ]
        last = known[: self.store.page][-1][0] if known else 0
        more = f"<NextPartNumberMarker>{last}</NextPartNumberMarker>"
        return self._xml("ListPartsResult", self._truncated(len(known)) + more + "".join(rows))

    def uploads(self, request: Request, data: Any) -> Reply:
        after = (request.query.get("key-marker", ""), request.query.get("upload-id-marker", ""))
        with self.store.lock:
            known = sorted((upload.key, name, upload.started) for name, upload in self.store.uploads.items())
        known = [row for row in known if row[0].startswith(request.query.get("prefix", "")) and row[:2] > after]
        page = known[: self.store.page]
        rows = [
            f"<Upload><Key>{escape(key)}</Key><UploadId>{name}</UploadId>"
            f"<Initiated>{time.strftime('%FT%TZ', time.gmtime(started))}</Initiated></Upload>"
            for key, name, started in page
        ]
        more = f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker>" if page else ""
        more += f"<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>" if page else ""
        return self._xml("ListMultipartUploadsResult", self._truncated(len(known)) + more + "".join(rows))

    def _chosen(self, upload: Upload, text: str) -> list[Stored]:
        """The parts that the request names, if it names them rightly."""
        named = re.findall("<PartNumber>(.*?)</PartNumber><ETag>(.*?)</ETag>", text)
        numbers = [int(number) for number, _ in named]
        if not named:
            raise Refusal(400, "MalformedXML")
        if numbers != sorted(set(numbers)):
            raise Refusal(400, "InvalidPartOrder")
        for number, etag in named:
            known = upload.parts.get(int(number))
            if known is None or unescape(etag, {"&quot;": '"'}).strip('"') != known.etag:
                raise Refusal(400, "InvalidPart")
            if int(number) != numbers[-1] and known.size < self.store.min_part:
                raise Refusal(400, "EntityTooSmall")
        return [upload.parts[number] for number in numbers]

    def _upload(self, request: Request) -> Upload:
        upload = self.store.uploads.get(request.query["uploadId"])
        if upload is None or upload.key != request.key:
            raise Refusal(404, "NoSuchUpload")
        return upload

    def _object(self, request: Request) -> Stored:
        with self.store.lock:
            if request.key not in self.store.objects:
                raise Refusal(404, "notFound", f"No such object: bucket/{quote(request.key)}")
            return self.store.objects[request.key]

    def _rot(self, request: Request, stored: Stored) -> None:
        """Lose a bit after everything was verified; the checksum told from then on is that of what is there."""
        if request.fault.get("do") == "rot":
            data = bytearray(stored.path.read_bytes())
            data[len(data) // 2] ^= 1
            stored.path.write_bytes(data)
            stored.crc = base64_of(crc32c(bytes(data)))

    def _truncated(self, known: int) -> str:
        return f"<IsTruncated>{str(known > self.store.page).lower()}</IsTruncated>"

    def _told(self, answer: dict[str, Any]) -> Reply:
        return 200, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(answer).encode()

    def _xml(self, root: str, inner: str) -> Reply:
        space = 'xmlns="http://doc.s3.amazonaws.com/2006-03-01"'
        return 200, {}, f"<?xml version='1.0' encoding='UTF-8'?><{root} {space}>{inner}</{root}>".encode()


def base64_of(crc: int) -> str:
    return b64encode(crc.to_bytes(4, "big")).decode()
