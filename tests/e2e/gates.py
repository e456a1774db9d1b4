"""Gates: places on the way of a request where a test can stop it, do something, and let it go on or vanish."""

from __future__ import annotations

import threading

from tests.servers import eventually


class Gate:
    """Stops the first one that comes by. `reached` says that it stands there; `open` lets it pass, `drop` does not."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()
        self._dropped = False
        self._taken = threading.Lock()

    def take(self) -> bool:
        """Whether the caller is the first, and therefore the one to be stopped."""
        return self._taken.acquire(blocking=False)

    def stop(self) -> None:
        """Wait here; raises ConnectionResetError when the test drops what waits."""
        self._reached.set()
        self._opened.wait()
        if self._dropped:
            raise ConnectionResetError("dropped at a gate")

    @property
    def reached(self) -> bool:
        return self._reached.is_set()

    def wait(self, what: str, seconds: float = 60) -> None:
        """Return when somebody stands at the gate."""
        eventually(self._reached.is_set, what, seconds)

    def open(self) -> None:
        self._opened.set()

    def drop(self) -> None:
        self._dropped = True
        self._opened.set()
