"""The supervisor of `bucketline up`: starts children, starts dead ones again, and stops them in order.

Single-threaded: the kernel ties each child to the thread that made it. It sleeps in `select` and is woken by signals,
so that an idle stack costs nothing.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bucketline.exits import CONFIGURATION, FAILED, Failure

STEADY_SECONDS = 10.0  # a child that lived this long was well: its next death is the first one again
TRIES_AT_START = 3  # deaths of one child, before the stack was ever ready, that end it
LONGEST_PAUSE_SECONDS = 30.0
BIGGEST_LOG = 16 << 20
# SIGHUP is what a terminal sends when it is closed: that is no reason to leave Valkey unsaved.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pause_before_restart(deaths: int) -> float:
    """Seconds before a child that died `deaths` times in a row is started again: at once, then less and less often."""
    return 0.1 if deaths <= 1 else min(LONGEST_PAUSE_SECONDS, 0.25 * float(2 ** min(deaths, 12)))


@dataclass
class Child:
    """One supervised process, in a session of its own, that writes to `log`."""

    name: str
    command: list[str]
    log: Path
    stop_seconds: float
    stops: int  # children with the same number are stopped together, smaller numbers first
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_at: float = 0.0
    due_at: float | None = None
    log_start: int = 0
    asked: bool = False

    def start(self, environ: Mapping[str, str]) -> None:
        with self.log.open("ab") as output:
            self.log_start = output.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bucketline.child", str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                start_new_session=True,
            )
        self.started_at, self.due_at = time.monotonic(), None

    def died(self) -> int | None:
        """The exit status of a process that has just ended; its own children, if any are left, end with it."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.signal_all(signal.SIGKILL)
        self.process = None
        self.deaths = 1 if time.monotonic() - self.started_at > STEADY_SECONDS else self.deaths + 1
        return status

    def signal_all(self, number: int) -> None:
        """Signal every process of the child's session: gunicorn has workers that would keep its port."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def ask_to_stop(self) -> None:
        """One SIGTERM to the process itself, however often it is asked."""
        if self.process is not None and not self.asked:
            self.asked = True
            self.process.send_signal(signal.SIGTERM)

    def stop(self, patience: Callable[[float], None]) -> None:
        """SIGTERM, and SIGKILL when it did not help. `patience` sleeps so many seconds, or until a signal comes."""
        if self.process is None:
            return
        deadline = time.monotonic() + self.stop_seconds
        self.ask_to_stop()
        while self.process.poll() is None and time.monotonic() < deadline:
            patience(min(0.25, deadline - time.monotonic()))
        self.signal_all(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def last_words(self, lines: int = 4) -> list[str]:
        """The end of what this process has written since it was started."""
        with self.log.open("rb") as written:
            written.seek(max(self.log_start, self.log.stat().st_size - 4096))
            text = written.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-lines:]


@dataclass
class Stack:
    """Everything that `up` runs: `groups` of children, each started as soon as the one before says that it answers."""

    groups: list[tuple[list[Child], Callable[[], bool]]]
    environ: Mapping[str, str]
    say: Callable[..., None]
    on_ready: Callable[[], None]
    passes_hangup: bool = False
    """Whether SIGHUP goes to the children, who read their configuration again, instead of ending everything."""
    ready: bool = False
    stopping: int = 0
    _started: list[Child] = field(default_factory=list)
    _wake: tuple[int, int] = (-1, -1)

    def run(self) -> int:
        """Run until one of STOP_SIGNALS; 0 after an orderly stop. Raises Failure when the stack cannot come up."""
        self._listen_to_signals()
        try:
            for children, answers in self.groups:
                self._bring_up(children, answers)
            if not self.stopping:
                self.ready = True
                self.on_ready()
            while not self.stopping:
                self._sleep(self._next_due())
                self._look_after_children()
            return 0
        finally:
            self._stop()
            signal.set_wakeup_fd(-1)
            for number in (*STOP_SIGNALS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for end in self._wake:
                os.close(end)

    def _bring_up(self, children: list[Child], answers: Callable[[], bool]) -> None:
        for child in children:
            if not self.stopping:
                child.start(self.environ)
                self._started.append(child)
        while not self.stopping and not answers():
            self._sleep(0.05)
            self._look_after_children()

    def _look_after_children(self) -> None:
        now = time.monotonic()
        for child in self._started:
            if self.stopping:
                return
            status = child.died()
            if status is not None:
                self._mourn(child, status)
            if child.process is None and child.due_at is not None and now >= child.due_at:
                child.start(self.environ)

    def _mourn(self, child: Child, status: int) -> None:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        if status == CONFIGURATION and not self.ready:
            raise Failure(CONFIGURATION, f"{child.name} {how}", *child.last_words())
        if not self.ready and child.deaths >= TRIES_AT_START:
            raise Failure(FAILED, f"{child.name} {how}, {child.deaths} times; see {child.log}", *child.last_words())
        pause = pause_before_restart(child.deaths)
        child.due_at = time.monotonic() + pause
        self.say(f"{child.name} {how}; it is started again in {pause:.1f} s (see {child.log})")

    def _next_due(self) -> float | None:
        due = [child.due_at for child in self._started if child.process is None and child.due_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _stop(self) -> None:
        """API first: it takes no more work. Then the workers, side by side. Then what they all need."""
        for number in sorted({child.stops for child in self._started}):
            together = [child for child in self._started if child.stops == number]
            for child in together:
                child.ask_to_stop()
            for child in together:
                child.stop(self._patience)

    def _patience(self, seconds: float) -> None:
        self._sleep(seconds)
        if self.stopping > 1:
            # A second Ctrl-C: the user does not want to wait. Workers may be killed at any point without harm.
            for child in self._started:
                child.stop_seconds = 0.0
                child.signal_all(signal.SIGKILL)

    # -- signals ----------------------------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        self._wake = os.pipe()
        os.set_blocking(self._wake[0], False)
        os.set_blocking(self._wake[1], False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)
        if self.passes_hangup:
            signal.signal(signal.SIGHUP, self._on_hangup)

    def _on_stop_signal(self, *_: object) -> None:
        self.stopping += 1

    def _on_hangup(self, *_: object) -> None:
        for child in self._started:
            if child.process is not None:
                child.process.send_signal(signal.SIGHUP)

    def _sleep(self, seconds: float | None) -> None:
        readable, _, _ = select.select([self._wake[0]], [], [], seconds)
        if readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake[0], 4096)


def trim_log(path: Path) -> None:
    """Put a log that has grown big aside, keeping one older copy."""
    if path.exists() and path.stat().st_size > BIGGEST_LOG:
        path.replace(path.with_suffix(path.suffix + ".1"))
