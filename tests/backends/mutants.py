"""Copies of the memory backend, each broken in one way that was, or could be, a real backend's mistake."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from backends import checksums, errors
from backends.base import MIB, Backend, Body, ObjectInfo, Properties, Receipt, Session, SessionInfo
from backends.body import BytesBody
from backends.memory import MemoryBackend
from backends.memory_space import StoredPart
from tests.backends.distant import DistantBackend

LARGEST = 64 * MIB
"""What the destination of the mutants takes as one part, narrowed to what can be sent here."""


@dataclass(frozen=True)
class Mutant:
    """A broken backend, the check that must catch it, and the error by which it shows (an assertion, unless told)."""

    kind: type[MemoryBackend]
    check: str
    shows: type[BaseException]

    def __str__(self) -> str:
        return f"{self.kind.__name__} {self.kind.__doc__}"


MUTANTS: list[Mutant] = []


def caught_by(check: str, shows: type[BaseException] = AssertionError) -> Any:
    def register(kind: type[MemoryBackend]) -> type[MemoryBackend]:
        MUTANTS.append(Mutant(kind, check, shows))
        return kind

    return register


def bytes_of(body: Body) -> bytes:
    with body.open() as reader:
        return reader.read()


def stored(number: int, data: bytes, size: int | None = None) -> StoredPart:
    crc32c = checksums.crc32c(data)
    receipt = Receipt(number, len(data) if size is None else size, f"{crc32c:08x}", checksums.crc32c_text(crc32c))
    return StoredPart(receipt, len(data), crc32c, bytearray(data))


def changed(options: dict[str, Any], **changes: Any) -> Properties:
    """The properties of a call, changed."""
    return msgspec.structs.replace(options["properties"], **changes)


class Trusting(MemoryBackend):
    """A base for mutants whose `complete` joins what there is, in the way `chosen` says, without looking closely."""

    def chosen(self, parts: dict[int, StoredPart], receipts: list[Receipt]) -> list[StoredPart]:
        return [parts[number] for number in sorted(parts)]

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        session_id, upload = self._upload(session)
        parts = self.chosen(upload.parts, receipts)
        with self._space.lock:
            del self._space.uploads[session_id]
            return self._publish(upload.key, parts, upload.properties, upload.create_only)


@caught_by("test_receipts_may_come_in_any_order")
class JoinsInOrderOfReceipts(Trusting):
    """joins the parts in the order of the receipts"""

    def chosen(self, parts: dict[int, StoredPart], receipts: list[Receipt]) -> list[StoredPart]:
        return [parts[receipt.number] for receipt in receipts]


@caught_by("test_parts_sent_in_any_order_are_joined_in_theirs")
class JoinsInOrderOfArrival(Trusting):
    """joins the parts in the order of their arrival"""

    def chosen(self, parts: dict[int, StoredPart], receipts: list[Receipt]) -> list[StoredPart]:
        return list(parts.values())


@caught_by("test_completing_without_all_parts_is_refused")
class CompletesWhatThereIs(Trusting):
    """completes with the parts it happens to have"""

    def chosen(self, parts: dict[int, StoredPart], receipts: list[Receipt]) -> list[StoredPart]:
        return [parts[receipt.number] for receipt in sorted(receipts, key=lambda receipt: receipt.number)]


@caught_by("test_completing_without_any_part_is_refused")
class CompletesEmpty(Trusting):
    """makes an empty object of no parts"""


@caught_by("test_receipts_of_other_bytes_are_refused")
class IgnoresReceipts(Trusting):
    """takes the parts as they are, whatever the receipts say"""


@caught_by("test_receipts_of_parts_that_were_never_sent_are_refused")
class CountsReceipts(Trusting):
    """compares the number of receipts, not the set of parts"""

    def chosen(self, parts: dict[int, StoredPart], receipts: list[Receipt]) -> list[StoredPart]:
        if len(receipts) != 2:
            raise errors.InvalidRequest("parts are missing")
        return [parts[number] for number in sorted(parts)]


@caught_by("test_one_receipt_given_twice_is_refused_or_counts_once")
class JoinsTwice(Trusting):
    """joins a part as often as it has receipts"""

    def chosen(self, parts: dict[int, StoredPart], receipts: list[Receipt]) -> list[StoredPart]:
        return [parts[receipt.number] for receipt in sorted(receipts, key=lambda receipt: receipt.number)]


@caught_by("test_completing_twice_works_or_says_that_the_session_is_gone", shows=KeyError)
class CompletesTwice(MemoryBackend):
    """answers the second complete with a programming error"""

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        if session["id"] not in self._space.uploads:
            raise KeyError(session["id"])
        return super().complete(session, receipts)


@caught_by("test_completing_twice_never_brings_back_an_object_that_was_replaced")
class KeepsCompletedSessions(MemoryBackend):
    """keeps completed sessions, and publishes them again"""

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        session_id, upload = self._upload(session)
        info = super().complete(session, receipts)
        self._space.uploads[session_id] = upload
        return info


@caught_by("test_no_session_stays_open_after_it_ended")
class LeavesSessionsOpen(KeepsCompletedSessions):
    """leaves the session open after completing"""


@caught_by("test_nothing_is_visible_before_the_upload_is_complete")
class ShowsEarly(MemoryBackend):
    """shows the object with its first part"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        receipt = super().put_part(session, number, body)
        _, upload = self._upload(session)
        self._publish(upload.key, list(upload.parts.values()), Properties(), False)
        return receipt


