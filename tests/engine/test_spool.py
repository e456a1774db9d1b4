"""The life of a file in the spool: received, accepted, read, ended, released."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.checksums import crc32c
from engine.errors import EngineError, NotFound, SourceCorrupt, SpoolUnavailable, TooLarge
from engine.spool import Spool
from tests.engine.spooling import (
    MIB,
    FakeDisk,
    accept,
    commit,
    files_in,
    left_in,
    new_id,
    opened,
    packed_in,
    sidecar_of,
)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with opened(tmp_path / "spool", limit=1 << 30) as spool:
        yield spool


def test_an_accepted_file_is_read_back_byte_by_byte(spool: Spool) -> None:
    data = os.urandom(3 * MIB + 17)

    job = accept(spool, data)

    source = spool.source(job)
    body = source.body(MIB, 2 * MIB)
    assert source.size == len(data)
    assert source.crc32c == crc32c(data)
    assert body.crc32c == crc32c(data[MIB : 3 * MIB])
    with body.open() as reader:
        assert reader.read() == data[MIB : 3 * MIB]
    assert [found for found, _ in spool.sidecars()] == [job]


@pytest.mark.parametrize("size", [0, None])
def test_an_empty_file_is_a_file(spool: Spool, size: int | None) -> None:
    job = accept(spool, b"", size=size)

    source = spool.source(job)
    assert source.size == 0
    assert source.body(0, 0).crc32c == 0
    assert source.intact(0, 0)


def test_nothing_can_be_seen_before_the_commit(spool: Spool) -> None:
    incoming = spool.receive(new_id(), 3 * MIB)
    incoming.write(os.urandom(3 * MIB))
    incoming.sync_and_close()

    assert list(spool.sidecars()) == []
    assert [found for found, _ in spool.incomings()] == [incoming.job_id]

    commit(incoming)
    assert [found for found, _ in spool.sidecars()] == [incoming.job_id]
    assert list(spool.incomings()) == []


def test_a_small_file_is_accepted_with_one_write_and_one_sync(tmp_path: Path) -> None:
    disk = FakeDisk()
    with opened(tmp_path / "spool", disk=disk) as spool:
        accept(spool, b"the first one makes the pack")
        disk.forget_calls()
        incoming = spool.receive(new_id(), 10)
        incoming.write(b"0123")
        incoming.write(b"456789")
        assert disk.log == []  # the event loop has not waited for the disk

        commit(incoming)

        assert disk.log == ["write", "sync"]


def test_small_pieces_become_large_writes(tmp_path: Path) -> None:
    disk = FakeDisk()
    with opened(tmp_path / "spool", disk=disk) as spool:
        disk.forget_calls()
        incoming = spool.receive(new_id(), None)
        for _ in range(64):
            incoming.write(bytes(64 << 10))
        assert disk.calls["write"] == 1 + 12  # the first of 1 MiB, then 256 KiB each
        incoming.discard()


def test_pieces_of_one_byte_do_not_pile_up(tmp_path: Path) -> None:
    disk = FakeDisk()
    with opened(tmp_path / "spool", disk=disk) as spool:
        incoming = spool.receive(new_id(), None)
        for _ in range(3000):
            incoming.write(b"x")
        assert disk.calls["write"] == 2
        commit(incoming)
        assert spool.source(incoming.job_id).crc32c == crc32c(b"x" * 3000)


def test_a_buffer_may_be_used_again_after_the_write(spool: Spool) -> None:
    buffer = bytearray(b"first")
    incoming = spool.receive(new_id(), 10)
    incoming.write(memoryview(buffer))
    buffer[:] = b"other"
    incoming.write(buffer)
    buffer[:] = b"xxxxx"
    commit(incoming)

    with spool.source(incoming.job_id).body(0, 10).open() as reader:
        assert reader.read() == b"firstother"


def test_a_cut_body_is_not_accepted(spool: Spool, tmp_path: Path) -> None:
    incoming = spool.receive(new_id(), 3 * MIB)
    incoming.write(bytes(2 * MIB))

    with pytest.raises(EngineError) as caught:
        commit(incoming)

    assert caught.value.code == "truncated"
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(("announced", "limit"), [(10, None), (None, 10), (10, 100)])
def test_more_than_announced_or_allowed_is_refused(tmp_path: Path, announced: int | None, limit: int | None) -> None:
    with opened(tmp_path / "spool", max_size=limit) as spool:
        incoming = spool.receive(new_id(), announced)
        incoming.write(bytes(10))
        with pytest.raises(TooLarge):
            incoming.write(b"x")
        assert files_in(tmp_path) == []


def test_a_file_over_the_limit_is_refused_before_it_comes(tmp_path: Path) -> None:
    with opened(tmp_path / "spool", max_size=10) as spool:
        with pytest.raises(TooLarge):
            spool.receive(new_id(), 11)
        assert spool.usage().used == 0


def test_a_discarded_reception_leaves_nothing_and_takes_nothing_more(spool: Spool, tmp_path: Path) -> None:
    incoming = spool.receive(new_id(), None)
    incoming.write(bytes(2 * MIB))
    incoming.discard()
    incoming.discard()

    assert files_in(tmp_path) == []
    with pytest.raises(SpoolUnavailable):
        incoming.write(b"x")
    with pytest.raises(SpoolUnavailable):
        commit(incoming)
    assert files_in(tmp_path) == []


def test_a_commit_can_be_taken_back(spool: Spool, tmp_path: Path) -> None:
    incoming = spool.receive(new_id(), 10)
    incoming.write(bytes(10))
    commit(incoming)

    incoming.discard()

    assert left_in(spool) == []
    assert spool.usage().used == 0


@pytest.mark.parametrize("data", [b"bytes", bytes(2 * MIB)], ids=["packed", "a pair"])
def test_a_released_job_leaves_nothing(spool: Spool, tmp_path: Path, data: bytes) -> None:
    job = accept(spool, data)

    spool.release(job)
    spool.release(job)

    assert left_in(spool) == []
    assert spool.read_sidecar(job) is None
    assert [*spool.sidecars(), *spool.incomings()] == []


def test_a_rewritten_sidecar_keeps_the_job(spool: Spool) -> None:
    job = accept(spool, b"bytes")
    changed = sidecar_of(spool.source(job).digest).replace(b"holiday", b"other")

    spool.rewrite_sidecar(job, changed)

    assert spool.read_sidecar(job) == changed
    assert spool.source(job).size == 5
    assert list(spool.incomings()) == []


def test_a_sidecar_is_not_rewritten_for_a_job_that_is_gone(spool: Spool) -> None:
    with pytest.raises(EngineError) as caught:
        spool.rewrite_sidecar(new_id(), b"{}")
    assert caught.value.code == "source_gone"


def test_a_job_whose_bytes_stay_elsewhere_has_only_a_sidecar(spool: Spool, tmp_path: Path) -> None:
    job = new_id()
    spool.accept_path(job, b'{"spec":1}')
    spool.rewrite_sidecar(job, b'{"spec":2}')

    assert [found for found, _ in spool.sidecars()] == [job]
    assert list(spool.incomings()) == []
    assert spool.read_sidecar(job) == b'{"spec":2}'

    spool.release(job)
    assert files_in(tmp_path) == []


def test_a_missing_file_and_a_changed_file_are_told_apart(spool: Spool, tmp_path: Path) -> None:
    job = accept(spool, bytes(2 * MIB))
    data = tmp_path / "spool" / "jobs" / f"{job}.data"
    source = spool.source(job)
    assert source.intact(0, source.size)

    with data.open("r+b") as file:
        file.seek(MIB + 5)
        file.write(b"x")
    assert source.intact(0, MIB)
    assert not source.intact(0, source.size)
    with pytest.raises(SourceCorrupt):
        source.body(MIB, 100)  # it begins at a border of blocks and ends at none: one block is read

    data.write_bytes(b"short")
    assert not source.intact(0, MIB)
    with pytest.raises(SourceCorrupt):
        spool.source(job)

    data.unlink()
    assert not source.intact(0, MIB)
    with pytest.raises(EngineError) as caught:
        spool.source(job)
    assert caught.value.code == "source_gone"
    assert [found for found, _ in spool.sidecars()] == []


def test_a_broken_sidecar_is_no_source(spool: Spool, tmp_path: Path) -> None:
    job = accept(spool, b"bytes")
    (tmp_path / "spool" / "jobs" / f"{job}.json").write_bytes(b'{"digest": 7')
    with pytest.raises(SourceCorrupt):
        spool.source(job)
    with pytest.raises(EngineError) as caught:
        spool.source(new_id())
    assert caught.value.code == "source_gone"


HOSTILE = [
    "../../etc/passwd",
    "..",
    "",
    "/etc/passwd",
    "a/b",
    "x" * 10_000,
    "01940C9E-0000-7000-8000-000000000000",
    "01940c9e-0000-7000-8000-000000000000/../x",
    "01940c9e-0000-7000-8000-000000000000\n",
    "01940c9e-0000-7000-8000-00000000000\0",
    "０1940c9e-0000-7000-8000-000000000000",
    "*",
]


@pytest.mark.parametrize("job_id", HOSTILE)
def test_an_id_that_is_no_uuid_never_becomes_a_path(spool: Spool, tmp_path: Path, job_id: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: commit(spool.receive(job_id, 0)),
        lambda: spool.receive(job_id, 2 * MIB),
        lambda: spool.accept_path(job_id, b""),
        lambda: spool.read_sidecar(job_id),
        lambda: spool.rewrite_sidecar(job_id, b""),
        lambda: spool.source(job_id),
        lambda: spool.release(job_id),
        lambda: spool.remove_incoming(job_id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    assert files_in(tmp_path) == []
    assert spool.usage().used == 0


def test_files_that_are_not_ours_are_left_alone(spool: Spool, tmp_path: Path) -> None:
    for directory in ("incoming", "jobs"):
        (tmp_path / "spool" / directory / "lost+found").write_bytes(b"x")
    assert [*spool.sidecars(), *spool.incomings()] == []


def test_only_the_owner_can_look_inside(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "spool") as spool:
            accept(spool, bytes(10))
            accept(spool, bytes(2 * MIB))
            spool.accept_path(new_id(), b"{}")
            spool.receive(new_id(), 2 * MIB)
            for path in (tmp_path / "spool").rglob("*"):
                assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
            assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_directories_that_were_open_to_others_are_closed(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir(mode=0o755)
    with opened(tmp_path):
        assert (tmp_path / "jobs").stat().st_mode & 0o777 == 0o700


def test_opening_leaves_no_trace_and_may_happen_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        job = accept(first, b"bytes")
        with opened(tmp_path) as second:
            assert [found for found, _ in second.sidecars()] == [job]
    assert len(files_in(tmp_path)) == 1


def test_expired_receptions_are_removed_and_accepted_jobs_stay(spool: Spool, tmp_path: Path) -> None:
    left, job = new_id(), accept(spool, b"bytes")
    receiving = spool.receive(left, 2 * MIB)
    (tmp_path / "spool" / "incoming" / f"{left}.0a0b0c0d").write_bytes(b"half a sidecar")
    assert [found for found, _ in spool.incomings()] == [left]

    spool.remove_incoming(left)
    spool.remove_incoming(job)

    assert packed_in(spool) == [job]
    assert not list((tmp_path / "spool" / "incoming").iterdir())
    receiving.discard()


def test_halves_of_a_pair_do_not_count_and_can_be_removed(spool: Spool, tmp_path: Path) -> None:
    data_only, sidecar_only, whole = new_id(), new_id(), accept(spool, bytes(2 * MIB))
    (tmp_path / "spool" / "jobs" / f"{data_only}.data").write_bytes(b"bytes")
    (tmp_path / "spool" / "jobs" / f"{sidecar_only}.json").write_bytes(b"{}")

    assert [found for found, _ in spool.sidecars()] == [whole]
    assert {found for found, _ in spool.incomings()} == {data_only, sidecar_only}

    spool.remove_incoming(data_only)
    spool.remove_incoming(sidecar_only)
    assert files_in(tmp_path) == [f"spool/jobs/{whole}.data", f"spool/jobs/{whole}.json"]


def test_many_threads_commit_at_once(spool: Spool) -> None:
    jobs: list[str] = []

    def send() -> None:
        jobs.extend(accept(spool, os.urandom(1000)) for _ in range(20))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found for found, _ in spool.sidecars()) == sorted(jobs)
    assert len(jobs) == 160
    assert spool.usage().used == 160_000
