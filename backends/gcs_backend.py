"""The verbs of the `gcs` backend. `backends.gcs` says what an operator must know."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from backends.base import Backend, Body, Capabilities, ObjectInfo, Properties, Receipt, Session, SessionInfo
from backends.errors import IntegrityError, InvalidRequest, Unavailable
from backends.gcs import GCSOptions
from backends.gcs_client import Client
from backends.gcs_compose import ComposeUploads
from backends.gcs_metadata import check_key, decode, query_of, resource_of, told_properties
from backends.gcs_objects import Objects, Resource, version_of
from backends.gcs_xml import XMLUploads

_COPIED_ACL = "destinationPredefinedAcl"
_REWRITTEN = {"kmsKeyName": "destinationKmsKeyName"}


class GCSBackend:
    """One bucket. It may be made anywhere: it connects on first use, once in each process."""

    def __init__(self, options: GCSOptions, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._client = Client(options)
        self._bucket = options.bucket
        self._objects = Objects(self._client, options.bucket)
        self._xml = XMLUploads(self._client, options.bucket) if options.way == "xml" else None
        self._composed = ComposeUploads(self._objects, options.parts_prefix)
        self._reserved = options.parts_prefix if self._xml is None else ""

    def begin(
        self,
        key: str,
        *,
        size: int,
        part_size: int,
        properties: Properties,
        create_only: bool = False,
    ) -> Session:
        check_key(key, self._reserved)
        self._refuse_tags(properties)
        if self._xml is None:
            return self._composed.begin(key, size, part_size, properties, create_only)
        if create_only:
            raise InvalidRequest('Google honours no precondition here; set `upload = "compose"` for create-only.')
        return self._xml.begin(key, size, part_size, properties)

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        return self._uploads.put_part(session, number, body)

    def put_whole(
        self,
        key: str,
        body: Body,
        *,
        properties: Properties,
        create_only: bool = False,
    ) -> ObjectInfo:
        check_key(key, self._reserved)
        self._refuse_tags(properties)
        query = query_of(properties)
        if create_only:
            query["ifGenerationMatch"] = "0"
        return _info(key, self._objects.insert(key, body, "send the object", resource_of(properties), query))

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        if self._xml is None:
            return _info(str(session.get("key")), self._composed.complete(session, receipts))
        self._xml.complete(session, receipts)
        info = self.stat(str(session["key"]))
        if info is None:
            raise Unavailable("The upload was completed, but the object cannot be seen yet.")
        return info

    def abort(self, session: Session) -> None:
        self._uploads.abort(session)

    def stat(self, key: str) -> ObjectInfo | None:
        check_key(key)
        found = self._objects.get(key, "look at the object")
        return None if found is None else _info(key, found)

    def list_parts(self, session: Session) -> list[Receipt]:
        return self._uploads.list_parts(session)

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        return self._uploads.list_sessions(prefix)

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        check_key(key)
        if size:
            yield from self._objects.read(key, "read the object", offset, size)

    def delete(self, key: str) -> None:
        check_key(key)
        self._objects.delete(key, "delete the object")

    def presign(self, key: str, *, expires_seconds: int) -> str:
        check_key(key)
        path = f"/{self._bucket}/{quote(key, safe='/~')}"
        return self._client.presign(path, expires_seconds, "sign an address")

    def can_copy_from(self, other: Backend) -> bool:
        return isinstance(other, GCSBackend) and self._client.reaches(other._client)

    def copy_from(
        self, other: Backend, source: str, key: str, *, properties: Properties, create_only: bool = False
    ) -> ObjectInfo:
        """Google copies by itself, of any size, and the object appears when all of it is there."""
        if not isinstance(other, GCSBackend):
            raise InvalidRequest("Only from another destination at Google Cloud Storage can be copied.")
        check_key(key, self._reserved)
        check_key(source)
        self._refuse_tags(properties)
        # Without a description of its own, the copy would get that of its source.
        resource = {"contentType": "application/octet-stream", **resource_of(properties)}
        query = {_REWRITTEN.get(name, name): value for name, value in query_of(properties, _COPIED_ACL).items()}
        if create_only:
            query["ifGenerationMatch"] = "0"
        found = other._objects.get(source, "look at the source")
        if found is None:
            raise InvalidRequest(f"There is no object at {source!r}.")
        version = version_of(found)
        made = _info(key, self._objects.rewrite(other._objects, version, key, "copy the object", resource, query))
        if made.size != version.size or version.checksum not in ("", made.checksum):
            raise IntegrityError("The provider's copy does not have the size and CRC32C of its source.")
        return made

    def close(self) -> None:
        self._client.close()

    @property
    def _uploads(self) -> XMLUploads | ComposeUploads:
        return self._composed if self._xml is None else self._xml

    def _refuse_tags(self, properties: Properties) -> None:
        if properties.tags:
            raise InvalidRequest("Google Cloud Storage has no tags on objects.")


def _info(key: str, resource: Resource) -> ObjectInfo:
    version = version_of(resource)
    return ObjectInfo(
        key=key,
        size=version.size,
        etag=resource.get("etag"),
        version=version.generation,
        checksum=version.checksum or None,
        content_type=resource.get("contentType"),
        metadata=decode(resource.get("metadata") or {}),
        properties=told_properties(resource),
    )