@caught_by("test_an_object_is_replaced_only_when_the_next_is_complete")
class RemovesFirst(MemoryBackend):
    """removes the old object when the upload of the new one begins"""

    def begin(self, key: str, **options: Any) -> Session:
        self.delete(key)
        return super().begin(key, **options)


@caught_by("test_a_body_shorter_than_announced_stores_nothing")
class TrustsTheLength(MemoryBackend):
    """believes the announced length, and stores what it got (as ten backends of rclone did)"""

    def _store(self, number: int, body: Body) -> StoredPart:
        return stored(number, bytes_of(body), body.size)


@caught_by("test_a_body_that_is_empty_though_announced_stores_nothing")
class RetriesWithoutRewinding(MemoryBackend):
    """stores an empty part when the body was read before (as s3fs does when it retries)"""

    def _store(self, number: int, body: Body) -> StoredPart:
        data = bytes_of(body)
        return super()._store(number, body) if data else stored(number, b"", body.size)


@caught_by("test_one_call_with_a_body_shorter_than_announced_stores_nothing")
class TrustsTheLengthOfSmallObjects(MemoryBackend):
    """believes the announced length of small objects"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        return self._publish(key, [stored(1, bytes_of(body))], Properties(), False)


@caught_by("test_one_call_with_a_bad_body_leaves_what_was_there")
class TruncatesFirst(MemoryBackend):
    """opens the object for writing before it reads the body"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        self._publish(key, [stored(1, b"")], Properties(), False)
        return super().put_whole(key, body, **options)


