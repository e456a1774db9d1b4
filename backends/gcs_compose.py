"""Uploads by composing: parts are objects below `parts_prefix`, and the object is made of them in one step.

Below the prefix, `open/<id>` is an empty object that tells of one open upload (its metadata holds the key and the
size); `<id>/00001` is a part; `<id>/joined-0-0000` is made of up to 32 of them on the way to the whole.

The first marks the upload as open: it is removed before anything else when an upload ends. A part looks for it *after*
it was stored, and removes itself if it came too late; so whichever of the two is last leaves nothing behind.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, TypeVar

import msgspec

from backends import gcs_batch, parts
from backends.base import Body, Properties, Receipt, Session, SessionInfo
from backends.body import BytesBody
from backends.checksums import combine_crc32c, crc32c_text, crc32c_value
from backends.errors import BackendError, IntegrityError, InvalidRequest, SessionLost, TransientError
from backends.gcs_metadata import decode, query_of, resource_of
from backends.gcs_objects import MOST_SOURCES, Objects, Resource, Version, version_of

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Made = TypeVar("Made")

_AT_ONCE = 32  # an upload of 10,000 parts has 325 joins to make and 10,325 objects to delete
_FEW = 8  # as many connections are open from sending the parts; others with their handshakes have to be worth it
# Part objects live for minutes: in a colder class, each would be billed for a month or more.
_PART: Resource = {"storageClass": "STANDARD", "contentType": "application/octet-stream"}
_KEY, _SIZE = "bucketline-key", "bucketline-size"


class _Opened(msgspec.Struct):
    """What a session says. One that was found at the provider knows no plan, and can only be aborted or listed."""

    key: str
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    size: Annotated[int, msgspec.Meta(ge=0)] = 0
    part_size: Annotated[int, msgspec.Meta(ge=1)] = 1
    properties: Properties = Properties()
    create_only: bool = False


class ComposeUploads:
    """The multipart verbs of the backend. What `complete` returns is the object's description."""

    def __init__(self, objects: Objects, prefix: str) -> None:
        self._objects = objects
        self._prefix = prefix

    def begin(self, key: str, size: int, part_size: int, properties: Properties, create_only: bool) -> Session:
        opened = _Opened(key, uuid.uuid4().hex, size, part_size, properties, create_only)
        resource_of(properties), query_of(properties)  # what cannot be kept is refused before anything is sent
        described = {**_PART, "metadata": {_KEY: key, _SIZE: str(size)}}
        self._objects.insert(self._marker(opened), BytesBody(b""), "begin the upload", described)
        session: Session = msgspec.to_builtins(opened)
        return session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        opened, doing = _opened(session), f"send part {number}"
        if body.size != parts.size_of(number, opened.size, opened.part_size):
            raise InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        name = f"{self._folder(opened)}{number:05}"
        stored = version_of(self._objects.insert(name, body, doing, _PART, self._sealed(opened)))
        if not self._is_open(opened):
            self._objects.delete(name, doing, stored.generation)
            raise SessionLost(f"Cannot {doing}: the upload was completed or aborted.")
        return Receipt(number, body.size, stored.generation, stored.checksum)

    def complete(self, session: Session, receipts: list[Receipt]) -> Resource:
        """The whole is made beside its key first; only what has the CRC32C of the receipts becomes the object."""
        opened = _opened(session)
        found = parts.in_order(receipts, size=opened.size, part_size=opened.part_size)
        if not self._is_open(opened):
            raise SessionLost("Cannot complete the upload: it was completed or aborted.")
        landed = self._landed(opened)
        whole = self._joined(opened, [_proved(receipt, landed.get(receipt.number)) for receipt in found])
        expected = _expected(found)
        if whole.size != opened.size or (expected and whole.checksum not in ("", expected)):
            raise IntegrityError("The parts, joined by the provider, do not have the CRC32C of what was sent.")
        made = self._published(opened, whole)
        self._clean(opened)
        return made

    def abort(self, session: Session) -> None:
        opened = _opened(session)
        self._objects.delete(self._marker(opened), "abort the upload")
        self._remove(opened, "abort the upload")

    def list_parts(self, session: Session) -> list[Receipt]:
        """Also of an upload that has ended: what is listed then came late, and aborting again removes it."""
        landed = self._landed(_opened(session))
        return [Receipt(number, part.size, part.generation, part.checksum) for number, part in sorted(landed.items())]

    def list_sessions(self, prefix: str) -> list[SessionInfo]:
        folder = f"{self._prefix}open/"
        found = (_session_info(marker, folder) for marker in self._objects.under(folder, "list open uploads"))
        return [info for info in found if info is not None and info.key.startswith(prefix)]

    def _joined(self, opened: _Opened, sources: list[Version]) -> Version:
        """One object with the bytes of all sources: a tree of objects of up to 32 each."""
        level = 0
        while len(sources) > 1:
            groups = [sources[start : start + MOST_SOURCES] for start in range(0, len(sources), MOST_SOURCES)]
            names = [f"{self._folder(opened)}joined-{level}-{index:04}" for index in range(len(groups))]
            sources = _at_once(lambda pair: self._join(opened, *pair), zip(names, groups, strict=True))
            level += 1
        return sources[0]

    def _join(self, opened: _Opened, name: str, group: list[Version]) -> Version:
        if len(group) == 1:
            return group[0]
        return version_of(self._objects.compose(name, group, "join parts", _PART, self._sealed(opened)))

    def _published(self, opened: _Opened, whole: Version) -> Resource:
        """The one step that makes the object visible. If its answer is lost, a look at the key tells what happened.

        Otherwise an upload that had succeeded would be found by the engine, and its parts would stay.
        """
        query = query_of(opened.properties, "destinationPredefinedAcl")
        if opened.create_only:
            query["ifGenerationMatch"] = "0"
        described = resource_of(opened.properties)
        try:
            return self._objects.compose(opened.key, [whole], "complete the upload", described, query)
        except TransientError as error:
            found = self._seen(opened.key)
            if found is None or not _is_made_of(found, whole, opened.properties):
                raise error from None
            return found

    def _seen(self, key: str) -> Resource | None:
        try:
            return self._objects.get(key, "look at the object")
        except BackendError:
            return None

    def _clean(self, opened: _Opened) -> None:
        """The object is complete whatever becomes of its parts; a lifecycle rule removes what is left."""
        try:
            self.abort(msgspec.to_builtins(opened))
        except BackendError as error:
            log.warning("Parts of a completed upload are left below %s: %s", self._folder(opened), error.detail)

    def _remove(self, opened: _Opened, doing: str) -> None:
        found = [version_of(item) for item in self._objects.under(self._folder(opened), doing)]
        batches = [found[start : start + gcs_batch.MOST] for start in range(0, len(found), gcs_batch.MOST)]
        left = _at_once(lambda batch: self._objects.delete_batch(batch, doing), batches)
        _at_once(lambda item: self._objects.delete(item.name, doing, item.generation), chain.from_iterable(left))

    def _landed(self, opened: _Opened) -> dict[int, Version]:
        folder = self._folder(opened)
        found = (version_of(item) for item in self._objects.under(folder, "list the parts"))
        return {
            int(item.name[len(folder) :]): item for item in found if re.fullmatch(r"\d{5}", item.name[len(folder) :])
        }

    def _is_open(self, opened: _Opened) -> bool:
        return self._objects.is_there(self._marker(opened), "look whether the upload is open")

    def _marker(self, opened: _Opened) -> str:
        return f"{self._prefix}open/{opened.id}"

    def _folder(self, opened: _Opened) -> str:
        return f"{self._prefix}{opened.id}/"

    def _sealed(self, opened: _Opened) -> dict[str, str]:
        """Parts are encrypted with the key that the object will be encrypted with."""
        return query_of(Properties(encryption=opened.properties.encryption))


