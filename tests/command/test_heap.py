"""How a service keeps its memory. Faults are counted by the kernel, so these tests know the real allocator."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")

# Bytes of a body: what glibc learns its thresholds from, then 2 MiB at the end of the heap that come and go.
COME_AND_GO = """
import resource, sys
from engine import heap
if sys.argv[1] == "settled":
    heap.settle()
blocks = [bytes(250_000) for _ in range(8)]
blocks.clear()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [bytearray(b"x" * 250_000) for _ in range(8)]
    blocks.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 100 * 8 * 250_000 // 4096

HEAPS = """
import ctypes, threading
from engine import heap
heap.settle()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
gate = threading.Barrier(9)
def take():
    libc.malloc(100_000)
    gate.wait()
    gate.wait()
for _ in range(8):
    threading.Thread(target=take, daemon=True).start()
gate.wait()
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, stream)
libc.fflush(stream)
gate.wait()
"""


def run(program: str, *words: str, **variables: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**environ, **variables},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_the_bytes_of_a_body_are_not_new_pages_each_time() -> None:
    assert int(run(COME_AND_GO, "settled")) < PAGES / 10
    assert int(run(COME_AND_GO, "left alone")) > PAGES / 10  # else this test shows nothing


def test_what_the_operator_says_counts() -> None:
    theirs = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "131072"}
    assert int(run(COME_AND_GO, "settled", **theirs)) > PAGES / 10


@pytest.mark.parametrize(("theirs", "heaps"), [({}, 2), ({"MALLOC_ARENA_MAX": "4"}, 4)], ids=["ours", "the operator's"])
def test_many_threads_share_few_heaps(theirs: dict[str, str], heaps: int) -> None:
    assert run(HEAPS, **theirs).count("<heap ") == heaps