@caught_by("test_a_body_that_breaks_midway_stores_nothing")
class RecordsBeforeReading(MemoryBackend):
    """records a part before its bytes have arrived, and leaves it there"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        _, upload = self._upload(session)
        upload.parts.setdefault(number, stored(number, b""))
        return super().put_part(session, number, body)


@caught_by("test_a_part_that_fails_and_is_sent_again_is_right")
class AppendsToWhatFailed(MemoryBackend):
    """goes on after the bytes of a failed try, as a resumable upload does that was not asked where it stood"""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._left: dict[int, bytes] = {}

    def _store(self, number: int, body: Body) -> StoredPart:
        try:
            part = super()._store(number, body)
        except errors.ShortBody:
            self._left[number] = b"left over"
            raise
        left = self._left.pop(number, b"")
        data = (left + bytes(part.data))[: body.size]
        return StoredPart(part.receipt, len(data), checksums.crc32c(data), bytearray(data))


@caught_by("test_bytes_that_do_not_match_their_checksum_are_refused")
class VerifiesNothing(MemoryBackend):
    """does not compare the bytes with their checksum"""

    def _store(self, number: int, body: Body) -> StoredPart:
        return stored(number, bytes_of(body))


@caught_by("test_a_part_sent_again_with_other_bytes_replaces_the_first", shows=errors.IntegrityError)
class KeepsTheFirst(MemoryBackend):
    """keeps the first version of a part that is sent twice"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        _, upload = self._upload(session)
        first = upload.parts.get(number)
        receipt = super().put_part(session, number, body)
        if first is not None:
            upload.parts[number] = first
        return receipt


@caught_by("test_the_same_part_may_be_sent_again", shows=errors.InvalidRequest)
class RefusesSecondTries(MemoryBackend):
    """refuses a part that it has"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        _, upload = self._upload(session)
        if number in upload.parts:
            raise errors.InvalidRequest("this part is there already")
        return super().put_part(session, number, body)


@caught_by("test_sixteen_threads_can_send_at_once")
class SharesABuffer(MemoryBackend):
    """reads all parts through one buffer"""

    _buffer: bytearray = bytearray()

    def _store(self, number: int, body: Body) -> StoredPart:
        self._buffer[:] = bytes_of(body)
        part = super()._store(number, body)
        return StoredPart(part.receipt, part.size, part.crc32c, self._buffer)


@caught_by("test_parts_that_the_plan_does_not_have_are_refused")
class TakesAnyNumber(MemoryBackend):
    """takes part numbers that do not exist"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        _, upload = self._upload(session)
        upload.parts[number] = self._store(number, body)
        return upload.parts[number].receipt


@caught_by("test_what_landed_is_listed")
class ListsWithoutOrder(MemoryBackend):
    """lists parts in order of arrival"""

    def list_parts(self, session: Session) -> list[Receipt]:
        _, upload = self._upload(session)
        return [part.receipt for part in upload.parts.values()]


@caught_by("test_a_large_part_needs_little_memory")
class ReadsItAll(MemoryBackend):
    """reads a whole part into memory before it stores it"""

    def _store(self, number: int, body: Body) -> StoredPart:
        data = bytes_of(body)
        return stored(number, data)


@caught_by("test_a_session_is_a_json_object", shows=TypeError)
class PutsObjectsIntoSessions(MemoryBackend):
    """puts something into the session that is not JSON"""

    def begin(self, key: str, **options: Any) -> Session:
        return {**super().begin(key, **options), "lock": object()}  # type: ignore[dict-item]


@caught_by("test_another_backend_of_the_same_destination_goes_on", shows=errors.SessionLost)
class RemembersSessions(MemoryBackend):
    """knows only the sessions that it began itself"""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._own: set[object] = set()

    def begin(self, key: str, **options: Any) -> Session:
        session = super().begin(key, **options)
        self._own.add(session["id"])
        return session

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        if session["id"] not in self._own:
            raise errors.SessionLost("unknown")
        return super().put_part(session, number, body)


@caught_by("test_two_uploads_of_one_key_do_not_mix", shows=errors.IntegrityError)
class OneUploadPerKey(MemoryBackend):
    """keeps one upload per key, which all its sessions share"""

    def begin(self, key: str, **options: Any) -> Session:
        session = super().begin(key, **options)
        twin = next((upload for upload in self._space.uploads.values() if upload.key == key), None)
        if twin is not None:
            self._space.uploads[str(session["id"])].parts = twin.parts
        return session


@caught_by("test_aborting_one_upload_leaves_the_other_of_its_key", shows=errors.SessionLost)
class AbortsByKey(MemoryBackend):
    """aborts every upload of the key"""

    def abort(self, session: Session) -> None:
        gone = self._space.uploads.get(str(session.get("id")))
        for session_id, upload in list(self._space.uploads.items()):
            if gone is not None and upload.key == gone.key:
                del self._space.uploads[session_id]


