"""Packs: what was appended is found by every process until it is released, whatever happened to the file meanwhile."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine import pack_records, packs
from engine.disk import MAX_BUFFERS
from engine.errors import SourceCorrupt, SpoolFull, SpoolUnavailable
from engine.packs import FULL_BYTES, MOST_BYTES
from engine.spool import Spool
from tests.engine.spooling import FakeDisk, accept, commit, files_in, left_in, new_id, opened, packed_in


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def spool(tmp_path: Path, disk: FakeDisk) -> Iterator[Spool]:
    with opened(tmp_path / "spool", disk=disk, limit=1 << 30) as spool:
        yield spool


def pack_of(spool: Spool) -> Path:
    (path,) = (spool.root / "packs").glob("*.pack")
    return path


def content(spool: Spool, job: str) -> bytes:
    source = spool.source(job)
    with source.body(0, source.size).open() as reader:
        return reader.read()


def test_a_packed_job_is_read_as_any_other(spool: Spool) -> None:
    jobs = {accept(spool, data): data for data in (b"", b"bytes", os.urandom(MOST_BYTES))}
    assert packed_in(spool) == sorted(jobs)
    for job, data in jobs.items():
        assert content(spool, job) == data
        assert spool.source(job).intact(0, len(data))
    assert spool.usage().used == sum(map(len, jobs.values()))


def test_what_is_too_large_for_a_pack_has_files_of_its_own(spool: Spool, tmp_path: Path) -> None:
    job = accept(spool, bytes(MOST_BYTES + 1))
    assert files_in(tmp_path) == [f"spool/jobs/{job}.data", f"spool/jobs/{job}.json"]


def test_many_pieces_fit_one_write(spool: Spool) -> None:
    for pieces in (MAX_BUFFERS - 3, MAX_BUFFERS - 2, MAX_BUFFERS):
        incoming = spool.receive(new_id(), None)
        for _ in range(pieces):
            incoming.write(b"x")
        commit(incoming)
        assert content(spool, incoming.job_id) == b"x" * pieces


def test_a_newer_sidecar_lies_beside_the_pack(spool: Spool) -> None:
    job = accept(spool, b"bytes")
    old = spool.read_sidecar(job) or b""

    spool.rewrite_sidecar(job, old.replace(b"holiday", b"another"))

    assert b"another" in (spool.read_sidecar(job) or b"")
    assert [found for found, _ in spool.sidecars()] == [job]
    assert list(spool.incomings()) == []  # it is no half of anything
    spool.remove_incoming(job)
    assert b"another" in (spool.read_sidecar(job) or b"")
    assert content(spool, job) == b"bytes"
    spool.release(job)
    assert left_in(spool) == []


class SlowDisk(FakeDisk):
    """Lets nobody out of an fsync before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def sync(self, fd: int) -> None:
        self.asked.release()
        assert self.go.wait(30)
        super().sync(fd)

    def stop(self) -> None:
        self.go.clear()
        while self.asked.acquire(blocking=False):
            pass
        self.forget_calls()

    def wait_for(self, call: str, count: int) -> None:
        while self.calls[call] < count:
            threading.Event().wait(0.005)


def test_those_of_one_moment_share_an_fsync(tmp_path: Path) -> None:
    disk = SlowDisk()
    with opened(tmp_path, disk=disk) as spool:
        accept(spool, b"the first one makes the pack")
        disk.stop()
        threads = [threading.Thread(target=accept, args=(spool, b"bytes")) for _ in range(9)]
        threads[0].start()
        assert disk.asked.acquire(timeout=30)
        for thread in threads[1:]:
            thread.start()
        disk.wait_for("write", len(threads))
        disk.go.set()
        for thread in threads:
            thread.join()
        assert disk.calls["sync"] == 2  # that of the first, and one for all who came meanwhile
        assert len(packed_in(spool)) == 10


