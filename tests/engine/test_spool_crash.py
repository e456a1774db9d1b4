"""A crash at any moment leaves a job that is accepted, whole, or one that is not accepted at all.

Two kinds: the process is killed before each of its calls to the disk, for real; and the machine loses power before
each of them, in a model that keeps everything that was not synced in doubt.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.adopted import Adopted
from engine.spool import Spool
from tests.engine.power_cuts import PowerCuts, State, put_on_disk
from tests.engine.spool_crashes import JOB, LARGE, OTHER, OTHER_DATA, SMALL, begun_upload
from tests.engine.spooling import MIB, accept, commit, left_in, opened, sidecar_of


def accepted(spool: Spool, data: bytes) -> bool:
    """Whether the job is accepted; then it must be whole, and otherwise nothing may remain once it is expired."""
    found = [job for job, _ in spool.sidecars() if job != OTHER]
    if found:
        assert found == [JOB]
        source = spool.source(JOB)
        with source.body(0, source.size).open() as reader:
            assert reader.read() == data
        assert source.intact(0, source.size)
        return True
    for job, _ in list(spool.incomings()):
        spool.remove_incoming(job)
    assert list(spool.incomings()) == []
    return False


def crashes(scenario: str, directory: Path) -> Iterator[Spool]:
    """The spool as each crash left it, in order; the last is that of the run which ended well."""
    subprocess.run([sys.executable, "-m", "tests.engine.spool_crashes", scenario, directory], check=True, timeout=60)
    for root in sorted(directory.iterdir(), key=lambda path: int(path.name)):
        with opened(root) as spool:
            yield spool


@pytest.mark.parametrize(("scenario", "data", "calls"), [("commit_small", SMALL, 5), ("commit_large", LARGE, 10)])
def test_killed_at_any_call_of_a_commit(tmp_path: Path, scenario: str, data: bytes, calls: int) -> None:
    outcomes = []
    for spool in crashes(scenario, tmp_path):
        outcomes.append(accepted(spool, data))
        assert len(left_in(spool)) == ((1 if data == SMALL else 2) if outcomes[-1] else 0)

    # Not accepted up to the last rename, or up to the write into a pack, and accepted from then on.
    before = 3 if data == SMALL else calls - 1
    assert outcomes == [False] * before + [True] * (calls + 1 - before)


def test_killed_at_any_call_while_an_upload_in_chunks_is_committed(tmp_path: Path) -> None:
    """It is accepted, or all its bytes still wait where the next request finds them."""
    outcomes = []
    for spool in crashes("commit_upload", tmp_path):
        outcomes.append(accepted(spool, LARGE))
        waiting = spool.partials.hold(JOB)
        assert (waiting is None) == outcomes[-1]
        if waiting is not None:
            waiting.close()
            adopted = Adopted(spool.partials, JOB, len(LARGE), ())
            adopted.commit(sidecar_of(adopted.digest()))
            assert accepted(spool, LARGE)

    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_power_lost_while_an_upload_in_chunks_is_committed(tmp_path: Path) -> None:
    disk = PowerCuts(tmp_path / "live")
    with opened(tmp_path / "live", disk=disk) as spool:
        adopted = begun_upload(spool)
        before = len(disk.moments)
        adopted.commit(sidecar_of(adopted.digest()))
        last = disk.note()
    states = set().union(*disk.moments[before + 1 :])
    ends = {state: _is_accepted(state, tmp_path / str(count)) for count, state in enumerate(states)}
    assert all(ends[state] for state in last)
    assert set(ends.values()) == {False, True}


def _is_accepted(state: State, root: Path) -> bool:
    put_on_disk(state, root)
    with opened(root) as spool:
        found = accepted(spool, LARGE)
        waiting = spool.partials.hold(JOB)
        assert (waiting is None) == found
        if waiting is not None:
            assert waiting.size == len(LARGE)
            waiting.close()
    return found


def test_killed_at_any_call_of_a_commit_beside_another_job(tmp_path: Path) -> None:
    outcomes = []
    for spool in crashes("commit_second", tmp_path):
        outcomes.append(accepted(spool, SMALL))
        with spool.source(OTHER).body(0, len(OTHER_DATA)).open() as reader:
            assert reader.read() == OTHER_DATA
    assert outcomes == [False, True, True]  # before its write, before the fsync, and at the end


def test_killed_at_any_call_of_taking_a_commit_back(tmp_path: Path) -> None:
    outcomes = [accepted(spool, LARGE) for spool in crashes("discard", tmp_path)]
    assert outcomes[0]
    assert not any(outcomes[1:])


@pytest.mark.parametrize(("scenario", "data"), [("rewrite_small", SMALL), ("rewrite_large", LARGE)])
def test_killed_at_any_call_of_a_rewrite(tmp_path: Path, scenario: str, data: bytes) -> None:
    names = []
    for spool in crashes(scenario, tmp_path):
        assert accepted(spool, data)
        sidecar = spool.read_sidecar(JOB) or b""
        names.append("another" if b"another" in sidecar else "holiday")
        assert len(sidecar) > 100
    assert names[0] == "holiday"
    assert names == sorted(names, reverse=True)
    assert names[-1] == "another"


@pytest.mark.parametrize(("scenario", "data"), [("release_small", SMALL), ("release_large", LARGE)])
def test_killed_at_any_call_of_a_release(tmp_path: Path, scenario: str, data: bytes) -> None:
    outcomes = [accepted(spool, data) for spool in crashes(scenario, tmp_path)]
    assert outcomes[0]
    assert not outcomes[-1]
    assert outcomes == sorted(outcomes, reverse=True)


def test_killed_at_any_call_of_an_addition(tmp_path: Path) -> None:
    outcomes = []
    for spool in crashes("append", tmp_path):
        assert accepted(spool, SMALL)
        lines = spool.appendix.read(JOB)
        assert b"first" in lines[0]
        outcomes.append(len(lines))
    assert outcomes[0] == 1
    assert outcomes[-1] == 2
    assert outcomes == sorted(outcomes)


def test_killed_at_any_call_of_releasing_a_job_with_an_addition(tmp_path: Path) -> None:
    for spool in crashes("release_appended", tmp_path):
        found = [job for job, _ in spool.sidecars()]
        assert found == ([JOB] if accepted(spool, LARGE) else [])
        spool.release(JOB, 1)
        assert not spool.appendix.has(JOB)


# -- power cuts ------------------------------------------------------------------------------------------------------


class Cuts:
    """Every state in which a power cut could leave a spool: at any time, and after the last call."""

    def __init__(self, directory: Path, scenario: Callable[[Spool], object]) -> None:
        self._directory = directory / "after"
        disk = PowerCuts(directory / "spool")
        with opened(directory / "spool", disk=disk) as spool:
            scenario(spool)
        self.at_the_end = disk.note()
        self.any_time: set[State] = set().union(*disk.moments)

    def opened(self, states: set[State]) -> Iterator[Spool]:
        for number, state in enumerate(states):
            root = self._directory / str(number)
            put_on_disk(state, root)
            with opened(root) as spool:
                yield spool
            for path in root.rglob("*.*"):
                path.unlink()


PAIR = bytes(range(256)) * (MIB // 256)
"""As small as it can be and still not be held in memory: it is stored as data and sidecar."""

both = pytest.mark.parametrize("data", [SMALL, PAIR], ids=["packed", "a pair"])


@both
def test_a_power_cut_leaves_a_whole_job_or_none(tmp_path: Path, data: bytes) -> None:
    cuts = Cuts(tmp_path, lambda spool: accept(spool, data, job_id=JOB))

    outcomes = [accepted(spool, data) for spool in cuts.opened(cuts.any_time)]

    assert set(outcomes) == {True, False}
    assert len(outcomes) > 12  # the model is not blind


@both
def test_what_was_committed_survives_every_power_cut(tmp_path: Path, data: bytes) -> None:
    cuts = Cuts(tmp_path, lambda spool: accept(spool, data, job_id=JOB))
    assert all(accepted(spool, data) for spool in cuts.opened(cuts.at_the_end))


@both
def test_what_was_taken_back_stays_away_after_a_power_cut(tmp_path: Path, data: bytes) -> None:
    def take_back(spool: Spool) -> None:
        incoming = spool.receive(JOB, len(data))
        incoming.write(data)
        commit(incoming)
        incoming.discard()

    cuts = Cuts(tmp_path, take_back)
    assert not any(accepted(spool, data) for spool in cuts.opened(cuts.at_the_end))


@both
def test_a_power_cut_keeps_the_old_sidecar_or_the_new(tmp_path: Path, data: bytes) -> None:
    known: set[bytes | None] = set()

    def rewrite(spool: Spool) -> None:
        accept(spool, data, job_id=JOB)
        known.add(spool.read_sidecar(JOB))
        known.add(sidecar_of(spool.source(JOB).digest).replace(b"holiday", b"another"))
        spool.rewrite_sidecar(JOB, max(filter(None, known), key=lambda sidecar: b"another" in sidecar))

    cuts = Cuts(tmp_path, rewrite)
    for spool in cuts.opened(cuts.any_time):
        assert not accepted(spool, data) or spool.read_sidecar(JOB) in known
    for spool in cuts.opened(cuts.at_the_end):
        assert accepted(spool, data)
        assert b"another" in (spool.read_sidecar(JOB) or b"")


@both
def test_after_a_power_cut_a_released_job_is_back_whole_or_gone(tmp_path: Path, data: bytes) -> None:
    def accept_and_release(spool: Spool) -> None:
        accept(spool, data, job_id=JOB)
        spool.release(JOB)

    cuts = Cuts(tmp_path, accept_and_release)
    outcomes = {accepted(spool, data) for spool in cuts.opened(cuts.at_the_end)}
    assert outcomes == {True, False}


def test_a_power_cut_tears_no_addition_but_the_last(tmp_path: Path) -> None:
    lines = [b'{"run":%d,"destinations":["somewhere"]}' % run for run in (1, 2, 3)]

    def add(spool: Spool) -> None:
        for line in lines:
            spool.appendix.append(JOB, line)

    cuts = Cuts(tmp_path, add)
    found = {tuple(spool.appendix.read(JOB)) for spool in cuts.opened(cuts.any_time)}
    assert found == {tuple(lines[:count]) for count in range(4)}
    assert {tuple(spool.appendix.read(JOB)) for spool in cuts.opened(cuts.at_the_end)} == {tuple(lines)}
