"""Objects of one bucket by Google's JSON API: each method is one kind of request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from backends import gcs_batch
from backends.base import Body
from backends.body import BytesBody
from backends.checksums import PREFIX, crc32c_text
from backends.errors import BackendError, DestinationMissing, IntegrityError, InvalidRequest, SessionLost, Unavailable
from backends.gcs_client import Client
from backends.gcs_errors import NoSuchObject
from backends.gcs_related import Related
from backends.transport import verify

Resource = dict[str, Any]
"""An object as the JSON API describes it."""

MOST_SOURCES = 32
_FIELDS = (
    "name,size,etag,generation,crc32c,contentType,contentDisposition,cacheControl,storageClass,kmsKeyName,metadata,"
    "timeCreated"
)


_Digits = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")] | int


class _Shape(msgspec.Struct, rename="camel"):
    """What we rely on in a `Resource`: an answer of another shape comes from something between us and the store."""

    name: str
    generation: _Digits
    size: _Digits = 0
    etag: str | None = None
    crc32c: str | None = None
    content_type: str | None = None
    time_created: str | None = None
    metadata: dict[str, str] | None = None


class Version(NamedTuple):
    """One version of one object: what is composed and deleted."""

    name: str
    generation: str
    size: int
    checksum: str
    """`crc32c:…`, or empty if the provider tells none."""


class Objects:
    """Safe for many threads; raises nothing but `BackendError`."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._objects = f"/storage/v1/b/{bucket}/o"

    def insert(
        self,
        name: str,
        body: Body,
        doing: str,
        resource: Resource | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Resource:
        """Store `body`, with its CRC32C beside it: Google stores nothing else."""
        crc = verify(body) if body.crc32c is None else body.crc32c
        sent = crc32c_text(crc)
        described = {**(resource or {}), "name": name, "crc32c": sent.removeprefix(PREFIX)}
        content_type = described.get("contentType", "application/octet-stream")
        framed = Related(msgspec.json.encode(described), content_type, body, crc)
        target = _with_query(
            f"/upload{self._objects}", {"uploadType": "multipart", "name": name, "fields": _FIELDS, **(query or {})}
        )
        try:
            answer = self._client.send("POST", target, doing, {"content-type": framed.content_type}, framed)
        except NoSuchObject as error:
            raise DestinationMissing(error.detail) from None
        stored = _resource(answer.body, doing)
        if version_of(stored).checksum not in ("", sent) or int(stored.get("size", body.size)) != body.size:
            raise IntegrityError(f"Cannot {doing}: the provider stored other bytes than were sent.")
        return stored

    def get(self, name: str, doing: str) -> Resource | None:
        """The live version's description, or None if there is no such object."""
        try:
            return _resource(self._client.document(_with_query(self._path(name), {"fields": _FIELDS}), doing), doing)
        except NoSuchObject:
            return None

    def is_there(self, name: str, doing: str) -> bool:
        """Whether there is such an object: a question that is asked once for each part, so its answer is short."""
        try:
            told = _decoded(self._client.document(_with_query(self._path(name), {"fields": "name"}), doing), doing)
        except NoSuchObject:
            return False
        if told.get("name") != name:
            raise Unavailable(f"Cannot {doing}: the provider's answer is about something else.")
        return True

    def read(self, name: str, doing: str, offset: int, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes from `offset`."""
        wanted = {"range": f"bytes={offset}-{offset + size - 1}"}
        answer, blocks = self._client.fetch(_with_query(self._path(name), {"alt": "media"}), doing, wanted)
        if offset and answer.status != 206:
            raise InvalidRequest(f"Cannot {doing}: the provider ignores ranges.")
        left = size
        for block in blocks:
            yield block[:left]
            left -= min(len(block), left)
            if not left:
                break
        if left:
            raise InvalidRequest(f"Cannot {doing}: it ends {left} bytes before the range that was asked for.")

    def under(self, prefix: str, doing: str) -> Iterator[Resource]:
        """Every object whose name starts with `prefix`, by name."""
        query = {"prefix": prefix, "fields": f"items({_FIELDS}),nextPageToken"}
        token = ""
        while True:
            target = _with_query(self._objects, {**query, **({"pageToken": token} if token else {})})
            try:
                page = _decoded(self._client.document(target, doing), doing)
            except NoSuchObject as error:
                raise DestinationMissing(error.detail) from None
            found = (_shaped(item, doing) for item in page.get("items") or ())
            yield from (item for item in found if item["name"].startswith(prefix))
            # A server that tells the same page again would keep us here for ever.
            if page.get("nextPageToken", "") in ("", token):
                return
            token = page["nextPageToken"]

    def compose(
        self, name: str, sources: list[Version], doing: str, resource: Resource, query: Mapping[str, str] | None = None
    ) -> Resource:
        """Join up to 32 objects, in exactly these versions, into the object `name`."""
        named = [{"name": source.name, "generation": source.generation} for source in sources]
        body = BytesBody(msgspec.json.encode({"sourceObjects": named, "destination": resource}))
        target = _with_query(f"{self._path(name)}/compose", {"fields": _FIELDS, **(query or {})})
        try:
            answer = self._client.send("POST", target, doing, {"content-type": "application/json"}, body)
        except NoSuchObject as error:
            raise SessionLost(error.detail) from None
        return _resource(answer.body, doing)

    def rewrite(
        self, source: Objects, found: Version, name: str, doing: str, resource: Resource, query: Mapping[str, str]
    ) -> Resource:
        """Copy this version of an object of `source` into the object `name`. Google may want many calls for it."""
        token, copied = "", -1
        fields = {"fields": f"done,rewriteToken,totalBytesRewritten,resource({_FIELDS})"}
        known = {**fields, "sourceGeneration": found.generation, **query}
        path = f"{source._path(found.name)}/rewriteTo{self._path(name).removeprefix('/storage/v1')}"
        while True:
            target = _with_query(path, {**known, **({"rewriteToken": token} if token else {})})
            body = BytesBody(msgspec.json.encode(resource))
            answer = self._client.send("POST", target, doing, {"content-type": "application/json"}, body)
            told = _decoded(answer.body, doing)
            if told.get("done"):
                return _shaped(told.get("resource"), doing)
            before, copied, token = copied, _count(told.get("totalBytesRewritten")), str(told.get("rewriteToken") or "")
            if not token or copied <= before:
                raise Unavailable(f"Cannot {doing}: the provider neither goes on nor comes to an end.")

    def delete(self, name: str, doing: str, generation: str = "") -> None:
        """Remove an object. Named by its generation, a bucket with versioning does not keep it either."""
        query = {"generation": generation} if generation else {}
        try:
            self._client.send("DELETE", _with_query(self._path(name), query), doing)
        except NoSuchObject:
            return

    def delete_batch(self, versions: Sequence[Version], doing: str) -> list[Version]:
        """Remove up to `gcs_batch.MOST` versions with one request; the answer is those that may still be there.

        They are to be removed singly, which tells what is wrong; and not every server knows batches.
        """
        targets = [_with_query(self._path(each.name), {"generation": each.generation}) for each in versions]
        body = BytesBody(gcs_batch.encode("DELETE", targets))
        try:
            answer = self._client.send("POST", gcs_batch.PATH, doing, {"content-type": gcs_batch.CONTENT_TYPE}, body)
        except BackendError:
            return list(versions)
        told = gcs_batch.statuses(answer.headers.get("content-type", ""), answer.body)
        return [each for index, each in enumerate(versions) if told.get(index) not in (200, 204, 404)]

    def _path(self, name: str) -> str:
        return f"{self._objects}/{quote(name, safe='')}"


def version_of(resource: Resource) -> Version:
    crc = resource.get("crc32c")
    checksum = f"{PREFIX}{crc}" if crc else ""
    return Version(resource["name"], str(resource["generation"]), int(resource.get("size", 0)), checksum)


def _count(told: Any) -> int:
    return int(told) if str(told).isdigit() else 0


def _with_query(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def _resource(data: bytes, doing: str) -> Resource:
    return _shaped(_decoded(data, doing), doing)


def _shaped(found: Any, doing: str) -> Resource:
    try:
        msgspec.convert(found, _Shape)
    except msgspec.ValidationError:
        raise Unavailable(
            f"Cannot {doing}: the provider's answer describes no object, so it is unclear what happened."
        ) from None
    resource: Resource = found
    return resource


def _decoded(data: bytes, doing: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError):
        raise Unavailable(f"Cannot {doing}: the provider's answer is no JSON document.") from None
