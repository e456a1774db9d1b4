"""The first thing a child of `bucketline up` runs: ties its life to its parent's, then becomes what it is to be.

`python -P -m bucketline.child PARENT COMMAND…`, where COMMAND is a command of ours, or `exec PROGRAM…`.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
NICE = {"worker": 10}
"""Beside each other on a small machine, answering clients comes before carrying parts: a worker that competes for every
cycle has a tenth of a core. At 15 and 19 more was accepted, but on a busy machine workers hardly came up.
"""


def die_with(parent: int) -> None:
    """Ask the kernel for a SIGTERM when the parent is gone, however it went (Linux).

    The kernel means the parent's *thread* that made us: `up` makes its children on its main thread. The setting
    survives exec.
    """
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # It died before we asked: nobody will send that signal any more.
        sys.exit(0)


def give_way(nice: int) -> None:
    """Lower our priority. Linux weighs sessions against each other first (sched(7), autogroup): each child is one."""
    os.nice(nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def main(words: list[str]) -> int:
    parent, command, *rest = words
    die_with(int(parent))
    give_way(NICE.get(command, 0))
    if command == "exec":
        os.execv(rest[0], rest)
    from bucketline.cli import main as run

    return run([command, *rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
