"""The S3 operations of the strict server: each checks all that its request says, and only then does what it asks."""

from __future__ import annotations

import hashlib
import re
import time
from uuid import uuid4
from xml.sax.saxutils import unescape

from awscrt.checksums import crc32c

from tests.backends.strict_store import (
    Headers,
    Refusal,
    Request,
    Store,
    Stored,
    Upload,
    base64_of,
    crc_element,
    crc_header,
    document,
    kept_headers,
)

Reply = tuple[int, Headers, bytes]


class Operations:
    """Named as in a fault's `on`. The body of the request is a file already, and belongs to the operation."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create(self, request: Request, body: Stored) -> Reply:
        body.path.unlink()
        algorithm = request.headers.get("x-amz-checksum-algorithm", "")
        kind = request.headers.get("x-amz-checksum-type", "COMPOSITE") if algorithm else ""
        upload = Upload(request.bucket, request.key, kept_headers(request.headers), kind, time.time())
        upload_id = uuid4().hex
        with self.store.lock:
            self.store.uploads[upload_id] = upload
        told = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind} if kind else {}
        return 200, told, document("InitiateMultipartUploadResult", {"UploadId": upload_id, "Key": request.key})

    def part(self, request: Request, body: Stored) -> Reply:
        if not 1 <= request.number <= 10_000:
            raise Refusal(400, "InvalidArgument")
        with self.store.lock:
            self.store.upload(request).parts[request.number] = body
        return 200, {"ETag": f'"{body.etag}"', **crc_header(body)}, b""

    def complete(self, request: Request, body: Stored) -> Reply:
        store, text = self.store, body.path.read_text()
        body.path.unlink()
        with store.lock:
            upload = store.upload(request)
            chosen = self.chosen(upload, text)
            whole = Stored(store.hidden / uuid4().hex, sum(part.size for part in chosen), "", "", upload.headers)
            crc = 0
            with whole.path.open("wb") as file:
                for part in chosen:
                    data = part.path.read_bytes()
                    file.write(data)
                    crc = crc32c(data, crc)
            tags = b"".join(bytes.fromhex(part.etag) for part in chosen)
            whole.etag, whole.crc = f"{hashlib.md5(tags).hexdigest()}-{len(chosen)}", base64_of(crc)
            whole.told_crc = upload.checksum == "FULL_OBJECT"
            said = request.headers
            if whole.told_crc and said.get("x-amz-checksum-crc32c", whole.crc) != whole.crc:
                raise Refusal(400, "BadDigest")
            if int(said.get("x-amz-mp-object-size", whole.size)) != whole.size:
                raise Refusal(400, "InvalidRequest")
            store.publish(request, whole)
            self.forget(request.query["uploadId"])
        answer = {"Key": request.key, "ETag": f'"{whole.etag}"'}
        if whole.told_crc:
            answer |= {"ChecksumCRC32C": whole.crc, "ChecksumType": "FULL_OBJECT"}
        return 200, {}, document("CompleteMultipartUploadResult", answer)

    def chosen(self, upload: Upload, text: str) -> list[Stored]:
        """The parts that the request names, if it names them rightly."""
        named = [
            {name: unescape(value, {"&quot;": '"'}) for name, value in re.findall(r"<(\w+)>([^<]*)</\1>", part)}
            for part in re.findall("<Part>(.*?)</Part>", text, re.DOTALL)
        ]
        numbers = [int(part["PartNumber"]) for part in named]
        if not named:
            raise Refusal(400, "MalformedXML")
        if numbers != sorted(set(numbers)):
            raise Refusal(400, "InvalidPartOrder")
        for number, part in zip(numbers, named, strict=True):
            known = upload.parts.get(number)
            if known is None or part["ETag"].strip('"') != known.etag:
                raise Refusal(400, "InvalidPart")
            if part.get("ChecksumCRC32C", known.crc) != known.crc:
                raise Refusal(400, "InvalidPart")
            if upload.checksum == "COMPOSITE" and "ChecksumCRC32C" not in part:
                raise Refusal(400, "InvalidRequest")
            if number != numbers[-1] and known.size < self.store.min_part:
                raise Refusal(400, "EntityTooSmall")
        return [upload.parts[number] for number in numbers]

    def abort(self, request: Request, body: Stored) -> Reply:
        with self.store.lock:
            self.store.upload(request)
            self.forget(request.query["uploadId"])
        return 204, {}, b""

    def forget(self, upload_id: str) -> None:
        for part in self.store.uploads.pop(upload_id).parts.values():
            part.path.unlink(missing_ok=True)

    def put(self, request: Request, body: Stored) -> Reply:
        body.headers = kept_headers(request.headers)
        self.store.publish(request, body)
        return 200, {"ETag": f'"{body.etag}"', **crc_header(body)}, b""

    def make_bucket(self, request: Request, body: Stored) -> Reply:
        (self.store.root / request.bucket).mkdir(exist_ok=True)
        return 200, {}, b""

    def head(self, request: Request, body: Stored) -> Reply:
        found = self.store.object(request)
        size = found.size + (1 if request.fault.get("do") == "wrong_size" else 0)
        checksum = crc_header(found) if request.headers.get("x-amz-checksum-mode") == "ENABLED" else {}
        return 200, {**found.headers, **checksum, "ETag": f'"{found.etag}"', "Content-Length": str(size)}, b""

    def get(self, request: Request, body: Stored) -> Reply:
        found = self.store.object(request)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if asked is None:
            return 200, {**found.headers, "ETag": f'"{found.etag}"'}, found.path.read_bytes()
        first, last = int(asked[1]), min(int(asked[2]), found.size - 1)
        if first >= found.size:
            raise Refusal(416, "InvalidRange")
        with found.path.open("rb") as file:
            file.seek(first)
            return 206, {"Content-Range": f"bytes {first}-{last}/{found.size}"}, file.read(last - first + 1)

    def delete(self, request: Request, body: Stored) -> Reply:
        with self.store.lock:
            found = self.store.objects.pop((request.bucket, request.key), None)
            if found is not None:
                found.path.unlink(missing_ok=True)
        return 204, {}, b""

    def parts(self, request: Request, body: Stored) -> Reply:
        with self.store.lock:
            after = int(request.query.get("part-number-marker", 0))
            known = sorted(item for item in self.store.upload(request).parts.items() if item[0] > after)
        page = known[: self.store.page]
        rows = [{"PartNumber": n, "Size": p.size, "ETag": f'"{p.etag}"', **crc_element(p)} for n, p in page]
        more = {"NextPartNumberMarker": page[-1][0]} if page else {}
        truncated = str(len(known) > len(page)).lower()
        return 200, {}, document("ListPartsResult", {"IsTruncated": truncated, **more}, "Part", rows)

    def uploads(self, request: Request, body: Stored) -> Reply:
        after = (request.query.get("key-marker", ""), request.query.get("upload-id-marker", ""))
        with self.store.lock:
            known = sorted((up.key, upload_id, up) for upload_id, up in self.store.uploads.items())
        known = [row for row in known if row[0].startswith(request.query.get("prefix", "")) and row[:2] > after]
        page = known[: self.store.page]
        rows = [
            {"Key": key, "UploadId": i, "Initiated": time.strftime("%FT%TZ", time.gmtime(up.started))}
            for key, i, up in page
        ]
        more = {"NextKeyMarker": page[-1][0], "NextUploadIdMarker": page[-1][1]} if page else {}
        truncated = str(len(known) > len(page)).lower()
        return 200, {}, document("ListMultipartUploadsResult", {"IsTruncated": truncated, **more}, "Upload", rows)


def verify_body(request: Request, stored: Stored, crc: str | None, md5: str, sha256: str) -> None:
    if "transfer-encoding" in request.headers or "content-length" not in request.headers:
        raise Refusal(411, "MissingContentLength")
    claimed = request.headers.get("x-amz-content-sha256", "")
    if re.fullmatch("[0-9a-f]{64}", claimed) and claimed != sha256:
        raise Refusal(400, "XAmzContentSHA256Mismatch")
    if crc not in (None, stored.crc) or request.headers.get("content-md5", md5) != md5:
        raise Refusal(400, "BadDigest")
