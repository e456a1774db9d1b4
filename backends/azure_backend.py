"""The verbs of the `azure` backend. `backends.azure` says what an operator must know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Annotated

import msgspec

from backends import parts
from backends.azure import MAX_PARTS, AzureOptions
from backends.azure_blocks import Block, Counted, block_list, crc64_of, crc64_text, latest, new_block
from backends.azure_client import Client
from backends.azure_errors import NoSuchBlob
from backends.azure_metadata import META, OURS, check_key, headers_of, metadata_of, told_properties
from backends.base import MIB, Backend, Body, Capabilities, ObjectInfo, Properties, Receipt, Session
from backends.body import BytesBody
from backends.checksums import crc32c_text
from backends.errors import IntegrityError, InvalidRequest, ObjectExists, SessionLost, Unavailable
from backends.transport import Answer, verify

COPIED_AT_ONCE = 256 * MIB
_MARK = f"{META}{OURS}"


class _Opened(msgspec.Struct):
    """What a session says. `before` is the ETag of what was at the key, noted for an empty object only."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    part_size: Annotated[int, msgspec.Meta(ge=1)]
    headers: dict[str, str]
    create_only: bool = False
    before: str = ""


class AzureBackend:
    """One container. It may be made anywhere: it connects on first use, once in each process."""

    def __init__(self, options: AzureOptions, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._client = Client(options)

    def begin(
        self, key: str, *, size: int, part_size: int, properties: Properties, create_only: bool = False
    ) -> Session:
        """Azure is not asked: a missing container shows at the first part."""
        check_key(key)
        opened = _Opened(key, token_hex(8), size, part_size, headers_of(properties), create_only)
        if not size:
            found = self._look(key)
            opened.before = found.headers.get("etag", "") if found else ""
        session: Session = msgspec.to_builtins(opened)
        return session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        opened, doing = _opened(session), f"send part {number}"
        if number > MAX_PARTS or body.size != parts.size_of(number, opened.size, opened.part_size):
            raise InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        crc = verify(body) if body.crc32c is None or not body.size else body.crc32c
        block = new_block(opened.id, number, crc)
        if not body.size:  # Azure takes no empty block, and an empty blob needs none
            return Receipt(number, 0, block.etag)
        counted = Counted(body)
        counted.crc32c = crc
        target = self._client.target(opened.key, {"comp": "block", "blockid": block.id})
        answer = self._client.send("PUT", target, doing, _scope(opened.headers), counted)
        return Receipt(number, body.size, block.etag, crc32c_text(crc) if _confirmed(answer, counted, doing) else "")

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        opened, doing = _opened(session), "complete the upload"
        found = parts.in_order(receipts, size=opened.size, part_size=opened.part_size)
        staged = self._staged(opened, doing) if opened.size else {}
        if not staged and (instead := self._ended(opened)) is not None:
            return instead
        body = BytesBody(block_list([_chosen(staged, receipt) for receipt in found] if opened.size else []))
        headers = {**opened.headers, _MARK: opened.id, **_condition(opened)}
        target = self._client.target(opened.key, {"comp": "blocklist"})
        try:
            self._client.send("PUT", target, doing, {"content-type": "application/xml", **headers}, body)
        except SessionLost:
            if (instead := self._ended(opened)) is not None:
                return instead
            raise
        except ObjectExists:
            if opened.create_only:
                raise
            raise SessionLost("The object at the key was replaced while this upload was open.") from None
        info = self.stat(opened.key)
        if info is None:
            raise Unavailable("The upload was completed, but the object cannot be seen yet.")
        return info

    def abort(self, session: Session) -> None:
        """Azure cannot: blocks that no list names are dropped by the next write to the key, or after 7 days."""
        _opened(session)

    def list_parts(self, session: Session) -> list[Receipt]:
        staged = self._staged(_opened(session), "list the parts")
        return [Receipt(number, block.size, block.etag) for number, block in sorted(staged.items())]

    def put_whole(self, key: str, body: Body, *, properties: Properties, create_only: bool = False) -> ObjectInfo:
        """The body is read once before it is sent, so that Azure compares its CRC-64 before anything is visible."""
        check_key(key)
        headers = {**headers_of(properties), "x-ms-blob-type": "BlockBlob"}
        if create_only:
            headers["if-none-match"] = "*"
        verify(body)
        counted = Counted(body)
        headers["x-ms-content-crc64"] = crc64_text(crc64_of(body))
        answer = self._client.send("PUT", self._client.target(key), "send the object", headers, counted)
        _confirmed(answer, counted, "send the object")
        info = self.stat(key)
        if info is None:
            raise Unavailable("The object was sent, but it cannot be seen yet.")
        return info

    def stat(self, key: str) -> ObjectInfo | None:
        check_key(key)
        answer = self._look(key)
        return None if answer is None else _info(key, answer.headers)

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        check_key(key)
        if not size:
            return
        left, doing = size, "read the object"
        wanted = {"x-ms-range": f"bytes={offset}-{offset + size - 1}"}
        answer, blocks = self._client.fetch(self._client.target(key), doing, wanted)
        if answer.status != 206:
            raise InvalidRequest(f"Cannot {doing}: the provider sent another range than was asked for.")
        for block in blocks:
            left -= len(block)
            yield block
        if left:
            raise InvalidRequest(f"Cannot {doing}: it has {left} bytes fewer than were asked for.")

    def delete(self, key: str) -> None:
        check_key(key)
        try:
            headers = {"x-ms-delete-snapshots": "include"}
            self._client.send("DELETE", self._client.target(key), "delete the object", headers)
        except NoSuchBlob:
            return

    def presign(self, key: str, *, expires_seconds: int) -> str:
        check_key(key)
        return self._client.presign(key, expires_seconds, "sign an address")

    def can_copy_from(self, other: Backend) -> bool:
        return isinstance(other, AzureBackend) and self._client.reaches(other._client)

    def copy_from(
        self, other: Backend, source: str, key: str, *, properties: Properties, create_only: bool = False
    ) -> ObjectInfo:
        """As an upload whose blocks Azure fetches itself: nothing can be seen before the last of them is there."""
        if not isinstance(other, AzureBackend):
            raise InvalidRequest("Only from another destination at Azure can be copied.")
        found = other.stat(source)
        if found is None:
            raise InvalidRequest(f"There is no object at {source!r}.")
        if create_only and self.stat(key) is not None:
            raise ObjectExists("There is an object at the key already.")
        session = self.begin(
            key, size=found.size, part_size=COPIED_AT_ONCE, properties=properties, create_only=create_only
        )
        opened = _opened(session)
        blocks = [new_block(opened.id, number, 0) for number in range(1, parts.count(found.size, COPIED_AT_ONCE) + 1)]
        if found.size:
            address = other._client.readable(source, "sign the source's address")
            for block in blocks:
                self._fetch(opened, block, address, str(found.etag))
        sizes = (parts.size_of(block.number, found.size, COPIED_AT_ONCE) for block in blocks)
        return self.complete(
            session, [Receipt(block.number, size, block.etag) for block, size in zip(blocks, sizes, strict=True)]
        )

    def close(self) -> None:
        self._client.close()

    def _fetch(self, opened: _Opened, block: Block, address: str, etag: str) -> None:
        """Have Azure stage a block of another blob, if that is still what it was."""
        first = (block.number - 1) * opened.part_size
        last = first + parts.size_of(block.number, opened.size, opened.part_size) - 1
        asked = {
            "x-ms-copy-source": address,
            "x-ms-source-range": f"bytes={first}-{last}",
            "x-ms-source-if-match": f'"{etag}"',
        }
        target = self._client.target(opened.key, {"comp": "block", "blockid": block.id})
        self._client.send("PUT", target, f"copy block {block.number}", {**_scope(opened.headers), **asked})

    def _look(self, key: str) -> Answer | None:
        try:
            return self._client.send("HEAD", self._client.target(key), "look at the object")
        except NoSuchBlob:
            return None

    def _staged(self, opened: _Opened, doing: str) -> dict[int, Block]:
        target = self._client.target(opened.key, {"comp": "blocklist", "blocklisttype": "uncommitted"})
        try:
            return latest(self._client.document(target, doing), opened.id, doing)
        except NoSuchBlob:
            return {}

    def _ended(self, opened: _Opened) -> ObjectInfo | None:
        """What an upload without blocks has come to: the object that it made, or an error. None: an empty one, open."""
        answer = self._look(opened.key)
        if answer is not None and answer.headers.get(_MARK) == opened.id:
            return _info(opened.key, answer.headers)
        if answer is not None and opened.create_only:
            raise ObjectExists("An object with this key was made meanwhile.")
        if opened.size:
            raise SessionLost("Azure no longer has the blocks of this upload: another write to the key dropped them.")
        return None


def _opened(session: Session) -> _Opened:
    try:
        return msgspec.convert(session, _Opened)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is no session of an upload: {error}.") from None


def _scope(headers: Mapping[str, str]) -> dict[str, str]:
    """Each block has to name the encryption scope of its blob."""
    return {name: value for name, value in headers.items() if name == "x-ms-encryption-scope"}


def _condition(opened: _Opened) -> dict[str, str]:
    if opened.create_only or (not opened.size and not opened.before):
        return {"if-none-match": "*"}
    return {"if-match": opened.before} if not opened.size else {}


def _chosen(staged: Mapping[int, Block], receipt: Receipt) -> Block:
    """The staged block that the receipt is for. The same bytes may have been sent again since."""
    block = staged.get(receipt.number)
    if block is None:
        raise SessionLost(f"Azure does not have part {receipt.number} (any more).")
    if (block.size, block.etag[16:]) != (receipt.size, receipt.etag[16:]):
        raise IntegrityError(f"Part {receipt.number} at Azure has other bytes than its receipt says.")
    return block


def _confirmed(answer: Answer, counted: Counted, doing: str) -> bool:
    """Whether the provider told the CRC-64 of what it stored; raises if it is not that of what was sent."""
    told = answer.headers.get("x-ms-content-crc64")
    if told and told != crc64_text(counted.crc64):
        raise IntegrityError(f"Cannot {doing}: the provider stored other bytes than were sent.")
    return bool(told)


def _info(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    size = headers.get("content-length", "")
    if not size.isdigit():
        raise Unavailable("Cannot look at the object: the provider's answer tells no size.")
    return ObjectInfo(
        key=key,
        size=int(size),
        etag=(headers.get("etag") or "").strip('"') or None,
        version=headers.get("x-ms-version-id"),
        content_type=headers.get("content-type"),
        metadata=metadata_of(headers),
        properties=told_properties(headers),
    )
