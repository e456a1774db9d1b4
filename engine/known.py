"""What the disk knows of a job: its sidecar, and what was added to it since."""

from __future__ import annotations

import msgspec

from engine.models import Sidecar
from engine.spool import Spool


def known_sidecar(spool: Spool, job: str) -> Sidecar | None:
    """All that is needed to make the job again; None when the spool has nothing of it. Raises EngineError, and
    MsgspecError for what cannot be read.
    """
    data = spool.read_sidecar(job)
    added = [msgspec.json.decode(line, type=Sidecar) for line in spool.appendix.read(job)]
    if data is None:
        return merged(added[-1], added[:-1]) if added else None
    return merged(msgspec.json.decode(data, type=Sidecar), added)


def merged(sidecar: Sidecar, added: list[Sidecar]) -> Sidecar:
    """The sidecar with the transfers of all, each destination once, and the last run of all."""
    if not added:
        return sidecar
    base = sidecar
    if sidecar.spec.source.unseen:  # its source was looked at meanwhile, and a worker died before it could write that
        base = next((one for one in added if not one.spec.source.unseen), sidecar)
    plans = {plan.destination: plan for one in [*reversed(added), base] for plan in one.transfers}
    first = [plan.destination for one in [base, *added] for plan in one.transfers]
    return msgspec.structs.replace(
        base,
        run=max(one.run for one in [sidecar, *added]),
        accepted_ms=sidecar.accepted_ms,
        transfers=[plans[name] for name in dict.fromkeys(first)],
    )
