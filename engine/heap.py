"""How glibc keeps the memory of a service: few heaps, and free memory for the next bytes instead of giving it back.

By itself glibc learns from the first large block that is freed, 256 KiB of a body, that it may keep 512 KiB at the end
of a heap. From then on, wherever the heap happens to end in such blocks, each that is freed goes back to the kernel and
comes again as new pages that have to be cleared: 137,000 page faults and 2.1 CPU seconds for a body of 1 GiB, in every
third start of an API or so, where the others took 10 to 1,000 faults and 1.1 s (2 cores, 2026-11).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

MIB = 1 << 20
# malloc.h of glibc: the number of an option, the variable by which an operator sets it, and what we set.
OPTIONS = (
    # By itself it keeps a heap for each of our many threads; with two a worker's peak in `make bench` was 118 MB
    # instead of 120 and 122 (2026-11).
    (-8, "MALLOC_ARENA_MAX", 2),
    # Four bodies at once took 1.2 to 1.4 s for 1 GiB before, 0.8 to 1.0 s with 4 MiB, the same with 16 MiB.
    (-1, "MALLOC_TRIM_THRESHOLD_", 4 * MIB),
    # Larger blocks are mapped each for itself, and leave nothing behind. Setting it ends the learning.
    (-3, "MALLOC_MMAP_THRESHOLD_", 4 * MIB),
)


def settle(environ: Mapping[str, str] = os.environ) -> None:
    """To be called once, before there are threads. What the operator set stays; without glibc nothing happens."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return
    for number, name, value in OPTIONS:
        if name not in environ:
            set_option(number, value)


def give_back() -> None:
    """To be called when all is imported, and nothing served yet: what start-up freed goes back to the kernel.

    Where Python may not keep what it compiles (PYTHONDONTWRITEBYTECODE, a file system that is read only), an idle
    `bucketline up` held 222 MiB without it and 182 MiB with it (2026-11). Without glibc nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