def _opened(session: Session) -> _Opened:
    try:
        return msgspec.convert(session, _Opened)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is no session of a composed upload: {error}.") from None


def _proved(receipt: Receipt, landed: Version | None) -> Version:
    """The part as it is there now, if it is the one that the receipt was given for."""
    if landed is None:
        raise SessionLost(f"Part {receipt.number} is not there any more.")
    if landed.size != receipt.size or (landed.checksum and receipt.checksum not in ("", landed.checksum)):
        raise IntegrityError(f"Part {receipt.number} is not the one that its receipt was given for.")
    return landed


def _expected(receipts: list[Receipt]) -> str:
    """The CRC32C of the whole from those of its parts; empty if one is not known."""
    whole = 0
    for part in receipts:
        crc = crc32c_value(part.checksum)
        if crc is None:
            return ""
        whole = combine_crc32c(whole, crc, part.size)
    return crc32c_text(whole)


def _is_made_of(found: Resource, whole: Version, properties: Properties) -> bool:
    """Whether the object at the key is ours: the same bytes, and the same metadata with the job's mark in it."""
    version = version_of(found)
    same = (version.size, version.checksum) == (whole.size, whole.checksum)
    return same and bool(version.checksum) and decode(found.get("metadata") or {}) == properties.metadata


def _session_info(marker: Resource, folder: str) -> SessionInfo | None:
    told: dict[str, Any] = marker.get("metadata") or {}
    found = marker["name"][len(folder) :]
    if _KEY not in told or not re.fullmatch("[0-9a-f]{32}", found):
        return None
    session: Session = {"key": told[_KEY], "id": found}
    return SessionInfo(told[_KEY], found, _milliseconds(marker.get("timeCreated")), session)


def _milliseconds(moment: str | None) -> int | None:
    try:
        return int(datetime.fromisoformat(moment or "").timestamp() * 1000)
    except ValueError:
        return None


def _at_once(call: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """The results in order; all calls are made, and the first error is raised after them."""
    pending = list(items)
    if len(pending) < 2:
        return [call(item) for item in pending]
    with ThreadPoolExecutor(min(_AT_ONCE, max(_FEW, len(pending) // _FEW))) as pool:
        made = [pool.submit(call, item) for item in pending]
    return [each.result() for each in made]
