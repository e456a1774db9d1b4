"""Credentials in use, which are looked for when there are none, and again when the provider refuses them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Grants(Generic[T]):
    """`find(renewed, doing)` looks for credentials; `renewed` says that earlier ones were refused."""

    def __init__(self, find: Callable[[bool, str], T]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._grant: T | None = None
        self._renewed = False

    def get(self, doing: str) -> T:
        """Those of this moment."""
        grant = self._grant
        if grant is not None:
            return grant
        with self._lock:
            if self._grant is None:
                self._grant = self._find(self._renewed, doing)
            return self._grant

    def doubt(self, grant: T) -> None:
        """After a 401, the next request looks for credentials anew; requests under way keep what they have."""
        with self._lock:
            if self._grant is grant:
                self._grant, self._renewed = None, True
