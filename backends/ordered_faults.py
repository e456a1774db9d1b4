"""Failures that are ordered one by one while everything runs: files in a directory, each for one call of a backend.

Tests of an application order "the next time part 2 is sent here, it is throttled", in whichever process that happens.
A file is taken by unlinking it, so that each order is met once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from backends import errors
from backends.errors import BY_CODE


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call that is to fail, before it has any effect. A file sent with one call counts as its part 1."""

    call: str = "put_part"
    part: int | None = None
    """None for whichever comes next."""
    error: str = "unavailable"
    retry_after: float | None = None

    def is_for(self, call: str, arguments: tuple[Any, ...]) -> bool:
        if call == "put_whole":
            return self.call == "put_part" and self.part in (None, 1)
        if call != self.call:
            return False
        return call != "put_part" or self.part in (None, arguments[1])


def meet_order(folder: Path, call: str, arguments: tuple[Any, ...]) -> None:
    """Raise what the oldest order for this call asks for, if there is one; no other call will meet it."""
    for path in sorted(folder.glob("*.json")):
        try:
            order = msgspec.json.decode(path.read_bytes(), type=Order)
            if not order.is_for(call, arguments):
                continue
            path.unlink()
        except FileNotFoundError:
            continue  # another process met it
        except msgspec.DecodeError as error:
            raise errors.PermanentError(f"The ordered failure {path} cannot be read: {error}.") from error
        if order.error not in BY_CODE:
            known = ", ".join(sorted(BY_CODE))
            raise errors.PermanentError(f"A failure was ordered with the error {order.error!r}; there are {known}.")
        text = "This failure was ordered (`faults.orders` of this destination)."
        raise BY_CODE[order.error](text, retry_after=order.retry_after)
