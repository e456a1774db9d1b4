"""What a tree of processes costs, read from /proc: CPU seconds, peak and proportional memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
POLL_SECONDS = 0.01


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (field 3 of the manual is index 0): the name may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, IndexError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time so far of the processes and of their children that have ended."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += sum(int(value) for value in _stat(pid)[11:15])
    return total / TICKS


def _kib(path: str, field: str) -> int:
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return 0


def peak_bytes(pid: int) -> int:
    """The largest resident set since the process began, or since `forget_peak`."""
    return _kib(f"/proc/{pid}/status", "VmHWM:") * 1024


def forget_peak(pid: int) -> None:
    """Let the kernel measure the peak from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def pss_bytes(pids: Sequence[int]) -> int:
    """Proportional memory: a page shared by two processes counts half for each, so a sum over processes is true."""
    return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids) * 1024


def title(pid: int) -> str:
    """The command line, or what setproctitle made of it; empty for a process that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def maps(pid: int) -> str:
    """The files mapped into a process: its shared libraries among them."""
    return Path(f"/proc/{pid}/maps").read_text()


@dataclass(frozen=True)
class Run:
    """A command that ran to its end, with what it cost from its first instruction to its last."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    ended_at: float
    output: str


def run(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a command and measure it. Raises RuntimeError with its messages when it fails.

    The peak is polled: `ru_maxrss` would begin with the size of the process that spawned the command.
    """
    before = os.times()
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(POLL_SECONDS)
    seconds, ended_at = time.monotonic() - started, time.time()
    output, messages = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {messages[-2000:]}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(seconds, used, peak, ended_at, output)
