"""The wish for another run, on disk before it is in the ledger: a Redis that loses it must find it in the spool."""

from __future__ import annotations

import msgspec

from engine.errors import Conflict
from engine.known import known_sidecar
from engine.models import dumps
from engine.spool import Spool


def remember_restart(spool: Spool, job: str, run: int) -> None:
    """Writes the number of the next run into the sidecar, durably. Raises Conflict `source_gone` when the file was
    released.
    """
    sidecar = known_sidecar(spool, job)
    if sidecar is None:
        raise Conflict("The job's file is no longer kept; submit it again.", code="source_gone")
    if sidecar.run < run:
        spool.rewrite_sidecar(job, dumps(msgspec.structs.replace(sidecar, run=run)))
