"""What `on_conflict` makes of an object that is already at the key."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import PurePosixPath
from typing import Any

from backends.base import ObjectInfo
from backends.errors import ObjectExists
from engine.records import crc_text
from engine.strays import close_strays
from engine.verification import summed, verified_or_removed
from engine.work import Call, Settled, Work

RENAMES = 1000


def key_to_write(work: Work) -> Generator[Call, Any, tuple[str, Settled | None]]:
    """The key that is written: ours, or another one; or what came of it, where there is nothing to write."""
    held, wanted = work.lease, work.lease.spec.on_conflict
    if wanted == "replace":
        return held.key, None
    info: ObjectInfo | None = yield Call("stat", (held.key,))
    if info is None or work.carries_mark(info):
        return held.key, None
    if wanted == "fail":
        raise ObjectExists("An object with this key exists, and the job was told to fail then (on_conflict).")
    if wanted == "skip_same":
        return held.key, (yield from _same(work, info))
    yield from close_strays(work, all_of_them=True)  # once another key is on record, nobody looks at this one
    for count in range(1, RENAMES):
        key = numbered(held.key, count)
        info = yield Call("stat", (key,))
        if info is None or work.carries_mark(info):
            yield Call("choose", (key, work.url_of(key)))
            return key, None if info is None else (yield from verified_or_removed(work, info))
    raise ObjectExists(f"{RENAMES} objects have this name already, numbered.")


def numbered(key: str, count: int) -> str:
    """`a/b.tar` → `a/b-1.tar`: the number goes before the last suffix of the last segment."""
    path = PurePosixPath(key)
    stem, suffix = (path.stem, path.suffix) if path.stem.strip(".") else (path.name, "")
    return key[: len(key) - len(path.name)] + f"{stem}-{count}{suffix}"


def _same(work: Work, info: ObjectInfo) -> Generator[Call, Any, Settled | None]:
    if info.size != work.lease.size:
        return None
    expected = summed(work)
    if info.checksum and info.checksum.startswith("crc32c:"):
        same = info.checksum == f"crc32c:{crc_text(expected)}"
    elif "ReadsRanges" in work.abilities and expected is not None:
        same = (yield Call("read_back", (work.lease.key, info.size))) == expected
    else:
        same = False
    return Settled(info, info.checksum or "", "skip_same", crc_text(expected)) if same else None
