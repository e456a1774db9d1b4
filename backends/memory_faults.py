"""The options of the memory backend, most of which ask for faults.

An application's own tests can rehearse a bad day with a line of configuration:

    [destinations.flaky]
    backend       = "memory"
    fail          = { part = 3, times = 2, error = "throttled", retry_after = 1.5 }
    fail_rate     = 0.3          # this share of all part calls fails with `unavailable`; `seed` makes it repeatable
    slow_seconds  = 0.2          # each part takes at least this long
    cut_at        = 100          # the store silently keeps only so many bytes of each part
    corrupt_part  = 2            # the store silently flips a bit of this part
    discard       = true         # keep sizes and checksums, not bytes
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec

from backends import errors
from backends.errors import BY_CODE


class Fail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first `times` calls of each upload for `part` fail; afterwards they work."""

    part: int = 1
    times: int = 1
    error: str = "unavailable"
    retry_after: float | None = None
    call: Literal["begin", "put_part", "complete"] = "put_part"
    stored: bool = False
    """The call has its effect before it fails, as if only its answer were lost."""

    def __post_init__(self) -> None:
        if self.error not in BY_CODE:
            raise ValueError(f"fail.error must be one of {', '.join(sorted(BY_CODE))}")


class MemoryOptions(msgspec.Struct, frozen=True, kw_only=True):
    space: str = "default"
    fail: Fail | None = None
    fail_rate: float = 0.0
    seed: int = 0
    slow_seconds: float = 0.0
    cut_at: int | None = None
    corrupt_part: int | None = None
    discard: bool = False


class Faults:
    """Decides which calls fail. Counts per upload, so that every transfer meets the same trouble."""

    def __init__(self, options: MemoryOptions, sleep: Callable[[float], None]) -> None:
        self._options = options
        self._sleep = sleep
        self._random = random.Random(options.seed)
        self._lock = threading.Lock()
        self._failed: Counter[str] = Counter()

    def meet(self, call: str, upload: str, part: int | None = None, *, stored: bool = False) -> None:
        """Raise, or be slow, if this call is due for it; `stored` says that the call has had its effect."""
        if call == "put_part" and not stored:
            self._be_slow()
            self._maybe_fail()
        fail = self._options.fail
        if fail is None or (fail.call, fail.stored) != (call, stored) or part not in (None, fail.part):
            return
        with self._lock:
            self._failed[upload] += 1
            due = self._failed[upload] <= fail.times
        if due:
            raise BY_CODE[fail.error]("This failure was asked for by the option `fail`.", retry_after=fail.retry_after)

    def spoil(self, number: int, data: bytearray) -> None:
        """Lose or change bytes of a part that the store is about to keep, if the options say so."""
        if self._options.cut_at is not None:
            del data[self._options.cut_at :]
        if number == self._options.corrupt_part and data:
            data[-1] ^= 1

    def _be_slow(self) -> None:
        if self._options.slow_seconds:
            self._sleep(self._options.slow_seconds)

    def _maybe_fail(self) -> None:
        with self._lock:
            due = self._random.random() < self._options.fail_rate
        if due:
            raise errors.Unavailable("This failure was asked for by the option `fail_rate`.")
