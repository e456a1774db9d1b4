"""Ctrl-C at any moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_SECONDS = 0.01
_IMPORT = "<frozen importlib._bootstrap>"


@contextmanager
def heard() -> Iterator[None]:
    """Within, a Ctrl-C is a KeyboardInterrupt, also in the moment in which Python loses it: in the callback by which an
    import frees its lock, an exception goes to stderr and no further, and the command would wait as before (one of 210
    interrupts at random moments of its start, 2026-11).

    Nothing is changed where somebody else hears the signal, or in a thread. Services put their own in its place.
    """
    ours = threading.current_thread() is threading.main_thread() and all(
        signal.getsignal(one) in (signal.default_int_handler, signal.SIG_DFL) for one in (signal.SIGINT, signal.SIGALRM)
    )
    before = {one: signal.signal(one, _hear) for one in (signal.SIGINT, signal.SIGALRM)} if ours else {}
    try:
        yield
    finally:
        for one, handler in before.items():
            if signal.getsignal(one) is _hear:
                signal.signal(one, handler)


def _hear(number: int, frame: FrameType | None) -> None:
    if frame is not None and (frame.f_code.co_name, frame.f_code.co_filename) == ("cb", _IMPORT):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)  # a signal wakes whoever waits for the network by then
    else:
        raise KeyboardInterrupt
