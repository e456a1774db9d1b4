"""Keeps objects in one SQLite file: a complete storage backend for Bucketline, as an example to start from.

For the operator. Needs: a directory that may be written. Makes: one database file. An upload's parts are rows until
`complete` gives them to an object in one transaction: nothing is visible before, all of it afterwards. `abort` deletes
the rows.
Limits: parts of up to 16 MiB (a part is held in memory while it is written); one writer at a time, others wait.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

import msgspec

from backends import checksums, parts
from backends.base import MIB, Capabilities, ObjectInfo, Properties, Receipt, Session, SessionInfo
from backends.body import Body, copy
from backends.errors import (
    DestinationMissing,
    IntegrityError,
    InvalidRequest,
    ObjectExists,
    SessionLost,
    StoreFull,
    TransientError,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, key TEXT, started_ms INTEGER, facts TEXT);
CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, upload TEXT, size INTEGER, checksum TEXT, properties TEXT);
CREATE TABLE IF NOT EXISTS parts (upload TEXT, number INTEGER, size INTEGER, crc32c INTEGER, data BLOB,
                                  PRIMARY KEY (upload, number));
"""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a destination with `backend = "sqlite"`."""

    file: Path  # relative to plugins.toml


@contextmanager
def classified() -> Iterator[None]:
    """The one table from the store's errors to ours. An error that nobody expected may pass: it is tried again."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            raise StoreFull("The disk of the database is full.") from error
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_NOTADB")):
            raise DestinationMissing(f"The database cannot be used: {error}.") from error
        raise TransientError(f"The database did not do it: {error}.") from error


