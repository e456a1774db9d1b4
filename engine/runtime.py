"""What one worker process holds: the doors to ledger, spool and stores, and the errands under way."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backends.addresses import Rules
from backends.base import Backend, DeletesObjects, ListsParts, ListsSessions, PutsWhole, ReadsRanges
from backends.checksums import crc32c_value
from backends.config import Configuration
from backends.registry import Destination
from engine.config import Settings
from engine.counters import Counters
from engine.drawn import DrawnSource, Origin
from engine.endings import Undertaker
from engine.errors import EngineError
from engine.ledger import Ledger
from engine.models import JobSpec
from engine.models import Source as JobSource
from engine.plugins_file import PluginsFile
from engine.records import Lease
from engine.retry import GivenBack, Policy
from engine.sources import PathSource
from engine.spans import Span, Spans
from engine.spool import Spool
from engine.stored import StoredOrigin
from engine.tombstones import Tombstones
from engine.work import Outcome, Source

if TYPE_CHECKING:
    from backends.web import Web
    from backends.web_answer import Answer

ABILITIES = (PutsWhole, ListsParts, ListsSessions, ReadsRanges, DeletesObjects)
SOURCES_KEPT = 64


def abilities_of(backend: object) -> frozenset[str]:
    """The names of the ability protocols that a backend fits."""
    return frozenset(ability.__name__ for ability in ABILITIES if isinstance(backend, ability))


@dataclass(slots=True)
class Errand:
    """One lease worked in this process since `began`. `lost`: its time ran out, or somebody else has it."""

    lease: Lease
    renewed_at: float
    began: float = 0.0
    outcome: Outcome | None = None
    span: Span | None = None
    lost: bool = False


#: The errand of this worker thread; the Lease middleware sets it before the actor runs.
current: ContextVar[Errand | None] = ContextVar("current", default=None)


@dataclass(slots=True)
class Store:
    """A destination with its backend, built in this process, and the names of the ability protocols it fits."""

    destination: Destination
    backend: Backend
    abilities: frozenset[str]


@dataclass
class Runtime:
    """Everything a worker's actors and threads share. Clock, jitter and fences come from here, so that tests can hold
    them.
    """

    settings: Settings
    configuration: Configuration
    ledger: Ledger
    spool: Spool
    policy: Policy
    tombstones: Tombstones
    undertaker: Undertaker
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=lambda: secrets.randbelow(1 << 30) / (1 << 30))
    fence: Callable[[], str] = field(default=lambda: secrets.token_hex(8))
    stopping: threading.Event = field(default_factory=threading.Event)
    interrupted: threading.Event = field(default_factory=threading.Event)
    errands: dict[str, Errand] = field(default_factory=dict)
    """What this process has in hand, by fence."""
    owed: set[str] = field(default_factory=set)
    counters: Counters = field(default_factory=Counters)
    spans: Spans = field(default_factory=Spans)
    plugins: PluginsFile | None = None
    """Where `configuration` comes from, when it may change."""
    _stores: dict[str, Store] = field(default_factory=dict)
    _retired: list[tuple[Store, frozenset[str]]] = field(default_factory=list)
    """Stores that plugins.toml no longer describes, with the errands that may still use them."""
    _web: Web | None = None
    _sources: OrderedDict[str, Source] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store_of(self, lease: Lease) -> Store:
        """Where the lease's step works."""
        self.follow(lease.destination, lease.fingerprint)
        return self.store(lease.destination)

    def follow(self, destination: str, fingerprint: str) -> None:
        """When a destination is not what a job was made for, plugins.toml may have been changed, and read by the API
        before us.
        """
        known = self.configuration.destinations.get(destination)
        if known is None or known.fingerprint != fingerprint:
            self.refresh()

    def store(self, name: str) -> Store:
        """The destination's backend, built at first use; EngineError when plugins.toml no longer has it."""
        with self._lock:
            if name not in self._stores:
                destination = self.configuration.destinations.get(name)
                if destination is None:
                    raise EngineError(
                        f"plugins.toml has no destination {name!r} any more; put it back and retry the job.",
                        code="destination_changed",
                    )
                backend = destination.build()
                abilities = abilities_of(backend)
                self._stores[name] = Store(destination, backend, abilities)
            return self._stores[name]

    def refresh(self, *, settled: bool = False) -> None:
        """Reads plugins.toml again if it was changed: new steps follow it, steps under way keep what they have."""
        if self.plugins is None or not self.plugins.refresh(settled=settled):
            return
        with self._lock:
            self.configuration = self.plugins.current
            for name, store in list(self._stores.items()):
                if self.configuration.destinations.get(name) != store.destination:
                    self._retired.append((self._stores.pop(name), frozenset(self.errands)))

    def close_retired(self) -> None:
        """Closes what the last change of plugins.toml has replaced, once no step uses it any more."""
        with self._lock:
            idle = [one for one in self._retired if not one[1] & self.errands.keys()]
            self._retired = [one for one in self._retired if one not in idle]
        for store, _ in idle:
            store.backend.close()

    def source(self, lease: Lease) -> Source:
        """The job's source, remembered while it is in use: reading a sidecar for every part would cost more than
        sending it.
        """
        with self._lock:
            found = self._sources.get(lease.job)
            if found is not None:
                self._sources.move_to_end(lease.job)
                return found
        pinned = lease.spec.source
        made: Source
        if pinned.kind == "path":
            made = PathSource(Path(pinned.path or ""), lease.size, pinned.mtime_ns, pinned.inode)
        elif pinned.distant and not pinned.spooled:
            crc = crc32c_value(pinned.checksum)
            made = DrawnSource(self._origin(lease), lease.size, crc, self.settings.spool, self.go_on)
        elif lease.crc32c:
            made = self.spool.source(lease.job)
        else:
            return self.spool.arriving(lease.job)  # not remembered: soon it is another one
        with self._lock:
            self._sources[lease.job] = made
            while len(self._sources) > SOURCES_KEPT:
                self._sources.popitem(last=False)
        return made

    def _origin(self, lease: Lease) -> Origin:
        """Where the bytes of a job come from that are not in the spool."""
        source = lease.spec.source
        if source.kind == "destination":
            return self.stored(lease.spec, lease.size)
        from engine.imported import WebOrigin  # brings a client for the web along

        return WebOrigin(lambda headers: self.fetch(source, headers), source, lease.size)

    def fetch(self, source: JobSource, headers: Mapping[str, str]) -> Answer:
        """Asks a web server for a source. Raises EngineError, or a TransientError."""
        from backends.web import Web
        from backends.web_answer import WebRefusal

        with self._lock:
            if self._web is None:
                self._web = Web(Rules.of(self.settings.import_ports, self.settings.import_allow))
        if source.credentials and source.credentials not in self.configuration.credentials:
            self.refresh()
        credential = self.configuration.credentials.get(source.credentials)
        if source.credentials and credential is None:
            detail = f"plugins.toml has no credentials {source.credentials!r} any more."
            raise EngineError(detail, code="source_refused")
        try:
            return self._web.get(source.url, headers, credential)
        except WebRefusal as refusal:
            raise EngineError(refusal.detail, code=refusal.code) from refusal

    def stored(self, spec: JobSpec, size: int | None = None) -> StoredOrigin:
        """The object that is a job's source; `size` when it is known."""
        source = spec.source
        self.follow(source.destination, source.fingerprint)
        key = self.store(source.destination).destination.full_key(source.key)
        return StoredOrigin(lambda: self.store(source.destination).backend, key, source, size)

    def go_on(self) -> None:
        """Raises GivenBack when this thread's errand must stop."""
        errand = current.get()
        if self.interrupted.is_set() or (errand is not None and self.stale(errand)):
            raise GivenBack

    def forget_source(self, job: str) -> None:
        with self._lock:
            self._sources.pop(job, None)

    def stale(self, errand: Errand) -> bool:
        """Whether the errand must stop before its next effect: its lease is lost, or may be, as far as this process
        can tell.
        """
        return errand.lost or self.monotonic() - errand.renewed_at > self.settings.lease_seconds

    def close(self) -> None:
        for store in [*self._stores.values(), *(store for store, _ in self._retired)]:
            store.backend.close()
        if self._web is not None:
            self._web.close()
        self.ledger.close()
        self.spans.close()
