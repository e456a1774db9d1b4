"""What the ledger answers, as values: leases, tokens, jobs as they are; and how they are read from Redis' replies."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from engine.models import JobSpec


class Token(NamedTuple):
    """A wake-up to send: work on this transfer. `mint` tells generations apart, `lane` is the kind of queue."""

    transfer: str
    mint: int
    lane: str = "small"


class TransferRecord(NamedTuple):
    """One transfer as the ledger has it: its hash, and counts of what hangs on it."""

    fields: dict[str, str]
    recorded: int
    leased: list[int]
    failing: int
    next_due_ms: int | None
    failure: dict[str, Any] | None


class JobRecord(NamedTuple):
    """One job as the ledger has it, with the ledger's clock."""

    fields: dict[str, str]
    transfers: list[TransferRecord]
    now_ms: int

    @property
    def spec(self) -> JobSpec:
        return msgspec.json.decode(self.fields["spec"], type=JobSpec)

    @property
    def state(self) -> str:
        return self.fields["state"]

    @property
    def revision(self) -> int:
        return int(self.fields.get("rev") or 0)


class Accepted(NamedTuple):
    """The answer of accept: whether this call made the job, else the state it had already, and tokens to send."""

    made: bool
    state: str
    tokens: list[Token]
    record: JobRecord | None = None


class Lease(NamedTuple):
    """The exclusive right to do one step of a transfer until the lease's time runs out.

    step: look, begin, whole, part, complete or end. number: the part, 0 for the other steps. attempt counts from 1.
    failed_with: the code of the error before, '' for none; failed_alike: how many of that kind came in a row.
    """

    transfer: str
    mint: int
    fence: str
    step: str
    number: int
    attempt: int
    session: dict[str, Any] | None
    ending: str
    lost_begin: bool
    intent_ms: int
    destination: str
    key: str
    url: str
    fingerprint: str
    part_size: int
    total: int
    unproved: int
    run: int
    spec: JobSpec
    size: int
    crc32c: str
    failing_since_ms: int
    now_ms: int
    failed_with: str = ""
    failed_alike: int = 0

    @property
    def job(self) -> str:
        return self.spec.id

    @property
    def names(self) -> dict[str, Any]:
        """What every log line about this step is found by; `part` only where the step is one."""
        found = {"job": self.job, "transfer": self.transfer, "destination": self.destination, "step": self.step}
        part = {"part": self.number} if self.number else {}
        return {**found, **part, "attempt": self.attempt, **self.spec.trace}


class Onward(NamedTuple):
    """What a report was worth: whether it counted (`fresh`), where the token goes on ('' = it dies), tokens to add,
    and the rest.
    """

    fresh: bool
    lane: str
    mint: int
    extra: int
    final: str = ""
    owed: bool = False


class Sweep(NamedTuple):
    """What one round of the sweeper found. Ids are jobs; tokens are to be sent.

    `before_ms` is the `now_ms` of this worker's round before, as this ledger remembers it (0: it does not).
    """

    epoch: int | None
    tokens: list[Token]
    releasable: list[str]
    dead_receptions: list[str]
    forgotten: int
    now_ms: int
    before_ms: int


# --------------------------------------------------------------------- receipts on the wire


def pack_receipt(etag: str, checksum: str, crc32c: int | None, attempt: int) -> bytes:
    """A receipt as the ledger keeps it, some 45 bytes. crc32c is ours, of the bytes that were sent."""
    checksum = "" if checksum == f"crc32c:{crc_text(crc32c)}" else checksum
    return msgspec.msgpack.encode((etag, checksum, crc32c or 0, attempt))


def unpack_receipt(packed: bytes) -> tuple[str, str, int, int]:
    """(etag, checksum, crc32c, attempts); the checksum is empty when it is the CRC32C itself, or none is known."""
    etag, checksum, crc, attempt = msgspec.msgpack.decode(packed)
    return str(etag), str(checksum), int(crc), int(attempt)


def crc_text(crc: int | None) -> str:
    """A CRC32C as base64 of 4 big-endian bytes, the spelling of every answer; '' for none."""
    return "" if crc is None else base64.b64encode(crc.to_bytes(4, "big")).decode()


# --------------------------------------------------------------------- reading replies


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def texts(values: Iterable[Any]) -> list[str]:
    return [text(value) for value in values]


def pairs(flat: Sequence[Any]) -> dict[str, str]:
    return {text(k): text(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}


def tokens_of(words: Sequence[str]) -> list[Token]:
    return [Token(words[i], int(words[i + 1])) for i in range(0, len(words), 2)]


def counted_tokens(words: Sequence[str]) -> list[Token]:
    """Of the words transfer, mint, count, lane, …: each token as often as it is counted."""
    rows = zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True)
    return [Token(tid, int(mint), lane) for tid, mint, count, lane in rows for _ in range(int(count))]


def onward_of(reply: Sequence[Any]) -> Onward:
    final = text(reply[4]) if len(reply) > 4 else ""
    return Onward(text(reply[0]) == "ok", text(reply[1]), int(reply[2]), int(reply[3]), final)


def job_record(one: list[Any], now_ms: int) -> JobRecord:
    transfers = []
    for fields, recorded, leased, failing, due, failure in one[1:]:
        problem = msgspec.json.decode(failure) if failure else None
        at = int(float(due)) if due else None
        transfers.append(
            TransferRecord(pairs(fields), int(recorded), [int(n) for n in leased], int(failing), at, problem)
        )
    return JobRecord(pairs(one[0]), transfers, now_ms)