@caught_by("test_aborting_is_final_and_may_be_repeated", shows=errors.SessionLost)
class AbortsOnce(MemoryBackend):
    """refuses to abort what is gone"""

    def abort(self, session: Session) -> None:
        self._upload(session)
        super().abort(session)


@caught_by("test_a_part_after_the_abort_says_that_the_session_is_lost")
class ForgetsToAbort(MemoryBackend):
    """does nothing when it should abort"""

    def abort(self, session: Session) -> None:
        pass


@caught_by("test_aborting_a_completed_session_leaves_the_object")
class AbortsObjects(MemoryBackend):
    """removes the object when a completed session is aborted"""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._keys: dict[str, str] = {}

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        info = super().complete(session, receipts)
        self._keys[str(session["id"])] = info.key
        return info

    def abort(self, session: Session) -> None:
        super().abort(session)
        self.delete(self._keys.get(str(session.get("id")), ""))


@caught_by("test_open_sessions_are_listed_and_can_be_aborted_from_the_list")
class ListsEverything(MemoryBackend):
    """lists the sessions of other prefixes too"""

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        return super().list_sessions()


@caught_by("test_what_is_no_session_is_refused", shows=KeyError)
class TrustsSessions(MemoryBackend):
    """looks into a session without checking it"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        return super().put_part({"id": session["id"]}, number, body)


@caught_by("test_creating_where_an_object_is_leaves_it")
class IgnoresCreateOnly(MemoryBackend):
    """ignores create-only (as some S3 servers do)"""

    def begin(self, key: str, **options: Any) -> Session:
        return super().begin(key, **{**options, "create_only": False})


@caught_by("test_creating_where_an_object_appeared_meanwhile_leaves_it")
class LooksOnlyAtTheStart(MemoryBackend):
    """checks create-only when it begins, and not when it completes"""

    def begin(self, key: str, **options: Any) -> Session:
        if options.pop("create_only", False) and self.stat(key):
            raise errors.ObjectExists(key)
        return super().begin(key, **options)


@caught_by("test_of_two_uploads_that_create_at_once_one_wins")
class LooksBeforeItPublishes(LooksOnlyAtTheStart):
    """looks whether there is an object, then publishes: between the two, the other does the same"""


@caught_by("test_of_two_calls_that_create_at_once_one_wins")
class LooksBeforeItPuts(MemoryBackend):
    """does not look again when the bytes are there"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        return super().put_whole(key, body, **{**options, "create_only": False})


@caught_by("test_content_type_and_metadata_are_kept")
class DropsMetadata(MemoryBackend):
    """drops the metadata"""

    def begin(self, key: str, **options: Any) -> Session:
        return super().begin(key, **{**options, "properties": changed(options, metadata={})})


@caught_by("test_one_call_keeps_content_type_and_metadata_too")
class DropsContentType(MemoryBackend):
    """drops the content type of small objects"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        return super().put_whole(key, body, **{**options, "properties": changed(options, content_type=None)})


@caught_by("test_further_properties_are_kept")
class DropsCacheControl(MemoryBackend):
    """drops what caches are told"""

    def begin(self, key: str, **options: Any) -> Session:
        return super().begin(key, **{**options, "properties": changed(options, cache_control=None)})


@caught_by("test_one_call_keeps_further_properties_too")
class MixesProperties(MemoryBackend):
    """stores the disposition of small objects as another one"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        return super().put_whole(key, body, **{**options, "properties": changed(options, content_disposition="inline")})


@caught_by("test_metadata_of_a_replaced_object_does_not_linger")
class MergesMetadata(MemoryBackend):
    """adds metadata to what was there"""

    def begin(self, key: str, **options: Any) -> Session:
        old = self.stat(key)
        both = {**(old.metadata if old else {}), **options["properties"].metadata}
        return super().begin(key, **{**options, "properties": changed(options, metadata=both)})


