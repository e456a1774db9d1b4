"""Jobs whose bytes are somewhere else: accepted as soon as what is known of the source is on disk."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine import keys, operations
from engine.announced import wanted_digests
from engine.content_types import HEAD_BYTES
from engine.digests import Digest
from engine.errors import Invalid
from engine.models import JobSpec, Sidecar, dumps
from engine.named_files import opened
from engine.planning import Planning
from engine.repeats import superseded

if TYPE_CHECKING:
    from engine.service import AsyncService


async def submit_source(service: AsyncService, spec: JobSpec) -> dict[str, Any]:
    """The job, as it is shown."""
    asks = spec.checksum or wanted_digests(spec) or (spec.key is None and keys.needs_content(spec.key_template))
    if asks and spec.source.kind != "url":
        detail = "A source is not read at submit: it can have neither a checksum nor a key made of its content."
        pointer = "/checksum" if spec.checksum else "/key_template"
        raise Invalid(detail, errors=[{"pointer": pointer, "detail": detail}])
    with service.spans.start("accept", spec.traceparent, about={"bucketline.job": spec.id}):
        return await _accept(service, spec)


async def _accept(service: AsyncService, spec: JobSpec) -> dict[str, Any]:
    if spec.source.distant:
        sidecar = _unseen(service.desk.planning, spec)
    else:
        sidecar = await asyncio.to_thread(_at_path, service.desk.planning, spec)
    if spec.once is not None:
        await service.repeats.bind(spec.once, [spec.id])
    await asyncio.to_thread(service.spool.accept_path, spec.id, dumps(sidecar))
    answer = await service.ledger.run(operations.accept_sidecar(sidecar, service.settings))
    if not answer.made and answer.state == "superseded":
        await asyncio.to_thread(service.spool.release, spec.id)
        raise superseded()
    service.minter.send(answer.tokens)
    return (await service.job(spec.id))[0]


def _at_path(planning: Planning, spec: JobSpec) -> Sidecar:
    try:
        with opened(Path(spec.source.path or "")) as file:
            found = os.fstat(file)
            head = os.pread(file, HEAD_BYTES, 0)
    except OSError as error:
        raise Invalid(
            f"The file cannot be read: {error.strerror}.", errors=[{"pointer": "/source/path", "detail": "Gone."}]
        ) from error
    # The pins are those of the file whose size is told: since the request was examined, another one may have come.
    source = msgspec.structs.replace(spec.source, mtime_ns=found.st_mtime_ns, inode=found.st_ino)
    spec = msgspec.structs.replace(spec, source=source)
    digest = Digest.unread(found.st_size)
    finished, plans = planning.finish(spec, digest, head)
    return Sidecar(spec=finished, digest=digest, accepted_ms=int(time.time() * 1000), transfers=plans)


def _unseen(planning: Planning, spec: JobSpec) -> Sidecar:
    """What there is to write down before a worker has looked at the source."""
    plans = planning.unplanned(spec)
    return Sidecar(spec=spec, digest=Digest.unread(0), accepted_ms=int(time.time() * 1000), transfers=plans)
