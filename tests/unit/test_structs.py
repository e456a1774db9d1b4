"""Struct types are ready for threads: the first look at one kills the process when two threads are first together."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from backends.structs import prepare_structs

looks: list[str] = []


def looked(at: str) -> type:
    looks.append(at)
    return int


RACE = """
import sys, threading
from typing import Annotated
import msgspec
from backends.structs import prepare_structs

class Inner(msgspec.Struct):
    number: int

def fresh():
    class Fresh(msgspec.Struct):
        key: str
        inner: Inner
        size: Annotated[int, msgspec.Meta(ge=0)] = 0
        part_size: Annotated[int, msgspec.Meta(ge=1)] = 1
        checksum: str = ""
    return Fresh

def race(kind):
    start = threading.Barrier(3)
    def first():
        start.wait()
        msgspec.convert({"key": "a", "inner": {"number": 1}}, kind)
    threads = [threading.Thread(target=first) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

sys.setswitchinterval(1e-6)
for _ in range(int(sys.argv[2])):
    kind = fresh()
    if sys.argv[1] == "prepared":
        prepare_structs()
    race(kind)
print("alive")
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=100)


def test_types_that_were_made_ready_survive_threads() -> None:
    assert run(RACE, "prepared", "500").stdout == "alive\n"


def test_a_type_is_looked_at_once() -> None:
    class Watched(msgspec.Struct):
        number: looked("number")  # type: ignore[valid-type]

    prepare_structs()
    assert looks == ["number"]
    assert msgspec.convert({"number": 1}, Watched).number == 1
    prepare_structs()
    assert looks == ["number"]


def test_a_type_that_cannot_be_decoded_harms_nobody() -> None:
    class Odd(msgspec.Struct):
        mystery: NeverDefined  # noqa: F821

    prepare_structs()
    with pytest.raises(NameError):
        msgspec.convert({}, Odd)