class SqliteBackend:
    def __init__(self, options: Options) -> None:
        self.capabilities = SqlitePlugin().capabilities(options)
        self._file = options.file
        self._own = threading.local()  # a connection belongs to one thread

    # -- the six verbs

    def begin(
        self, key: str, *, size: int, part_size: int, properties: Properties, create_only: bool = False
    ) -> Session:
        check_key(key)
        facts = {"key": key, "size": size, "part_size": part_size, "create_only": create_only}
        upload = token_hex(10)
        with self._transaction() as database:
            if create_only and database.execute("SELECT 1 FROM objects WHERE key = ?", [key]).fetchone():
                raise ObjectExists("There is an object with this key already.")
            kept = json.dumps({**facts, "properties": msgspec.to_builtins(properties)})
            database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", [upload, key, time.time_ns() // 10**6, kept])
        return {"id": upload}  # a JSON value: begin, parts and complete happen in different processes

    def put_part(self, session: Session, number: int, body: Body) -> Receipt:
        facts = self._facts(session)
        if body.size != parts.size_of(number, facts["size"], facts["part_size"]):
            raise InvalidRequest(f"Part {number} has {body.size} bytes, which is not its planned size.")
        data = bytearray()
        crc32c = copy(body, data.extend)  # raises when the body is shorter than promised, or changed
        with self._transaction() as database:
            if not database.execute("SELECT 1 FROM uploads WHERE id = ?", [session["id"]]).fetchone():
                raise SessionLost("The upload was completed or aborted meanwhile.")
            row = [session["id"], number, len(data), crc32c, data]
            database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)", row)
        return Receipt(number, len(data), checksum=checksums.crc32c_text(crc32c))

    def complete(self, session: Session, receipts: list[Receipt]) -> ObjectInfo:
        facts = self._facts(session)
        whole = 0
        with self._transaction() as database:
            for receipt in parts.in_order(receipts, size=facts["size"], part_size=facts["part_size"]):
                whole = checksums.combine_crc32c(whole, _stored(database, session, receipt), receipt.size)
            taken = database.execute("SELECT upload FROM objects WHERE key = ?", [facts["key"]]).fetchone()
            if taken and facts["create_only"]:
                raise ObjectExists("There is an object with this key already.")
            if taken:
                database.execute("DELETE FROM parts WHERE upload = ?", taken)
            row = [facts["key"], session["id"], facts["size"], checksums.crc32c_text(whole)]
            kept = json.dumps(facts["properties"])
            database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", [*row, kept])
            database.execute("DELETE FROM uploads WHERE id = ?", [session["id"]])
        info = self.stat(facts["key"])
        if info is None:
            raise TransientError("The object was replaced or deleted in the same moment.")
        return info

    def abort(self, session: Session) -> None:
        with self._transaction() as database:
            if database.execute("DELETE FROM uploads WHERE id = ?", [str(session.get("id"))]).rowcount:
                database.execute("DELETE FROM parts WHERE upload = ?", [session["id"]])

    def stat(self, key: str) -> ObjectInfo | None:
        check_key(key)
        with self._transaction() as database:
            row = database.execute(
                "SELECT size, upload, checksum, properties FROM objects WHERE key = ?", [key]
            ).fetchone()
        if row is None:
            return None
        kept = msgspec.convert(json.loads(row[3]), Properties)
        return ObjectInfo(
            key=key, size=row[0], etag=row[1], checksum=row[2], content_type=kept.content_type, metadata=kept.metadata
        )

    def close(self) -> None:
        """Connections close with their threads; this thread's closes now."""
        if (mine := self._own.__dict__.pop("database", None)) is not None:
            mine.close()

    # -- what it can do beyond them: each ability is a method

    def list_sessions(self, prefix: str = "") -> list[SessionInfo]:
        with self._transaction() as database:
            rows = database.execute("SELECT key, id, started_ms FROM uploads").fetchall()
        return [
            SessionInfo(key, upload, began, {"id": upload}) for key, upload, began in rows if key.startswith(prefix)
        ]

    def read_range(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        info = self.stat(key)
        if info is None or offset < 0 or offset + size > info.size:
            raise InvalidRequest(f"There is no object with bytes {offset} to {offset + size} at {key!r}.")
        numbers = "SELECT number, size FROM parts WHERE upload = ? ORDER BY number"
        with self._transaction() as database:
            rows = database.execute(numbers, [info.etag]).fetchall()
        for number, length in rows:
            first, last = min(max(offset, 0), length), min(max(offset + size, 0), length)
            for start in range(first, last, MIB):
                yield self._piece(info.etag, number, start, min(MIB, last - start))
            offset -= length

    def delete(self, key: str) -> None:
        check_key(key)
        with self._transaction() as database:
            database.execute("DELETE FROM parts WHERE upload IN (SELECT upload FROM objects WHERE key = ?)", [key])
            database.execute("DELETE FROM objects WHERE key = ?", [key])

    # -- behind them

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with classified():
            if not hasattr(self._own, "database"):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                database = sqlite3.connect(self._file, timeout=60, isolation_level=None)
                database.executescript("PRAGMA journal_mode = WAL;" + SCHEMA)
                self._own.database = database
            database = self._own.database
            database.execute("BEGIN IMMEDIATE")  # what is looked at stays so until the end
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _facts(self, session: Session) -> dict[str, Any]:
        with self._transaction() as database:
            row = database.execute("SELECT facts FROM uploads WHERE id = ?", [str(session.get("id"))]).fetchone()
        if row is None:
            raise SessionLost("There is no such upload; it was completed or aborted.")
        facts: dict[str, Any] = json.loads(row[0])
        return facts

    def _piece(self, upload: str | None, number: int, start: int, size: int) -> bytes:
        with self._transaction() as database:
            taken = "SELECT substr(data, ?, ?) FROM parts WHERE upload = ? AND number = ?"
            row = database.execute(taken, [start + 1, size, upload, number]).fetchone()
        if row is None or len(row[0]) != size:
            raise IntegrityError("The object was replaced while it was read.")
        return bytes(row[0])


class SqlitePlugin:
    """What the entry point names: the backend before anything is opened."""

    name: ClassVar[str] = "sqlite"
    Options: ClassVar[type[msgspec.Struct]] = Options
    secrets: ClassVar[frozenset[str]] = frozenset()

    def capabilities(self, options: Options) -> Capabilities:
        return Capabilities(max_part=16 * MIB, max_parts=10_000, checksums=("crc32c",), create_only=True, metadata=True)

    def url(self, options: Options, key: str) -> str:
        return f"sqlite:{options.file.name}/{key}"

    def build(self, options: Options) -> SqliteBackend:
        return SqliteBackend(options)


def check_key(key: str) -> None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("A key is valid Unicode text.") from None
    if not 0 < size <= 1024 or "\0" in key:
        raise InvalidRequest("A key has 1 to 1,024 bytes, none of them zero.")


def _stored(database: sqlite3.Connection, session: Session, receipt: Receipt) -> int:
    """The CRC32C of a part, if what is stored is what its receipt was made for."""
    row = database.execute(
        "SELECT crc32c FROM parts WHERE upload = ? AND number = ?", [session["id"], receipt.number]
    ).fetchone()
    if row is None:
        raise InvalidRequest(f"Part {receipt.number} was never stored.")
    if checksums.crc32c_text(row[0]) != receipt.checksum:
        raise IntegrityError(f"The receipt of part {receipt.number} is not for the bytes that are stored.")
    crc32c: int = row[0]
    return crc32c