@caught_by("test_what_complete_tells_is_what_stat_tells")
class TellsAnotherTag(MemoryBackend):
    """tells another etag than the object has"""

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        return msgspec.structs.replace(super().complete(session, receipts), etag="made-up")


@caught_by("test_hostile_keys_are_stored_byte_for_byte_or_refused_in_one_call")
class NormalisesKeys(MemoryBackend):
    """normalises keys like paths"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        return super().put_whole(posixpath.normpath(key), body, **options)


@caught_by("test_hostile_keys_are_stored_byte_for_byte_or_refused_in_parts")
class ComposesKeys(MemoryBackend):
    """composes Unicode, so that two names become one"""

    def begin(self, key: str, **options: Any) -> Session:
        return super().begin(unicodedata.normalize("NFC", key), **options)


@caught_by("test_ordinary_keys_are_stored_under_their_own_name")
class LowersKeys(MemoryBackend):
    """is blind to case"""

    def _publish(self, key: str, *arguments: Any) -> ObjectInfo:
        info = super()._publish(key.lower(), *arguments)
        self._space.objects[key] = self._space.objects[key.lower()]
        return msgspec.structs.replace(info, key=key)


@caught_by("test_looking_at_hostile_keys_finds_nothing_or_is_refused", shows=UnicodeEncodeError)
class FailsToLook(MemoryBackend):
    """raises a bare exception for keys that it cannot encode"""

    def stat(self, key: str) -> ObjectInfo | None:
        key.encode()
        return super().stat(key)


@caught_by("test_the_empty_key_is_refused")
class TakesTheEmptyKey(MemoryBackend):
    """takes the empty key"""

    def begin(self, key: str, **options: Any) -> Session:
        return super().begin(key or "index", **options)


@caught_by("test_nothing_is_at_a_key_that_was_never_written")
class FindsFolders(MemoryBackend):
    """finds an object where only keys below it exist"""

    def stat(self, key: str) -> ObjectInfo | None:
        below = any(other.startswith(f"{key}/") for other in self._space.objects)
        return ObjectInfo(key=key, size=0) if below else super().stat(key)


@caught_by("test_any_range_can_be_read_back")
class ReadsTooMuch(MemoryBackend):
    """reads one byte too many"""

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        data = self._space.read(key)[offset : offset + size + 1]
        return iter([data[start : start + MIB] for start in range(0, len(data), MIB)])


@caught_by("test_reading_what_is_not_there_is_refused")
class ReadsLess(MemoryBackend):
    """ends quietly where the object ends before the range"""

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        if key not in self._space.objects:
            raise errors.InvalidRequest("nothing there")
        return iter([self._space.read(key)[offset : offset + size]])


@caught_by("test_deleting_twice_is_harmless", shows=KeyError)
class DeletesOnce(MemoryBackend):
    """fails when there is nothing to delete"""

    def delete(self, key: str) -> None:
        del self._space.objects[key]


@caught_by("test_an_object_may_be_empty", shows=errors.InvalidRequest)
class RefusesEmptyObjects(MemoryBackend):
    """refuses objects of zero bytes in parts"""

    def begin(self, key: str, **options: Any) -> Session:
        if not options["size"]:
            raise errors.InvalidRequest("empty")
        return super().begin(key, **options)


@caught_by("test_an_empty_object_goes_in_one_call", shows=errors.InvalidRequest)
class RefusesSmallEmptyObjects(MemoryBackend):
    """refuses objects of zero bytes in one call"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        if not body.size:
            raise errors.InvalidRequest("empty")
        return super().put_whole(key, body, **options)


