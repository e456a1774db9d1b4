"""The ends of jobs beside the spool: once written down they are found again, whatever happened in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import SpoolFull, SpoolUnavailable
from engine.models import Tombstone
from engine.tombstones import KEPT_SECONDS, SEGMENT_SECONDS, Tombstones
from tests.engine.power_cuts import PowerCuts, put_on_disk
from tests.engine.spooling import FakeDisk, new_id


def end(job: str | None = None, run: int = 1, **fields: str) -> Tombstone:
    return Tombstone(id=job or new_id(), run=run, ended_ms=1, job=fields)


def ids(tombstones: Tombstones) -> list[str]:
    return [one.id for one in tombstones.scan()]


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_an_end_is_found_by_every_process(tmp_path: Path) -> None:
    mine, other = Tombstones(tmp_path / "ended"), Tombstones(tmp_path / "ended")
    assert ids(mine) == []
    first, second = end(state="succeeded"), end()
    mine.append([first])
    other.append([second])

    assert mine.find([first.id, second.id, new_id()]) == {first.id: first, second.id: second}
    assert other.find([]) == {}
    mine.close()
    other.close()


def test_the_end_of_the_last_run_rules(tmp_path: Path) -> None:
    job = new_id()
    tombstones = Tombstones(tmp_path)
    tombstones.append([end(job, 2, state="succeeded"), end(job, 1, state="failed")])
    tombstones.append([end(job, 2, state="succeeded", again="1")])

    assert tombstones.find([job])[job].job == {"state": "succeeded", "again": "1"}
    tombstones.close()


def test_many_ends_cost_one_sync(tmp_path: Path) -> None:
    disk = FakeDisk()
    tombstones = Tombstones(tmp_path, disk=disk)
    tombstones.append([end()])
    disk.forget_calls()

    tombstones.append([end() for _ in range(500)])

    assert disk.log == ["write", "sync"]
    assert len(ids(tombstones)) == 501
    tombstones.close()


@pytest.mark.parametrize(("call", "code"), [("create", errno.ENOSPC), ("write", errno.ENOSPC), ("sync", errno.EIO)])
def test_after_a_failure_a_new_file_is_begun(tmp_path: Path, call: str, code: int) -> None:
    disk = FakeDisk()
    tombstones = Tombstones(tmp_path, disk=disk)
    if call != "create":
        tombstones.append([end()])
    disk.fail(call, code)

    with pytest.raises(SpoolFull if code == errno.ENOSPC else SpoolUnavailable):
        tombstones.append([end()])

    again = end()
    tombstones.append([again])
    assert ids(tombstones)[-1] == again.id
    assert len(list(tmp_path.iterdir())) == (1 if call == "create" else 2)
    tombstones.close()


def test_a_torn_line_counts_for_nothing_and_costs_no_other(tmp_path: Path) -> None:
    tombstones = Tombstones(tmp_path)
    kept = end()
    tombstones.append([kept, end()])
    tombstones.close()
    (segment,) = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes()[:-20])

    assert ids(Tombstones(tmp_path)) == [kept.id]


def test_files_are_begun_every_hour_and_removed_after_a_day(tmp_path: Path) -> None:
    clock = Clock(1_000_000.0)
    tombstones = Tombstones(tmp_path, clock=clock)
    tombstones.append([end()])
    clock.now += SEGMENT_SECONDS + 1
    tombstones.append([end()])
    old, young = sorted(tmp_path.iterdir())
    touch(old, clock.now - KEPT_SECONDS - 1)
    touch(young, clock.now)

    tombstones.expire()

    assert list(tmp_path.iterdir()) == [young]
    tombstones.close()


def touch(path: Path, at: float) -> None:
    os.utime(path, (at, at))


def test_a_power_cut_after_the_call_changes_nothing(tmp_path: Path) -> None:
    first, second = end(), end()

    def write(tombstones: Tombstones) -> None:
        tombstones.append([first])
        tombstones.append([second])

    at_the_end, any_time = states_of(tmp_path, write)
    for number, state in enumerate(at_the_end):
        put_on_disk(state, tmp_path / f"end{number}")
        assert set(ids(Tombstones(tmp_path / f"end{number}" / "ended"))) == {first.id, second.id}
    for number, state in enumerate(any_time):
        put_on_disk(state, tmp_path / f"any{number}")
        assert set(ids(Tombstones(tmp_path / f"any{number}" / "ended"))) <= {first.id, second.id}


def states_of(directory: Path, write: Callable[[Tombstones], None]) -> tuple[set[frozenset[tuple[str, bytes]]], ...]:
    disk = PowerCuts(directory / "spool")
    tombstones = Tombstones(directory / "spool" / "ended", disk=disk)
    write(tombstones)
    tombstones.close()
    return disk.note(), set().union(*disk.moments)
