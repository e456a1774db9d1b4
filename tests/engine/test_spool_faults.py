"""A disk that fails: the error says what it means, nothing is left of the file, everything else goes on."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.errors import EngineError, SpoolFull, SpoolUnavailable, TooLarge
from engine.spool import Spool
from tests.engine.spooling import MIB, FakeDisk, accept, commit, files_in, new_id, opened, packed_in


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def spool(tmp_path: Path, disk: FakeDisk) -> Iterator[Spool]:
    with opened(tmp_path, disk=disk, limit=1 << 30) as spool:
        yield spool


def receive(spool: Spool, size: int) -> None:
    """One whole reception, in pieces of 64 KiB."""
    incoming = spool.receive(new_id(), size)
    for begin in range(0, size, 64 << 10):
        incoming.write(bytes(min(64 << 10, size - begin)))
    commit(incoming)


FULL = [errno.ENOSPC, errno.EDQUOT]
BROKEN = [errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE]
EXPECTED: dict[int, type[EngineError]] = {
    **dict.fromkeys(FULL, SpoolFull),
    **dict.fromkeys(BROKEN, SpoolUnavailable),
    errno.EFBIG: TooLarge,
}
# Every call of a reception of 3 MiB: the data's blocks, writes and fsync; the sidecar's; two renames; the directory.
CALLS = [
    ("create", 0),
    ("allocate", 0),
    ("write", 0),
    ("write", 2),
    ("create", 1),
    ("write", 3),
    ("sync", 0),
    ("sync", 1),
    ("rename", 0),
    ("rename", 1),
    ("sync", 2),
]


@pytest.mark.parametrize("code", EXPECTED, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize(("call", "after"), CALLS)
def test_whatever_fails_leaves_no_trace(
    spool: Spool, disk: FakeDisk, tmp_path: Path, call: str, after: int, code: int
) -> None:
    other = accept(spool, b"another job")
    disk.forget_calls()
    disk.fail(call, code, after)

    with pytest.raises(EXPECTED[code]) as caught:
        receive(spool, 3 * MIB)

    assert os.strerror(code) in caught.value.detail
    assert str(tmp_path) not in caught.value.detail
    assert packed_in(spool) == [other]
    assert [name for name in files_in(tmp_path) if not name.startswith("packs/")] == []
    assert spool.usage().used == len(b"another job")
    receive(spool, 3 * MIB)  # and the next one finds the spool as it was


@pytest.mark.parametrize("code", EXPECTED, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize(("call", "after"), [("create", 0), ("write", 0), ("sync", 0), ("rename", 0), ("sync", 1)])
@pytest.mark.parametrize("pack", ["new", "in use"])
def test_whatever_fails_for_a_small_file_leaves_no_trace(
    spool: Spool, disk: FakeDisk, call: str, after: int, code: int, pack: str
) -> None:
    other = accept(spool, b"another job")
    if pack == "new":
        spool._packs._end(spool._packs._writer)
    elif (call, after) not in (("write", 0), ("sync", 0)):
        pytest.skip("a pack in use has been made, and has its name")
    disk.forget_calls()
    disk.fail(call, code, after)

    with pytest.raises(EXPECTED[code]) as caught:
        receive(spool, 1000)

    assert os.strerror(code) in caught.value.detail
    assert [found for found, _ in spool.sidecars()] == packed_in(spool) == [other]
    assert spool.usage().used == len(b"another job")
    receive(spool, 1000)  # and the next one finds the spool as it was
    spool.recount()
    assert spool.usage().used == len(b"another job") + 1000


def test_a_failed_fsync_is_not_asked_again(spool: Spool, disk: FakeDisk) -> None:
    incoming = spool.receive(new_id(), 10)
    incoming.write(bytes(10))
    disk.forget_calls()
    disk.fail("sync", errno.EIO)

    for _ in range(2):
        with pytest.raises(SpoolUnavailable):
            commit(incoming)

    assert disk.calls["sync"] == 1


def test_a_file_system_that_cannot_allocate_is_no_obstacle(spool: Spool, disk: FakeDisk) -> None:
    disk.allocate = lambda fd, size: False  # type: ignore[method-assign]
    receive(spool, 3 * MIB)
    assert spool.usage().used == 3 * MIB


def test_a_disk_too_broken_to_remove_anything_still_says_what_was_wrong(spool: Spool, disk: FakeDisk) -> None:
    incoming = spool.receive(new_id(), 2 * MIB)
    disk.forget_calls()
    disk.fail("write", errno.EIO)
    disk.fail("unlink", errno.EROFS)
    with pytest.raises(SpoolUnavailable, match=os.strerror(errno.EIO)):
        incoming.write(bytes(2 * MIB))
    assert [found for found, _ in spool.incomings()] == [incoming.job_id]


RECORDS: dict[str, Callable[[Spool, str], None]] = {
    "rewrite": lambda spool, job: spool.rewrite_sidecar(job, b"{}"),
    "path": lambda spool, job: spool.accept_path(job, b"{}"),
}


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename"])
@pytest.mark.parametrize("write", RECORDS.values(), ids=RECORDS)
def test_a_record_that_cannot_be_written_leaves_the_old_one(
    spool: Spool, disk: FakeDisk, tmp_path: Path, write: Callable[[Spool, str], None], call: str
) -> None:
    job = accept(spool, b"bytes")
    before, sidecar = files_in(tmp_path), spool.read_sidecar(job)
    disk.fail(call, errno.ENOSPC)

    with pytest.raises(SpoolFull):
        write(spool, job)

    assert files_in(tmp_path) == before
    assert spool.read_sidecar(job) == sidecar
    write(spool, job)


@pytest.mark.parametrize("call", ["create", "write", "sync"])
def test_an_addition_that_cannot_be_written_is_an_error(spool: Spool, disk: FakeDisk, call: str) -> None:
    job = accept(spool, b"bytes")
    disk.fail(call, errno.ENOSPC)

    with pytest.raises(SpoolFull):
        spool.appendix.append(job, b'{"run":1}')

    spool.appendix.append(job, b'{"run":2}')
    assert spool.appendix.read(job)[-1] == b'{"run":2}'
    disk.fail("unlink", errno.EROFS)
    with pytest.raises(SpoolUnavailable):
        spool.release(job)
    spool.release(job)
    assert not spool.appendix.has(job)


def test_what_cannot_be_removed_is_an_error(spool: Spool, disk: FakeDisk) -> None:
    job = accept(spool, b"bytes")
    disk.fail("write_at", errno.EROFS)
    with pytest.raises(SpoolUnavailable):
        spool.release(job)
    assert spool.usage().used == 5
    spool.release(job)


def test_without_durability_nothing_is_synced(tmp_path: Path) -> None:
    disk = FakeDisk(durable=False)
    synced: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced.append)
        with opened(tmp_path, disk=disk) as spool:
            accept(spool, bytes(2 * MIB))
            assert synced == []
    with opened(tmp_path, durability="cache") as spool:
        assert accept(spool, b"bytes")


def test_a_limit_on_file_sizes_is_too_large(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path) as spool:
        incoming = spool.receive(new_id(), None)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
        try:
            with pytest.raises(TooLarge):
                incoming.write(bytes(2 * MIB))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_in(tmp_path) == []


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(SpoolUnavailable, match="spool"):
        Spool(tmp_path / "spool").open()


# -- real file systems that are full ---------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, options: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def may_mount() -> None:
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("these tests mount a small disk and need root")
        pytest.skip("only root can mount a small disk")


def test_a_full_disk_is_known_before_the_body_and_in_the_middle_of_it(may_mount: None, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4M") as root, opened(root) as spool:
        kept = accept(spool, bytes(MIB))

        with pytest.raises(SpoolFull):
            spool.room_for(5 * MIB)
        with pytest.raises(SpoolFull):
            spool.receive(new_id(), 5 * MIB)
        growing = spool.receive(new_id(), None)
        with pytest.raises(SpoolFull):
            for _ in range(10):
                growing.write(bytes(MIB))

        assert [found for found, _ in spool.sidecars()] == [kept]
        assert list(spool.incomings()) == []
        accept(spool, bytes(2 * MIB))


def test_a_neighbour_that_fills_the_disk_fails_the_write_and_not_the_process(may_mount: None, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4M") as root, opened(root) as spool:
        kept = accept(spool, b"bytes")
        growing, small = spool.receive(new_id(), None), spool.receive(new_id(), 10_000)
        growing.write(bytes(MIB))
        small.write(bytes(10_000))
        fill(root / "neighbour")

        with pytest.raises(SpoolFull):
            growing.write(bytes(3 * MIB))
        fill(root / "neighbour")
        with pytest.raises(SpoolFull):
            commit(small)
        with pytest.raises(SpoolFull):
            spool.rewrite_sidecar(kept, b"{}")

        assert [found for found, _ in spool.sidecars()] == [kept]
        assert list(spool.incomings()) == []
        (root / "neighbour").unlink()
        accept(spool, bytes(3 * MIB))


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


def test_a_disk_without_inodes_is_full(may_mount: None, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4M,nr_inodes=80") as root, opened(root) as spool:
        waiting = spool.receive(new_id(), 1000)
        waiting.write(bytes(1000))
        for number in range(73):
            (root / f"neighbour-{number}").touch()
        try:
            for number in range(10):
                (root / f"last-{number}").touch()
        except OSError as error:
            assert error.errno == errno.ENOSPC

        with pytest.raises(SpoolFull, match="inodes"):
            spool.room_for(1)
        with pytest.raises(SpoolFull):
            commit(waiting)
        assert [*spool.sidecars(), *spool.incomings()] == []


def test_a_read_only_disk_is_unavailable(may_mount: None, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4M") as root:
        with opened(root) as spool:
            kept = accept(spool, b"bytes")
            waiting = spool.receive(new_id(), 1000)
            waiting.write(bytes(1000))
            spool._packs._end(spool._packs._writer)  # no disk goes read-only below a file that is open for writing
            subprocess.run(["mount", "-o", "remount,ro", root], check=True)

            with pytest.raises(SpoolUnavailable, match="Read-only"):
                commit(waiting)
            with pytest.raises(SpoolUnavailable):
                spool.receive(new_id(), 2 * MIB)
            assert spool.source(kept).intact(0, 5)
        with pytest.raises(SpoolUnavailable, match=str(root)):
            Spool(root).open()
