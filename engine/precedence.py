"""Small files go first: while some are being accepted, the bytes of large ones come in a little more slowly.

Without it a few large bodies take every cycle there is, and a form that needs half a millisecond waits for a fifth of a
second. `make bench` has that case ("small forms while 4 bodies stream").
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

EACH_SECONDS, MOST_SECONDS = 0.002, 0.05


class Precedence:
    """One per event loop."""

    def __init__(self) -> None:
        self._small = 0

    @contextmanager
    def small(self) -> Iterator[None]:
        """While small files are being accepted."""
        self._small += 1
        try:
            yield
        finally:
            self._small -= 1

    async def give_way(self) -> None:
        """To be awaited after each MiB of a body: takes no time where nobody waits, and never long."""
        if self._small:
            await asyncio.sleep(min(self._small * EACH_SECONDS, MOST_SECONDS))
