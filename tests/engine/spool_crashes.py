"""Runs one scenario again and again, each time killing the process (SIGKILL) one call to the disk later.

    python -m tests.engine.spool_crashes SCENARIO DIRECTORY

leaves one spool per crash in DIRECTORY/0, DIRECTORY/1 …; the last one is that of the run that nothing stopped.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from engine.adopted import Adopted
from engine.models import JobSpec, SubmitOptions
from engine.partials import Note
from engine.spool import Spool
from tests.engine.spooling import MIB, FakeDisk, accept, sidecar_of

JOB = "01940c9e-0000-7000-8000-000000000000"
OTHER = "01940c9e-0000-7000-8000-000000000001"
OTHER_DATA = b"bytes of another file"
SMALL = b"bytes of a small file"
LARGE = bytes(range(256)) * (2 * MIB // 256) + b"and some more"
MOST_CALLS = 100


class MortalDisk(FakeDisk):
    """Kills this process when it is asked for call number `last`, counted from 0 after `arm`."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.left: int | None = None
        self.last = last

    def arm(self) -> None:
        self.left = self.last

    def before(self, call: str) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.left is not None:
            self.left -= 1


def commit_small(spool: Spool, arm: Callable[[], None]) -> None:
    arm()
    accept(spool, SMALL, job_id=JOB)


def commit_second(spool: Spool, arm: Callable[[], None]) -> None:
    accept(spool, OTHER_DATA, job_id=OTHER)
    arm()
    accept(spool, SMALL, job_id=JOB)


def commit_large(spool: Spool, arm: Callable[[], None]) -> None:
    arm()
    accept(spool, LARGE, job_id=JOB)


def discard(spool: Spool, arm: Callable[[], None]) -> None:
    incoming = spool.receive(JOB, len(LARGE))
    incoming.write(LARGE)
    incoming.commit(sidecar_of(incoming.digest()))
    arm()
    incoming.discard()


def rewrite_small(spool: Spool, arm: Callable[[], None]) -> None:
    _rewrite(spool, arm, SMALL)


def rewrite_large(spool: Spool, arm: Callable[[], None]) -> None:
    _rewrite(spool, arm, LARGE)


def _rewrite(spool: Spool, arm: Callable[[], None], data: bytes) -> None:
    accept(spool, data, job_id=JOB)
    changed = sidecar_of(spool.source(JOB).digest).replace(b"holiday", b"another")
    arm()
    spool.rewrite_sidecar(JOB, changed)


def release_small(spool: Spool, arm: Callable[[], None]) -> None:
    accept(spool, SMALL, job_id=JOB)
    spool.rewrite_sidecar(JOB, sidecar_of(spool.source(JOB).digest))
    arm()
    spool.release(JOB)


def release_large(spool: Spool, arm: Callable[[], None]) -> None:
    accept(spool, LARGE, job_id=JOB)
    arm()
    spool.release(JOB)


def append(spool: Spool, arm: Callable[[], None]) -> None:
    accept(spool, SMALL, job_id=JOB)
    spool.appendix.append(JOB, b'{"run":1,"name":"first"}')
    arm()
    spool.appendix.append(JOB, b'{"run":2,"name":"second"}')


def release_appended(spool: Spool, arm: Callable[[], None]) -> None:
    accept(spool, LARGE, job_id=JOB)
    spool.appendix.append(JOB, b'{"run":1}')
    arm()
    spool.release(JOB, 1)


def begun_upload(spool: Spool) -> Adopted:
    """An upload in chunks whose bytes are all there."""
    spec = JobSpec(id=JOB, created_ms=0, name="holiday", key="holiday", key_template="{name}", destinations=["media"])
    spool.partials.create(Note(spec=spec, options=SubmitOptions(), length=len(LARGE)))
    file = spool.partials.hold(JOB)
    assert file is not None
    file.write(LARGE)
    file.flush()
    file.sync()
    file.close()
    return Adopted(spool.partials, JOB, len(LARGE), ())


def commit_upload(spool: Spool, arm: Callable[[], None]) -> None:
    adopted = begun_upload(spool)
    sidecar = sidecar_of(adopted.digest())
    arm()
    adopted.commit(sidecar)


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        commit_small,
        commit_second,
        commit_large,
        commit_upload,
        discard,
        rewrite_small,
        rewrite_large,
        release_small,
        release_large,
        append,
        release_appended,
    )
}


def main(name: str, directory: Path) -> None:
    for last in range(MOST_CALLS):
        if (child := os.fork()) == 0:
            disk = MortalDisk(last)
            spool = Spool(directory / str(last), disk=disk)
            spool.open()
            SCENARIOS[name](spool, disk.arm)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"the child failed at call {last}")
    raise SystemExit(f"{name} does not end")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