def test_a_full_pack_is_followed_by_another(spool: Spool) -> None:
    jobs = [accept(spool, bytes(MOST_BYTES)) for _ in range(2 * FULL_BYTES // MOST_BYTES + 1)]
    assert packed_in(spool) == sorted(jobs)
    assert len(files_in(spool.root)) == 3  # with their headers, sixteen are a little more than four MiB

    for job in jobs:
        spool.release(job)

    assert len(files_in(spool.root)) == 1, "the one in use"
    assert left_in(spool) == []


def test_a_pack_stays_while_one_of_its_jobs_is_needed(spool: Spool) -> None:
    lives, ends = accept(spool, b"lives"), accept(spool, b"ends")
    spool.release(ends)

    assert len(left_in(spool)) == 1
    assert content(spool, lives) == b"lives"
    assert spool.usage().used == 5
    spool.release(lives)
    assert left_in(spool) == []


def test_an_idle_pack_gets_no_more_records(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "IDLE_SECONDS", 3600.0)
    first = accept(spool, b"bytes")
    spool.tidy()
    second = accept(spool, b"at once: into the same one")
    assert len(files_in(spool.root)) == 1

    monkeypatch.setattr(packs, "IDLE_SECONDS", 1e-9)
    spool.tidy()
    third = accept(spool, b"later: into another one")

    assert len(files_in(spool.root)) == 2
    assert packed_in(spool) == sorted([first, second, third])


def test_processes_share_packs(tmp_path: Path) -> None:
    with opened(tmp_path) as api, opened(tmp_path) as one, opened(tmp_path) as two:
        jobs = [accept(api, b"bytes") for _ in range(4)]
        assert packed_in(one) == packed_in(two) == sorted(jobs)
        one.release(jobs[0])
        two.release(jobs[1])
        assert packed_in(api) == packed_in(one) == packed_in(two) == sorted(jobs[2:])
        assert api.read_sidecar(jobs[0]) is None
        one.release(jobs[2])
        two.release(jobs[3])
        for worker in (one, two):
            worker.tidy()
        assert len(files_in(tmp_path)) == 1, "nobody removes what another one may append to"
        assert left_in(api) == []
        assert packed_in(one) == packed_in(two) == []


def test_a_pack_whose_process_is_gone_is_removed_by_any_other(tmp_path: Path) -> None:
    with opened(tmp_path) as worker:
        with opened(tmp_path) as api:
            job = accept(api, b"bytes")
        assert packed_in(worker) == [job]
        worker.release(job)
        assert files_in(tmp_path) == []


def test_a_mark_that_a_power_cut_undid_brings_the_job_back_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        job = accept(spool, b"bytes")
        before = pack_of(spool).read_bytes()
        spool.release(job)
        assert packed_in(spool) == []
        pack_of(spool).write_bytes(before)
        with opened(tmp_path) as restarted:
            assert packed_in(restarted) == [job]
            assert content(restarted, job) == b"bytes"


# -- damage ----------------------------------------------------------------------------------------------------------


def test_the_rest_of_a_crash_never_counts_and_hides_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        first = accept(spool, b"first")
        kept = pack_of(spool).stat().st_size
        accept(spool, b"second")
        whole, name = pack_of(spool).read_bytes(), pack_of(spool).name
    root = tmp_path / "after"
    (root / "packs").mkdir(parents=True)
    for cut in range(kept, len(whole)):
        for rest in (b"", bytes(len(whole) - cut), b"\xff" * 200):
            (root / "packs" / name).write_bytes(whole[:cut] + rest)
            with opened(root) as spool:
                assert [found for found, _ in spool.sidecars()] == [first]
                assert content(spool, first) == b"first"
                spool.release(first)
                if (root / "packs" / name).exists():  # a header that came whole tells of a job that nobody releases
                    assert left_in(spool) == [f"packs/{name}"]
                    os.utime(root / "packs" / name, (0, 0))
                assert left_in(spool) == []


def test_a_damaged_record_is_never_sent_and_hides_none_behind_it(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        first, second, third = (accept(spool, data) for data in (b"first", b"second", b"third"))
        path = pack_of(spool)
        path.write_bytes(path.read_bytes().replace(b"second", b"sEcond"))
        with opened(tmp_path) as fresh:
            assert {found for found, _ in fresh.sidecars()} == {first, third}
            assert content(fresh, third) == b"third"
            for read in (fresh.source, fresh.read_sidecar):
                with pytest.raises(SourceCorrupt):
                    read(second)
            fresh.release(second)
            assert fresh.read_sidecar(second) is None


def test_a_write_that_failed_leaves_those_before_and_after_it(spool: Spool, disk: FakeDisk) -> None:
    before = accept(spool, b"before")
    disk.fail("write", errno.ENOSPC)
    with pytest.raises(SpoolFull):
        accept(spool, b"fails")
    after = accept(spool, b"after")
    assert packed_in(spool) == sorted([before, after])
    assert len(files_in(spool.root)) == 2


def test_a_failed_fsync_fails_all_that_it_was_for(tmp_path: Path) -> None:
    disk = SlowDisk()
    with opened(tmp_path, disk=disk) as spool:
        before = accept(spool, b"before")
        disk.stop()
        disk.fail("sync", errno.EIO)
        refused: list[str] = []

        def send() -> None:
            incoming = spool.receive(new_id(), 5)
            incoming.write(b"bytes")
            try:
                commit(incoming)
            except SpoolUnavailable:
                refused.append(incoming.job_id)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        disk.wait_for("write", len(threads))
        disk.go.set()
        for thread in threads:
            thread.join()

        assert len(refused) == 4
        assert packed_in(spool) == [before]
        after = accept(spool, b"after")
        assert content(spool, after) == b"after"


def test_tidying_looks_at_no_more_than_it_must_and_never_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, durability="cache") as api:
        jobs = [accept(api, b"bytes") for _ in range(500)]
    looked: list[object] = []
    is_marked = pack_records.Pack.is_marked
    monkeypatch.setattr(
        pack_records.Pack, "is_marked", lambda pack, record: looked.append(record) or is_marked(pack, record)
    )
    with opened(tmp_path, durability="cache") as one, opened(tmp_path, durability="cache") as two:
        for job in jobs[:100]:
            one.release(job)
        looked.clear()
        two.tidy()
        assert len(looked) == 101  # those that are done with, and the first one that is not
        looked.clear()
        two.tidy()
        assert len(looked) == 1

        monkeypatch.setattr(os, "listdir", lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        two.tidy()


def test_what_a_crash_left_without_a_name_goes_when_it_is_old(spool: Spool) -> None:
    left = spool.root / "packs" / f".{new_id()}"
    left.write_bytes(b"half a record")
    spool.tidy()
    assert left.exists(), "somebody may be about to name it"
    assert left_in(spool) == []


# -- any order of everything -----------------------------------------------------------------------------------------


class Everything(RuleBasedStateMachine):
    """Two processes that append, release, tidy and come back, against a dictionary."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name)
        self.jobs: dict[str, bytes] = {}
        self.processes = [self.process(), self.process()]

    def process(self) -> Spool:
        spool = Spool(self.root, durability="cache")
        spool.open()
        return spool

    def teardown(self) -> None:
        for job in self.jobs:
            self.processes[0].release(job)
        for spool in self.processes:
            spool.close()
        assert files_in(self.root) == []
        self.directory.cleanup()

    @rule(who=st.integers(0, 1), size=st.sampled_from([0, 1, 5000, MOST_BYTES, MOST_BYTES + 1]))
    def append(self, who: int, size: int) -> None:
        data = os.urandom(size)
        self.jobs[accept(self.processes[who], data)] = data

    @rule(who=st.integers(0, 1), which=st.integers(0, 100))
    def release(self, who: int, which: int) -> None:
        if self.jobs:
            job = list(self.jobs)[which % len(self.jobs)]
            self.processes[who].release(job)
            del self.jobs[job]

    @rule(who=st.integers(0, 1))
    def tidy(self, who: int) -> None:
        self.processes[who].tidy()

    @rule(who=st.integers(0, 1))
    def end_pack(self, who: int) -> None:
        left_in(self.processes[who])

    @rule(who=st.integers(0, 1))
    def come_back(self, who: int) -> None:
        self.processes[who].close()
        self.processes[who] = self.process()

    @invariant()
    def both_see_the_same(self) -> None:
        for spool in self.processes:
            assert {job for job, _ in spool.sidecars()} == self.jobs.keys()
            for job, data in self.jobs.items():
                assert content(spool, job) == data
            spool.recount()
            assert spool.usage().used == sum(map(len, self.jobs.values()))


TestEverything = Everything.TestCase
TestEverything.settings = settings(max_examples=30, stateful_step_count=20)
