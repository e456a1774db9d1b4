"""Values of which each process has its own, made on first use: no connection outlives a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Safe for many threads, and for forks at any moment."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}
        self._locks: dict[int, threading.Lock] = {}

    def get(self) -> T:
        """That of this process."""
        pid = os.getpid()
        found = self._made.get(pid)
        if found is not None:
            return found
        # One lock per process: a fork may copy the parent's while another of its threads holds it.
        with self._locks.setdefault(pid, threading.Lock()):
            if pid not in self._made:
                self._made[pid] = self._make()
            return self._made[pid]

    def take(self) -> T | None:
        """Takes it out, if there is one: the next `get` makes another."""
        return self._made.pop(os.getpid(), None)

    def forget(self, value: T) -> None:
        """Takes it out, unless there is another one by now."""
        if self._made.get(os.getpid()) is value:
            self.take()
