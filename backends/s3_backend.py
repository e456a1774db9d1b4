"""The verbs of the `s3` backend, each one call of the S3 protocol. `backends.s3` says what an operator must know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from backends import parts
from backends.base import (
    GIB,
    MIB,
    Backend,
    Body,
    Capabilities,
    ObjectInfo,
    Properties,
    Receipt,
    Session,
    SessionInfo,
    further,
)
from backends.errors import InvalidRequest, ObjectExists, SessionLost, Unavailable
from backends.s3 import S3Options
from backends.s3_answers import (
    Opened,
    listed_part,
    object_info,
    opened_of,
    receipt_of,
    session_info,
    version_of,
    whole_checksum,
)
from backends.s3_client import Client
from backends.s3_errors import NoSuchObject
from backends.s3_metadata import arguments_of, check_key, headers_of
from backends.s3_providers import PRESETS
from backends.s3_sender import Put, Sender
from backends.transport import BLOCK, verify

LARGEST_COPY = 5 * GIB
COPIED_AT_ONCE = 512 * MIB


class S3Backend:
    """One bucket. It may be made anywhere: it connects on first use, once in each process."""

    def __init__(self, options: S3Options, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        checks = options.checksum == "crc32c"
        self._sends_crc = checks and PRESETS[options.provider].checks
        self._refused: set[str] = set()
        self._client = Client(options)
        self._sender = Sender(self._client, checks=checks, sends_crc=self._sends_crc)

    def begin(
        self,
        key: str,
        *,
        size: int,
        part_size: int,
        properties: Properties,
        create_only: bool = False,
    ) -> Session:
        check_key(key)
        extras = {"ChecksumAlgorithm": "CRC32C", "ChecksumType": "FULL_OBJECT"} if self._sends_crc else {}
        answer = self._call("create_multipart_upload", "begin the upload", extras, Key=key, **arguments_of(properties))
        if not answer.get("UploadId"):
            raise Unavailable("Cannot begin the upload: the provider's answer has no upload id.")
        kind = answer.get("ChecksumType", "COMPOSITE") if answer.get("ChecksumAlgorithm") == "CRC32C" else ""
        opened = Opened(key, answer["UploadId"], size, part_size, create_only, kind)
        session: Session = msgspec.to_builtins(opened)
        return session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        opened = opened_of(session)
        parts.size_of(number, opened.size, opened.part_size)
        query = {"partNumber": str(number), "uploadId": opened.upload_id}
        arguments = {"PartNumber": number, "UploadId": opened.upload_id}
        stored = self._sender.store(Put(opened.key, f"send part {number}", query, {}, "upload_part", arguments), body)
        return Receipt(number, body.size, stored.etag, stored.checksum)

    def put_whole(
        self,
        key: str,
        body: Body,
        *,
        properties: Properties,
        create_only: bool = False,
    ) -> ObjectInfo:
        check_key(key)
        if body.size > BLOCK:
            verify(body)  # a server that keeps what arrived of a broken request must not show it at the key
        headers, arguments = headers_of(properties), arguments_of(properties)
        if create_only:
            headers["if-none-match"] = arguments["IfNoneMatch"] = "*"
        stored = self._sender.store(Put(key, "send the object", {}, headers, "put_object", arguments), body)
        return ObjectInfo(
            key=key,
            size=body.size,
            etag=stored.etag,
            version=version_of(stored.version),
            checksum=stored.checksum or None,
            content_type=properties.content_type,
            metadata=properties.metadata,
            properties=further(properties),
        )

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        """Compare the receipts with the plan first: S3 would make an object of any subset of the parts.

        An answer without an ETag, such as the 200 with an empty body that some proxies give, is unclear: `Unavailable`.
        """
        opened = opened_of(session)
        found = parts.in_order(receipts, size=opened.size, part_size=opened.part_size)
        listed = [listed_part(part, with_checksum=bool(opened.checksum)) for part in found]
        arguments: dict[str, Any] = {"UploadId": opened.upload_id, "MultipartUpload": {"Parts": listed}}
        if opened.create_only:
            arguments["IfNoneMatch"] = "*"
        whole = opened.checksum == "FULL_OBJECT"
        extras = {"MpuObjectSize": opened.size, **whole_checksum(found)} if whole else {}
        answer = self._call("complete_multipart_upload", "complete the upload", extras, Key=opened.key, **arguments)
        if not answer.get("ETag"):
            raise Unavailable("Completing the upload was answered without an ETag: it is unclear whether it happened.")
        # Not from the answer: rclone's tells another ETag than the object has from then on.
        info = self.stat(opened.key)
        if info is None:
            raise Unavailable("The upload was completed, but the object cannot be seen yet.")
        return info

    def abort(self, session: Session) -> None:
        opened = opened_of(session)
        try:
            self._client.call("abort_multipart_upload", "abort the upload", Key=opened.key, UploadId=opened.upload_id)
        except (SessionLost, NoSuchObject):
            return

    def stat(self, key: str) -> ObjectInfo | None:
        check_key(key)
        try:
            answer = self._call("head_object", "look at the object", {"ChecksumMode": "ENABLED"}, Key=key)
        except NoSuchObject:
            return None
        return object_info(key, answer)

    def list_parts(self, session: Session) -> list[Receipt]:
        opened = opened_of(session)
        named = {"Key": opened.key, "UploadId": opened.upload_id}
        markers = {"PartNumberMarker": "NextPartNumberMarker"}
        pages = self._pages("list_parts", "list the parts", markers, named)
        return sorted(
            (receipt_of(part) for page in pages for part in page.get("Parts", [])), key=lambda part: part.number
        )

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        markers = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        pages = self._pages("list_multipart_uploads", "list open uploads", markers, {"Prefix": prefix})
        uploads = (upload for page in pages for upload in page.get("Uploads", []))
        return [session_info(upload) for upload in uploads if upload["Key"].startswith(prefix)]

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        check_key(key)
        if not size:
            return
        doing = "read the object"
        answer, blocks = self._client.get(key, {"range": f"bytes={offset}-{offset + size - 1}"}, doing)
        # Not by the status: rclone answers a range with 200.
        if offset and "content-range" not in answer.headers:
            raise InvalidRequest(f"Cannot {doing}: the provider ignores ranges.")
        left = size
        for block in blocks:
            yield block[:left]
            left -= min(len(block), left)
        if left:
            raise InvalidRequest(f"Cannot {doing}: it ends {left} bytes before the range that was asked for.")

    def delete(self, key: str) -> None:
        check_key(key)
        try:
            self._client.call("delete_object", "delete the object", Key=key)
        except NoSuchObject:
            return

    def presign(self, key: str, *, expires_seconds: int) -> str:
        check_key(key)
        return self._client.presign(key, expires_seconds)

    def can_copy_from(self, other: Backend) -> bool:
        return isinstance(other, S3Backend) and self._client.reaches(other._client)

    def copy_from(
        self, other: Backend, source: str, key: str, *, properties: Properties, create_only: bool = False
    ) -> ObjectInfo:
        """S3 copies up to 5 GiB with one call, and larger objects in ranges of one multipart upload."""
        if not isinstance(other, S3Backend):
            raise InvalidRequest("Only from another S3 destination can be copied.")
        found = other.stat(source)
        if found is None:
            raise InvalidRequest(f"There is no object at {source!r}.")
        if create_only and self.stat(key) is not None:
            raise ObjectExists("There is an object at the key already.")
        place = {"Bucket": other._client.bucket, "Key": source}
        if found.size > LARGEST_COPY or create_only:  # CopyObject has no If-None-Match everywhere; completing has
            self._copy_in_ranges(place, found, key, properties, create_only)
        else:
            arguments = {**arguments_of(properties), "CopySource": place, "CopySourceIfMatch": f'"{found.etag}"'}
            self._client.call(
                "copy_object", "copy the object", Key=key, MetadataDirective="REPLACE",
                **arguments, **({"TaggingDirective": "REPLACE"} if properties.tags else {}),
            )  # fmt: skip
        made = self.stat(key)
        if made is None or made.size != found.size:
            raise Unavailable("The object was copied, but cannot be seen as a whole yet.")
        return made

    def _copy_in_ranges(
        self, place: Mapping[str, str], found: ObjectInfo, key: str, properties: Properties, create_only: bool
    ) -> None:
        size = max(COPIED_AT_ONCE, 5 * MIB)
        session = self.begin(key, size=found.size, part_size=size, properties=properties, create_only=create_only)
        opened = opened_of(session)
        try:
            copied = []
            for number in range(1, parts.count(found.size, size) + 1):
                first = (number - 1) * size
                last = first + parts.size_of(number, found.size, size) - 1
                ranged = {"CopySourceRange": f"bytes={first}-{last}"} if found.size else {}
                answer = self._client.call(
                    "upload_part_copy", f"copy part {number}", Key=key, UploadId=opened.upload_id, PartNumber=number,
                    CopySource=place, CopySourceIfMatch=f'"{found.etag}"', **ranged,
                )  # fmt: skip
                copied.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            condition = {"IfNoneMatch": "*"} if create_only else {}
            self._client.call(
                "complete_multipart_upload", "complete the copy", Key=key, UploadId=opened.upload_id,
                MultipartUpload={"Parts": copied}, **condition,
            )  # fmt: skip
        except BaseException:
            self.abort(session)
            raise

    def close(self) -> None:
        self._client.close()

    def _call(self, method: str, doing: str, extras: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
        """A control call with arguments that newer servers know; one that refuses them is not asked with them again."""
        if not extras or method in self._refused:
            return self._client.call(method, doing, **arguments)
        try:
            return self._client.call(method, doing, **arguments, **extras)
        except InvalidRequest as refusal:
            if isinstance(refusal, NoSuchObject):
                raise
            answer = self._client.call(method, doing, **arguments)
            self._refused.add(method)
            return answer

    def _pages(
        self, method: str, doing: str, markers: Mapping[str, str], arguments: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Every page of a listing; `markers` says which argument continues from which member of the answer."""
        position: dict[str, Any] = {}
        while True:
            page = self._client.call(method, doing, **arguments, **position)
            yield page
            following = {argument: page[member] for argument, member in markers.items() if page.get(member)}
            # A server that says "truncated" without moving on would keep us here for ever.
            if not page.get("IsTruncated") or following in ({}, position):
                return
            position = following