@caught_by("test_the_smallest_parts_that_are_claimed_work", shows=errors.InvalidRequest)
class ClaimsSmallerParts(MemoryBackend):
    """claims that a part may be smaller than it really may be"""

    def begin(self, key: str, **options: Any) -> Session:
        if options["part_size"] < 1024:
            raise errors.InvalidRequest("parts have at least 1,024 bytes")
        return super().begin(key, **options)


@caught_by("test_an_object_may_end_exactly_with_a_part", shows=errors.InvalidRequest)
class AsksForOneMore(MemoryBackend):
    """expects an empty part after an object that ends with a part"""

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        _, upload = self._upload(session)
        if upload.size and upload.size % upload.part_size == 0:
            raise errors.InvalidRequest("one part is missing")
        return super().complete(session, receipts)


@caught_by("test_one_call_replaces_what_is_there", shows=errors.ObjectExists)
class PutsOnlyOnce(MemoryBackend):
    """refuses to replace an object in one call"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        return super().put_whole(key, body, **{**options, "create_only": True})


@caught_by("test_a_small_object_goes_in_one_call")
class PutsElsewhere(MemoryBackend):
    """says one key, stores at another"""

    def put_whole(self, key: str, body: Body, **options: Any) -> ObjectInfo:
        return msgspec.structs.replace(super().put_whole(key + ".tmp", body, **options), key=key)


@caught_by("test_closing_twice_is_harmless", shows=RuntimeError)
class ClosesOnce(MemoryBackend):
    """fails when it is closed again"""

    _open = True

    def close(self) -> None:
        if not self._open:
            raise RuntimeError("closed")
        self._open = False


@caught_by("test_creating_where_nothing_is_works", shows=errors.ObjectExists)
class NeverCreates(MemoryBackend):
    """takes create-only for never"""

    def begin(self, key: str, **options: Any) -> Session:
        if options.get("create_only"):
            raise errors.ObjectExists(key)
        return super().begin(key, **options)


@caught_by("test_an_object_may_be_one_part_smaller_than_the_smallest", shows=errors.InvalidRequest)
class WantsFullParts(MemoryBackend):
    """refuses a last part that is smaller than the others"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        _, upload = self._upload(session)
        if body.size < upload.part_size:
            raise errors.InvalidRequest("too small")
        return super().put_part(session, number, body)


@caught_by("test_a_file_shorter_than_announced_stores_nothing")
class ReadsFilesItself(MemoryBackend):
    """reads files by itself, and does not see that they end early (as sendfile does)"""

    def _store(self, number: int, body: Body) -> StoredPart:
        place = body.file()
        if place is None:
            return super()._store(number, body)
        path, offset = place
        return stored(number, path.read_bytes()[offset:][: body.size], body.size)


@caught_by("test_a_copy_has_the_bytes_of_its_source_and_properties_of_its_own")
class CopiesProperties(MemoryBackend):
    """gives a copy the properties of its source"""

    def copy_from(self, other: Backend, source: str, key: str, **options: Any) -> ObjectInfo:
        found = self.stat(source)
        assert found is not None
        properties = Properties(content_type=found.content_type, metadata=found.metadata)
        return super().copy_from(other, source, key, **{**options, "properties": properties})


@caught_by("test_a_copy_of_nothing_is_refused")
class CopiesNothing(MemoryBackend):
    """makes an empty object from a source that is not there"""

    def copy_from(self, other: Backend, source: str, key: str, **options: Any) -> ObjectInfo:
        if self.stat(source) is None:
            return self.put_whole(key, BytesBody(b""), **options)
        return super().copy_from(other, source, key, **options)


@caught_by("test_a_copy_can_create_only")
class CopiesOverAll(MemoryBackend):
    """replaces what is there, whatever was asked for"""

    def copy_from(self, other: Backend, source: str, key: str, **options: Any) -> ObjectInfo:
        return super().copy_from(other, source, key, **{**options, "create_only": False})


