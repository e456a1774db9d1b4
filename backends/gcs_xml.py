"""Uploads by the multipart calls of Google's XML API: parts that nobody sees until they are the object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec

from backends import parts
from backends.base import Body, Properties, Receipt, Session, SessionInfo
from backends.body import BytesBody
from backends.checksums import PREFIX, crc32c_text
from backends.errors import DestinationMissing, IntegrityError, InvalidRequest, SessionLost, Unavailable
from backends.gcs_client import Client
from backends.gcs_errors import NoSuchObject, from_answer
from backends.gcs_metadata import headers_of
from backends.transport import Answer, verify


class _Opened(msgspec.Struct):
    """What a session says. One that was found at the provider knows no plan, and can only be aborted or listed."""

    key: str
    upload_id: Annotated[str, msgspec.Meta(min_length=1)]
    size: Annotated[int, msgspec.Meta(ge=0)] = 0
    part_size: Annotated[int, msgspec.Meta(ge=1)] = 1


class XMLUploads:
    """The multipart verbs of the backend. After `complete`, the object is to be looked at: its answer tells little."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._bucket = f"/{bucket}"

    def begin(self, key: str, size: int, part_size: int, properties: Properties) -> Session:
        doing = "begin the upload"
        try:
            answer = self._client.send("POST", self._target(key, {"uploads": ""}), doing, headers_of(properties))
        except NoSuchObject as error:
            raise DestinationMissing(error.detail) from None
        upload_id = _text(_parsed(answer.body, doing), "UploadId")
        if not upload_id:
            raise Unavailable(f"Cannot {doing}: the provider's answer has no upload id.")
        session: Session = msgspec.to_builtins(_Opened(key, upload_id, size, part_size))
        return session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        opened, doing = _opened(session), f"send part {number}"
        if body.size != parts.size_of(number, opened.size, opened.part_size):
            raise InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        sent = crc32c_text(verify(body) if body.crc32c is None else body.crc32c)
        headers = {"x-goog-hash": f"crc32c={sent.removeprefix(PREFIX)}"}
        answer = self._call("PUT", opened, doing, {"partNumber": str(number)}, headers, body)
        told = _told_crc(answer.headers)
        if told and told != sent:
            raise IntegrityError(f"Cannot {doing}: the provider stored other bytes than were sent.")
        return Receipt(number, body.size, _etag(answer, doing), told)

    def complete(self, session: Session, receipts: list[Receipt]) -> None:
        """Compare the receipts with the plan first: Google would make an object of any subset of the parts."""
        opened, doing = _opened(session), "complete the upload"
        found = parts.in_order(receipts, size=opened.size, part_size=opened.part_size)
        named = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(_quoted(part.etag))}</ETag></Part>"
            for part in found
        )
        body = BytesBody(f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode())
        answer = self._call("POST", opened, doing, {}, {"content-type": "application/xml"}, body)
        if b"<Error>" in answer.body:
            raise from_answer(answer, doing)
        if b"<ETag>" not in answer.body:
            raise Unavailable("Completing the upload was answered without an ETag: it is unclear whether it happened.")

    def abort(self, session: Session) -> None:
        try:
            self._call("DELETE", _opened(session), "abort the upload", {})
        except SessionLost:
            return

    def list_parts(self, session: Session) -> list[Receipt]:
        opened, doing = _opened(session), "list the parts"
        try:
            pages = list(self._pages(opened.key, {"uploadId": opened.upload_id}, ("PartNumberMarker",), doing))
        except NoSuchObject as error:
            raise SessionLost(error.detail) from None
        try:
            found = [_receipt(part) for page in pages for part in page.findall("{*}Part")]
        except ValueError:
            raise Unavailable(f"Cannot {doing}: the provider's answer is no list of parts.") from None
        return sorted(found, key=lambda part: part.number)

    def list_sessions(self, prefix: str) -> list[SessionInfo]:
        query = {"uploads": "", "prefix": prefix}
        try:
            pages = list(self._pages("", query, ("KeyMarker", "UploadIdMarker"), "list open uploads"))
        except NoSuchObject as error:
            raise DestinationMissing(error.detail) from None
        found = (_session_info(upload) for page in pages for upload in page.findall("{*}Upload"))
        return [info for info in found if info.key.startswith(prefix)]

    def _call(
        self,
        method: str,
        opened: _Opened,
        doing: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """A request about one upload."""
        target = self._target(opened.key, {**query, "uploadId": opened.upload_id})
        try:
            return self._client.send(method, target, doing, headers, body)
        except NoSuchObject as error:
            raise SessionLost(error.detail) from None

    def _pages(
        self, key: str, query: Mapping[str, str], markers: tuple[str, ...], doing: str
    ) -> Iterator[ElementTree.Element]:
        """Every page of a listing that goes on after these markers."""
        position: dict[str, str] = {}
        while True:
            page = _parsed(self._client.document(self._target(key, {**query, **position}), doing), doing)
            yield page
            following = {_parameter(marker): _text(page, f"Next{marker}") for marker in markers}
            # A server that says "truncated" without moving on would keep us here for ever.
            if _text(page, "IsTruncated") != "true" or following == position or not any(following.values()):
                return
            position = following

    def _target(self, key: str, query: Mapping[str, str]) -> str:
        path = f"{self._bucket}/{quote(key, safe='/~')}" if key else self._bucket
        return f"{path}?{'&'.join(_spelled(name, value) for name, value in query.items())}"


def _opened(session: Session) -> _Opened:
    try:
        return msgspec.convert(session, _Opened)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is no session of a multipart upload: {error}.") from None


def _parsed(data: bytes, doing: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError:
        raise Unavailable(f"Cannot {doing}: the provider's answer is no XML document.") from None


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _spelled(name: str, value: str) -> str:
    """A parameter without a value is a word alone, as Google writes `?uploads`."""
    return f"{name}={quote(value, safe='')}" if value else name


def _parameter(marker: str) -> str:
    """`PartNumberMarker` in an answer is `part-number-marker` in a request."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", marker).lower()


def _etag(answer: Answer, doing: str) -> str:
    value = answer.headers.get("etag")
    if not value:
        raise Unavailable(f"Cannot {doing}: the provider's answer has no ETag, so it is unclear whether it is stored.")
    return value.strip('"')


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _told_crc(headers: Mapping[str, str]) -> str:
    found = re.search(r"crc32c=([A-Za-z0-9+/]{6}==)", headers.get("x-goog-hash", ""))
    return f"{PREFIX}{found[1]}" if found else ""


def _receipt(part: ElementTree.Element) -> Receipt:
    return Receipt(int(_text(part, "PartNumber")), int(_text(part, "Size")), _text(part, "ETag").strip('"'))


def _session_info(upload: ElementTree.Element) -> SessionInfo:
    key, upload_id = _text(upload, "Key"), _text(upload, "UploadId")
    session: Session = {"key": key, "upload_id": upload_id}
    return SessionInfo(key, upload_id, _milliseconds(_text(upload, "Initiated")), session)


def _milliseconds(moment: str) -> int | None:
    try:
        return int(datetime.fromisoformat(moment).timestamp() * 1000)
    except ValueError:
        return None
