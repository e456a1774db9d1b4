"""Where each file of a job lies in the spool.

    incoming/ID            the bytes while they are received, and temporary files, as ID.WORD
    jobs/ID.data           the bytes of an accepted job
    jobs/ID.json           its sidecar; it is renamed into place last, and with it the job is accepted
    packs/                 small accepted jobs, many in one file (packs.py); newer sidecars of theirs are jobs/ID.json
    jobs/ID.path.json      the sidecar of a job whose bytes stay outside of the spool
    jobs/ID.more           what was added to a job after it was accepted (appendix.py)
    tus/ID, tus/ID.json    an upload in chunks that is not whole yet, and its note (partials.py)
    ended/                 how jobs ended (tombstones.py)

A name begins with the job's id, and an id is a UUID in its usual spelling: nothing that a client says becomes a path.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from engine.errors import NotFound

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ID_LENGTH = 36


def names(directory: Path) -> Iterator[tuple[str, Path]]:
    """Files whose name begins with a job's id, with that id; anything else is not ours."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if is_id(job_id := entry.name[:ID_LENGTH]):
                yield job_id, Path(entry.path)


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


class Layout:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.jobs = root / "jobs"
        self.packs = root / "packs"
        self.ended = root / "ended"
        self.tus = root / "tus"
        self._incoming, self._jobs = map(os.fspath, (self.incoming, self.jobs))

    def receiving(self, job_id: str) -> str:
        return f"{self._incoming}/{checked(job_id)}"

    def temporary(self, job_id: str) -> str:
        """A new name each time: two processes may write the same sidecar, and only renaming is atomic."""
        return f"{self._incoming}/{checked(job_id)}.{secrets.token_hex(4)}"

    def partial(self, job_id: str) -> str:
        return f"{self.tus}/{checked(job_id)}"

    def note(self, job_id: str) -> str:
        return f"{self.tus}/{checked(job_id)}.json"

    def data(self, job_id: str) -> str:
        return f"{self._jobs}/{checked(job_id)}.data"

    def sidecar(self, job_id: str) -> str:
        return f"{self._jobs}/{checked(job_id)}.json"

    def path_sidecar(self, job_id: str) -> str:
        return f"{self._jobs}/{checked(job_id)}.path.json"

    def appendix(self, job_id: str) -> str:
        return f"{self._jobs}/{checked(job_id)}.more"


def checked(job_id: str) -> str:
    """The id itself. Raises NotFound for anything that is no UUID in its usual spelling."""
    if not is_id(job_id):
        raise NotFound("There is no job with this id.")
    return job_id
