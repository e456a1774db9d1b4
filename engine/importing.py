"""The look at a source on the web: in ranges by whoever sends them where that can be, else once, into the spool."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from backends.addresses import place_of
from backends.web_answer import Answer
from engine import content_types, keys, leases
from engine.announced import wanted_digests
from engine.attributes import fault_of_content_type
from engine.digests import Digest
from engine.errors import LedgerUnavailable
from engine.imported import PROBE, pinned_by, plain
from engine.looking import planned
from engine.models import JobSpec, dumps
from engine.records import Lease
from engine.retry import GivenBack
from engine.work import Seen

if TYPE_CHECKING:
    from engine.runtime import Runtime

TELL_SECONDS = 1.0


def import_from_web(runtime: Runtime, held: Lease) -> Seen:
    """The outcome of the look; raises EngineError, or a TransientError where another look may help."""
    spec = held.spec
    if (
        spec.checksum is not None
        or wanted_digests(spec)
        or keys.needs_content(spec.key_template if not spec.key else "")
    ):
        return _hold(runtime, held, plain(runtime.fetch(spec.source, {})))  # its content must be known first
    answer = runtime.fetch(spec.source, PROBE)
    pinned = pinned_by(spec.source, answer)
    if pinned is None:
        return _hold(runtime, held, _whole(runtime, spec, answer))
    answer.close()
    assert answer.range is not None
    spec = msgspec.structs.replace(_described(spec, answer), source=pinned)
    return planned(runtime, held, spec, Digest.unread(answer.range[2]))


def _whole(runtime: Runtime, spec: JobSpec, answer: Answer) -> Answer:
    """The whole file: what a server without ranges has begun to send is just that."""
    if answer.status == 200:
        return answer
    answer.close()
    return plain(runtime.fetch(spec.source, {}))


def _hold(runtime: Runtime, held: Lease, answer: Answer) -> Seen:
    """Reads the file into the spool, durably; from then on its job is one like any other."""
    spec = _described(held.spec, answer)
    spec = msgspec.structs.replace(spec, source=msgspec.structs.replace(spec.source, seen=True, held=True))
    try:
        runtime.spool.remove_incoming(held.job)  # of a worker that died
        incoming = runtime.spool.receive(held.job, answer.size, digests=wanted_digests(spec))
        try:
            tell_at = 0.0
            for block in answer.blocks():
                runtime.go_on()
                incoming.write(block)
                if runtime.monotonic() >= tell_at:
                    _tell(runtime, held, incoming.received)
                    tell_at = runtime.monotonic() + TELL_SECONDS
            seen = planned(runtime, held, spec, incoming.digest(), incoming.head)
            runtime.go_on()
            incoming.commit(dumps(seen.sidecar))
        except BaseException:
            incoming.discard()
            raise
    finally:
        answer.close()
    return seen


def _tell(runtime: Runtime, held: Lease, count: int) -> None:
    """Shows how far it is. Nobody needs to know while Redis is away; a lease that is lost ends it."""
    with contextlib.suppress(LedgerUnavailable):
        if not runtime.ledger.run(leases.taken(held, count)):
            raise GivenBack


def _described(spec: JobSpec, answer: Answer) -> JobSpec:
    """Name and type as the server tells them, where the client did not, and where they can be used."""
    name = spec.name
    if not spec.source.named:
        told = keys.last_segment(answer.file_name) or place_of(spec.source.url).name
        name = told if told and keys.fault_of_name(told) is None else name
    told_type = answer.content_type
    if told_type is None or fault_of_content_type(told_type) or told_type.lower().startswith(content_types.UNKNOWN):
        told_type = content_types.by_name(name)
    kind = spec.content_type or told_type or (None if answer.status == 200 else content_types.UNKNOWN)
    return msgspec.structs.replace(spec, name=name, content_type=kind)
