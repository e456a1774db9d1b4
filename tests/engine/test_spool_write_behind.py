"""Long files are written while they come; the promise stays with the fsync at the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from engine.disk import Disk
from engine.write_behind import STEP
from tests.engine.spooling import MIB, commit, new_id, opened


class Hinted(Disk):
    """Notes the size that a file had at each request to begin writing; the first one waits until it may go on."""

    def __init__(self, *, durable: bool = True) -> None:
        super().__init__(durable=durable)
        self.sizes: list[int] = []
        self.go_on = threading.Event()

    def start_sync(self, fd: int) -> None:
        self.sizes.append(os.fstat(fd).st_size)
        if len(self.sizes) == 1:
            self.go_on.wait(10)
        super().start_sync(fd)


def test_a_long_file_is_written_while_it_comes_and_a_slow_disk_is_not_asked_twice(tmp_path: Path) -> None:
    disk = Hinted()
    with opened(tmp_path, disk=disk) as spool:
        incoming = spool.receive(new_id(), 4 * STEP)
        for _ in range(4 * STEP // MIB):
            incoming.write(bytes(MIB))  # nothing here waits for the disk, which has not answered the first request
        disk.go_on.set()
        commit(incoming)

        assert spool.source(incoming.job_id).intact(0, 4 * STEP)
    assert disk.sizes[0] >= STEP
    assert len([size for size in disk.sizes if size > MIB]) == 2  # the first, and the one of the commit


def test_a_reception_may_be_discarded_while_it_is_written(tmp_path: Path) -> None:
    disk = Hinted()
    with opened(tmp_path, disk=disk) as spool:
        incoming = spool.receive(new_id(), None)
        for _ in range(STEP // MIB):
            incoming.write(bytes(MIB))
        incoming.discard()
        disk.go_on.set()
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_without_durability_the_kernel_decides_when_to_write(tmp_path: Path) -> None:
    disk = Hinted(durable=False)
    disk.go_on.set()
    with opened(tmp_path, disk=disk) as spool:
        incoming = spool.receive(new_id(), STEP)
        incoming.write(bytes(STEP))
        assert disk.sizes == []
        commit(incoming)