@caught_by("test_a_part_of_exactly_the_largest_size_works", shows=errors.InvalidRequest)
class StopsOneShort(MemoryBackend):
    """refuses the largest part that it claims"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        if body.size >= LARGEST:
            raise errors.InvalidRequest("too large")
        return super().put_part(session, number, body)


@caught_by("test_bad_credentials_are_refused_for_good")
class HopesForBetterPasswords(DistantBackend):
    """tries a refused password again and again"""

    def knock(self) -> None:
        try:
            super().knock()
        except errors.AccessDenied as error:
            raise errors.Unavailable(error.detail) from None


@caught_by("test_bad_credentials_are_refused_for_good")
class TellsThePassword(DistantBackend):
    """tells which password was refused"""

    def knock(self) -> None:
        try:
            super().knock()
        except errors.AccessDenied:
            raise errors.AccessDenied(f"The password {self._door.password} is wrong.") from None


@caught_by("test_where_nothing_listens_the_failure_may_pass")
class GivesUpAtOnce(DistantBackend):
    """takes a server that is down for one that never was there"""

    def knock(self) -> None:
        try:
            super().knock()
        except errors.ConnectionFailed as error:
            raise errors.DestinationMissing(error.detail) from None


@caught_by("test_where_connections_are_reset_the_failure_may_pass", shows=ConnectionResetError)
class LetsErrorsThrough(DistantBackend):
    """classifies the way there, and not the way back"""

    def knock(self) -> None:
        try:
            self.ask()
        except ConnectionRefusedError:
            raise errors.ConnectionFailed("refused") from None


@caught_by("test_a_server_that_never_answers_is_given_up_in_time")
class WaitsForEver(DistantBackend):
    """has no timeout"""

    def knock(self) -> None:
        self.ask(seconds=None)


@caught_by("test_a_server_that_never_answers_is_given_up_in_time")
class TakesSilenceForACut(DistantBackend):
    """does not know a server that is silent from a connection that broke"""

    def knock(self) -> None:
        try:
            super().knock()
        except errors.TimedOut as error:
            raise errors.ConnectionFailed(error.detail) from None


@caught_by("test_the_backend_claims_what_its_plug_in_told")
class ClaimsSomethingElse(DistantBackend):
    """claims more than its plug-in"""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.capabilities = msgspec.structs.replace(self.capabilities, max_parts=7)


@caught_by("test_each_object_has_an_address_of_its_own")
class TellsTheFolder(DistantBackend):
    """tells where objects are, and not which"""

    @staticmethod
    def url(options: Any, key: str) -> str:
        return f"distant:{options.space}"


@caught_by("test_no_address_session_or_repr_holds_a_secret")
class AddsThePasswordToAddresses(DistantBackend):
    """tells addresses that open the door"""

    @staticmethod
    def url(options: Any, key: str) -> str:
        return f"distant:{key}?password={options.password}"


@caught_by("test_no_address_session_or_repr_holds_a_secret")
class KeepsThePasswordInSessions(DistantBackend):
    """puts all that it needs into the session"""

    def begin(self, key: str, **options: Any) -> Session:
        return {**super().begin(key, **options), "password": self._door.password}


@caught_by("test_no_address_session_or_repr_holds_a_secret")
class PrintsItsPassword(DistantBackend):
    """prints itself with its options"""

    def __repr__(self) -> str:
        return f"<door {self._door}>"


@caught_by("test_a_small_object_goes_in_one_call")
class SpellsChecksumsAsItsStore(DistantBackend):
    """tells the checksum as its store spells it"""

    def stat(self, key: str) -> ObjectInfo | None:
        info = super().stat(key)
        return info and msgspec.structs.replace(info, checksum=(info.checksum or "").removeprefix("crc32c:"))


@caught_by("test_the_same_part_may_be_sent_again")
class SpellsReceiptsAsItsStore(DistantBackend):
    """tells a part's checksum as its store spells it"""

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        receipt = super().put_part(session, number, body)
        return msgspec.structs.replace(receipt, checksum=receipt.checksum.removeprefix("crc32c:"))
