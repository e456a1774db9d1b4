"""That a service keeps few heaps when it is started as an operator starts it."""

import itertools
import platform
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.stack import PATIENCE, Stack
from tests.servers import eventually, needs

LOCAL = 'default = "disk"\n[destinations.disk]\nbackend = "local"\nroot = "objects"\n'
HEAP_KNOWN = platform.libc_ver()[0] == "glibc" and sys.maxsize > 1 << 32
HEAP = 64 << 20  # glibc reserves so much for each heap but the first, at a multiple of it (HEAP_MAX_SIZE, 64 bits)


def heaps(pid: int) -> int:
    """The heaps of a process: the used start of each is writable, and the reserved rest up to its end has no rights."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    spans = [(int(m[1], 16), int(m[2], 16), m[3]) for m in map(re.compile(r"(\w+)-(\w+) (\S+) ").match, lines) if m]
    return 1 + sum(
        start % HEAP == 0 and rights == "rw-p" and end == rest and last == start + HEAP and none == "---p"
        for (start, end, rights), (rest, last, none) in itertools.pairwise(spans)
    )


@pytest.mark.parametrize(("said", "most"), [({}, 2), ({"MALLOC_ARENA_MAX": "4"}, 4)], ids=["ours", "the operator's"])
def test_a_worker_of_many_threads_keeps_few_heaps(said: dict[str, str], most: int) -> None:
    needs(HEAP_KNOWN, "glibc for 64 bits")
    with Stack(LOCAL) as stack:
        stack.valkey.start()
        stack.environ["BUCKETLINE_REDIS_URL"] = stack.valkey.url
        stack.api()
        worker = stack.worker(**said)
        stack.check_end(stack.talk.submit(b"something to do")["id"])
        eventually(lambda: heaps(worker.pid) == most, f"the worker has {most} heaps", PATIENCE)
