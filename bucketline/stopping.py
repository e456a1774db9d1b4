"""SIGTERM and SIGHUP for commands that have something to say when they are told to stop, as they have at Ctrl-C."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from bucketline.exits import INTERRUPTED

STOPPING = (signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """Told to stop by a signal that is not Ctrl-C's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within, the signals are a `Stopped`, where nobody (`nohup`, an application) has other plans for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in STOPPING if signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, _stop)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def leave(interrupt: KeyboardInterrupt) -> NoReturn:
    """End at once, as whoever sent the signal expects it, whatever threads still read from a server."""
    if isinstance(interrupt, Stopped):
        signal.signal(interrupt.number, signal.SIG_DFL)
        os.kill(os.getpid(), interrupt.number)
    os._exit(INTERRUPTED)


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in STOPPING:
        if signal.getsignal(each) is _stop:
            signal.signal(each, signal.SIG_IGN)  # one is enough: what there is to say is being said
    raise Stopped(number)
