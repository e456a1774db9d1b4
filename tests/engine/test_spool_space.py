"""The count of the spool's bytes: right after everything that can happen to a file, and cheap."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from engine.disk import Room
from engine.errors import SpoolFull
from engine.space import MARGIN, Space
from engine.spool import Spool
from tests.engine.spooling import MIB, FakeDisk, accept, commit, new_id, opened

GIB = 1 << 30


def used(spool: Spool) -> int:
    return spool.usage().used


def test_the_count_follows_every_step_of_a_file(tmp_path: Path) -> None:
    with opened(tmp_path, limit=GIB) as spool:
        known = spool.receive(new_id(), 3 * MIB)
        assert used(spool) == 3 * MIB  # announced is as good as used
        unknown = spool.receive(new_id(), None)
        unknown.write(bytes(2 * MIB))
        assert used(spool) == 5 * MIB
        small = spool.receive(new_id(), 10)
        assert used(spool) == 5 * MIB + 10

        known.write(bytes(3 * MIB))
        commit(known)
        unknown.write(bytes(5))
        commit(unknown)
        small.discard()
        assert used(spool) == 5 * MIB + 5

        spool.release(known.job_id)
        spool.release(known.job_id)
        assert used(spool) == 2 * MIB + 5
        spool.recount()
        assert used(spool) == 2 * MIB + 5

    with opened(tmp_path, limit=GIB) as restarted:
        assert used(restarted) == 2 * MIB + 5
        restarted.release(unknown.job_id)
        assert used(restarted) == 0


def test_receptions_that_a_crash_left_count_until_they_are_removed(tmp_path: Path) -> None:
    with opened(tmp_path, limit=GIB) as spool:
        left = spool.receive(new_id(), 3 * MIB)
        left.write(bytes(2 * MIB))
        with opened(tmp_path, limit=GIB) as restarted:
            assert used(restarted) == 3 * MIB  # its blocks are taken, though a third of the bytes never came
            restarted.remove_incoming(left.job_id)
            restarted.recount()
            assert used(restarted) == 0
        left.discard()


def test_processes_that_share_a_spool_learn_of_each_other(tmp_path: Path) -> None:
    with opened(tmp_path, limit=10 * MIB) as api, opened(tmp_path, limit=10 * MIB) as worker:
        mine = api.receive(new_id(), 4 * MIB)
        worker.recount()
        assert used(worker) == 4 * MIB

        mine.write(bytes(4 * MIB))
        commit(mine)
        small = api.receive(new_id(), 100)  # nothing of it is on the disk yet
        worker.release(mine.job_id)
        assert used(worker) == 0

        api.recount()
        assert used(api) == 100
        small.discard()
        assert used(api) == 0


def test_a_reception_in_this_process_is_not_counted_twice_by_a_walk(tmp_path: Path) -> None:
    with opened(tmp_path, limit=GIB) as spool:
        large, growing = spool.receive(new_id(), 3 * MIB), spool.receive(new_id(), None)
        growing.write(bytes(MIB))
        spool.recount()
        assert used(spool) == 4 * MIB
        large.discard()
        growing.discard()
        assert used(spool) == 0


def test_a_quota_refuses_what_does_not_fit_before_it_comes(tmp_path: Path) -> None:
    with opened(tmp_path, limit=3 * MIB) as spool:
        accept(spool, bytes(MIB))

        spool.room_for(2 * MIB)
        spool.room_for(None)
        with pytest.raises(SpoolFull) as caught:
            spool.room_for(2 * MIB + 1)
        assert caught.value.retry_after
        assert str(2 * MIB) in caught.value.detail
        with pytest.raises(SpoolFull):
            spool.receive(new_id(), 2 * MIB + 1)
        assert used(spool) == MIB

        accept(spool, bytes(2 * MIB))
        with pytest.raises(SpoolFull):
            spool.room_for(None)


def test_a_quota_stops_a_body_of_unknown_length_and_frees_it(tmp_path: Path) -> None:
    with opened(tmp_path, limit=3 * MIB) as spool:
        incoming = spool.receive(new_id(), None)
        incoming.write(bytes(2 * MIB))
        with pytest.raises(SpoolFull):
            incoming.write(bytes(2 * MIB))
        assert used(spool) == 0
        accept(spool, bytes(3 * MIB))


def test_without_a_limit_it_is_nine_tenths_of_the_disk(tmp_path: Path) -> None:
    disk = FakeDisk()
    disk.room_left = Room(total=1000 * GIB, free=900 * GIB, files=None)
    with opened(tmp_path, disk=disk) as spool:
        assert spool.usage() == (0, 900 * GIB, 900 * GIB - MARGIN)


def test_what_is_free_is_no_more_than_what_others_left_of_the_disk(tmp_path: Path) -> None:
    """Else nobody is warned of a disk that something else fills."""
    disk = FakeDisk()
    with opened(tmp_path, disk=disk, limit=100 * GIB) as spool:
        disk.room_left = Room(total=1000 * GIB, free=500 * GIB, files=None)
        coming = spool.receive(new_id(), MIB)
        assert spool.usage() == (MIB, 100 * GIB, 100 * GIB - MIB)
        coming.discard()
        disk.room_left = Room(total=1000 * GIB, free=10 * GIB, files=None)
        assert spool.usage() == (0, 100 * GIB, 10 * GIB - MARGIN)
        disk.room_left = Room(total=1000 * GIB, free=MARGIN // 2, files=None)
        assert spool.usage() == (0, 100 * GIB, 0)


def test_some_of_the_disk_is_left_to_others(tmp_path: Path) -> None:
    disk = FakeDisk()
    with opened(tmp_path, disk=disk, limit=1000 * GIB) as spool:
        disk.room_left = Room(total=1000 * GIB, free=10 * GIB, files=None)
        spool.room_for(10 * GIB - MARGIN)
        with pytest.raises(SpoolFull):
            spool.room_for(10 * GIB - MARGIN + 1)


def test_bytes_that_are_announced_and_not_written_are_not_free(tmp_path: Path) -> None:
    disk = FakeDisk()
    with opened(tmp_path, disk=disk, limit=GIB) as spool:
        disk.room_left = Room(total=100 * MIB, free=3 * MIB, files=None)  # of which 1 % stays free
        first, second = spool.receive(new_id(), MIB), spool.receive(new_id(), MIB // 2)
        with pytest.raises(SpoolFull):
            spool.receive(new_id(), MIB)
        first.discard()
        spool.receive(new_id(), MIB).discard()
        second.discard()


def test_a_disk_short_of_inodes_is_full(tmp_path: Path) -> None:
    disk = FakeDisk()
    with opened(tmp_path, disk=disk, limit=GIB) as spool:
        disk.room_left = Room(total=GIB, free=GIB, files=3)
        with pytest.raises(SpoolFull, match="inodes"):
            spool.room_for(1)


class Counted:
    """A space over pretended disk and files, walked by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.walks = 0
        self.on_disk = 0
        self.during: Callable[[], object] = lambda: None
        self.space = Space(10 * GIB, lambda: Room(100 * GIB, 50 * GIB, None), self._walk, clock=lambda: self.now)

    def _walk(self, mine: Collection[str]) -> int:
        self.walks += 1
        self.now += 0.5
        self.during()
        return self.on_disk


def test_walks_take_at_most_a_hundredth_of_a_core() -> None:
    counted = Counted()
    counted.space.recount()  # takes half a second
    asked_at = counted.now

    for second in range(1, 50):
        counted.now = asked_at + second
        counted.space.usage()
    assert counted.walks == 1


def test_a_walk_that_fails_keeps_the_count() -> None:
    counted = Counted()
    counted.on_disk = 7
    counted.space.recount()

    def broken() -> None:
        raise OSError(5, os.strerror(5))

    counted.during = broken
    counted.space.recount()
    assert counted.space.usage().used == 7


def test_what_is_announced_during_a_walk_is_not_lost() -> None:
    counted = Counted()
    counted.during = lambda: counted.space.announce("job", 5)
    counted.space.recount()
    assert counted.space.usage().used == 5
