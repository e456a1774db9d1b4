"""In which order the parts of a final upload hear of it, and it gets their bytes: a crash may come between any two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.errors import SpoolFull
from engine.joining import Final, _make
from engine.models import SubmitOptions


class Disk:
    """What happened, in order; `full`: there is no room for bytes."""

    def __init__(self, *, full: bool = False) -> None:
        self.log: list[str] = []
        self.full = full
        self.uploads = self
        self.settings = self
        self.max_size = None

    async def make(self, note: Any) -> str:
        self.log.append(f"made, of {note.length} bytes")
        return "final"

    async def remove(self, job: str, end: str) -> None:
        self.log.append(f"{job}: {end}")

    @asynccontextmanager
    async def hold(self, job: str) -> AsyncIterator[Disk]:
        yield self

    async def join(self, parts: list[Part]) -> None:
        if self.full:
            raise SpoolFull("full")
        self.log.append("bytes of " + ", ".join(part.name for part in parts))


class Part:
    def __init__(self, name: str, disk: Disk) -> None:
        self.name, self.disk, self.offset = name, disk, 2

    async def belong_to(self, final: str) -> None:
        self.disk.log.append(f"{self.name} belongs to {final}")


def make(disk: Disk) -> None:
    async def prepare(size: int) -> Any:
        return size

    final = Final(prepare, SubmitOptions(), "final;a b", None)
    asyncio.run(_make(disk, [Part("a", disk), Part("b", disk)], final))  # type: ignore[arg-type,list-item]


def test_the_parts_know_of_it_before_it_can_become_a_job() -> None:
    """One that is whole is accepted by whoever finds it: nobody may then make another one of the same parts."""
    disk = Disk()
    make(disk)
    assert disk.log == ["made, of 4 bytes", "a belongs to final", "b belongs to final", "bytes of a, b"]


def test_nothing_is_left_of_one_that_gets_no_bytes() -> None:
    disk = Disk(full=True)
    with pytest.raises(SpoolFull):
        make(disk)
    assert disk.log[-1] == "final: discard"
