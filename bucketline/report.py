"""What a user is told of files on their way: bars on a terminal (`bars`), plain lines elsewhere. Always on stderr."""

import sys
import threading
import time
from typing import Protocol

from bucketline.results import Job, Transfer

LINE_SECONDS = 5.0


class Reporter(Protocol):
    """Told about both halves of each file's way: to Bucketline, then to each destination."""

    def sending(self, file: str, size: int | None) -> None: ...
    def sent(self, file: str, sent: int) -> None: ...
    def accepted(self, file: str, job: Job) -> None: ...
    def moved(self, file: str, size: int | None, transfers: list[Transfer]) -> None: ...
    def ended(self, file: str, job: Job) -> None: ...
    def close(self) -> None: ...


def reporter() -> Reporter:
    """Bars when stderr is a terminal, lines when it is not."""
    if not sys.stderr.isatty():
        return Lines()
    from bucketline.bars import Bars

    return Bars()


def human_size(size: float | None) -> str:
    """`734003200` as `700.0 MiB`."""
    if size is None:
        return "?"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def trouble(transfer: Transfer) -> str:
    """Why a transfer does not get on, and what happens next; empty when it does."""
    if transfer.error is None:
        return ""
    text = transfer.error.detail or transfer.error.title
    return f"{text} (next attempt at {transfer.next_attempt_at})" if transfer.next_attempt_at else text


def verdict(file: str, job: Job) -> list[str]:
    """How a job ended, in one line per destination."""
    lines = []
    for transfer in job.transfers:
        if transfer.state == "succeeded":
            parts = f", {transfer.parts.total} parts" if (transfer.parts.total or 0) > 1 else ""
            lines.append(f"{file} → {transfer.url or transfer.destination} ({human_size(job.size)}{parts})")
        else:
            why = trouble(transfer)
            lines.append(f"{file} → {transfer.destination}: {transfer.state}" + (f": {why}" if why else ""))
    if not lines or (job.error is not None and not any(t.error for t in job.transfers)):
        why = f": {job.error.detail or job.error.title}" if job.error else ""
        lines.append(f"{file}: {job.state}{why}")
    if not job.succeeded:
        lines.append(
            f"  job {job.id} {job.state.replace('_', ' ')}; `bucketline jobs retry {job.id}` tries what is missing"
        )
    return lines


class Lines:
    """Plain lines, at most one per file, destination and few seconds: for logs and pipes."""

    def __init__(self, seconds: float = LINE_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._last: dict[tuple[str, str], float] = {}
        self._troubles: dict[tuple[str, str], str] = {}
        self._sizes: dict[str, int | None] = {}
        self._told: dict[tuple[str, str], int] = {}

    def _print(self, line: str) -> None:
        with self._lock:
            print(line, file=sys.stderr, flush=True)

    def sending(self, file: str, size: int | None) -> None:
        self._started[file], self._sizes[file] = time.monotonic(), size
        self._last[file, ""] = time.monotonic()
        self._print(f"{file}: sending {human_size(size) if size is not None else 'until the input ends'}")

    def sent(self, file: str, sent: int) -> None:
        self._now_and_then(file, "", sent, self._sizes.get(file), "sent")

    def accepted(self, file: str, job: Job) -> None:
        if file not in self._started:
            self._print(f"{file}: job {job.id}")
            return
        seconds = max(time.monotonic() - self._started[file], 1e-6)
        speed = f"{human_size(job.received / seconds)}/s"
        self._print(f"{file}: sent {human_size(job.received)} in {seconds:.1f} s ({speed}), job {job.id}")

    def moved(self, file: str, size: int | None, transfers: list[Transfer]) -> None:
        for transfer in transfers:
            why = trouble(transfer)
            if why and self._troubles.get((file, transfer.destination)) != why:
                self._troubles[file, transfer.destination] = why
                self._print(f"{file} → {transfer.destination}: {why}")
            self._now_and_then(file, transfer.destination, transfer.sent, size, "stored")

    def _now_and_then(self, file: str, place: str, done: int, size: int | None, verb: str) -> None:
        now = time.monotonic()
        if now - self._last.setdefault((file, place), now) < self._seconds or self._told.get((file, place)) == done:
            return
        self._last[file, place], self._told[file, place] = now, done
        share = f" ({100 * done // size} %)" if size else ""
        self._print(f"{file}{' → ' + place if place else ''}: {human_size(done)} {verb}{share}")

    def ended(self, file: str, job: Job) -> None:
        for line in verdict(file, job):
            self._print(line)

    def close(self) -> None:
        pass
