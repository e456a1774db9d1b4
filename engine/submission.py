"""Turns what a client asks for into a job's specification, and refuses what can be known to fail. No I/O but a look at
a source path.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uuid_utils

from backends.addresses import Rules, place_of
from backends.base import FURTHER_PROPERTIES
from backends.config import Configuration, UnknownDestination
from backends.registry import Destination
from engine import content_types, keys
from engine.config import Settings
from engine.digests import Digest
from engine.errors import ChecksumMismatch, Conflict, Invalid, TooLarge
from engine.models import JobSpec, Source, SubmitOptions, TransferPlan
from engine.named_sources import name_in_url, stored_source, waits_for_name, web_source
from engine.planner import Plan, Unplannable, plan

MAX_METADATA_BYTES = 2048
MAX_LABELS = 64
MAX_LABEL_BYTES = 256
MAX_DESTINATIONS = 32
MAX_RETAIN_SECONDS = 366 * 86_400

STAND_IN = "object"
"""Stands for a key that depends on the content, as long as that is not known."""
MAX_PROPERTY_BYTES = 1024

_METADATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CONTENT_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+([ \t]*;[ -~]*)?")


class Faults:
    """Collects what is wrong with a request, so that a client hears everything at once."""

    def __init__(self) -> None:
        self.errors: list[dict[str, str]] = []

    def add(self, pointer: str, detail: str | None) -> None:
        if detail:
            self.errors.append({"pointer": pointer, "detail": detail})

    def raise_if_any(self) -> None:
        if self.errors:
            raise Invalid(self.errors[0]["detail"], errors=self.errors)


class Desk:
    """Where submissions are examined: the configuration and the settings of this process."""

    def __init__(
        self, configuration: Configuration, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self.configuration = configuration
        self.settings = settings
        self.clock = clock
        self._fingerprints = {name: destination.fingerprint for name, destination in configuration.destinations.items()}

    def prepare(self, options: SubmitOptions, *, size: int | None, owner: str, job: str | None = None) -> JobSpec:
        """The specification of a job, complete but for what depends on the content.

        size: of the body, when it is declared. Raises Invalid (with a pointer for every fault) or TooLarge.
        """
        faults = Faults()
        destinations = self._destinations(options, faults)
        self._check_size(size, destinations, faults)
        source = self._source(options, faults)
        name = self._name(options, faults)
        created_ms = int(self.clock() * 1000)
        spec = JobSpec(
            id=job or str(uuid_utils.uuid7()),
            created_ms=created_ms,
            name=name,
            key=options.key,
            key_template=options.key_template or _template_of(destinations),
            destinations=[destination.name for destination in destinations],
            content_type=self._content_type(options, name, source, faults),
            metadata=self._metadata(options, faults),
            **_further_properties(options, faults),
            labels=self._labels(options, faults),
            on_conflict=options.on_conflict,
            checksum=options.checksum,
            priority=options.priority,
            retain_seconds=self._retain(options, faults),
            webhook=self._webhook(options.webhook, faults),
            on_success=self._actor(options.on_success, "/on_success", faults),
            on_failure=self._actor(options.on_failure, "/on_failure", faults),
            owner=owner,
            node=self.settings.node,
            source=source,
        )
        self._check_key(spec, options, destinations, faults)
        self._check_conflict(spec, destinations, faults)
        faults.add("/checksum", _fault_of_checksum(options.checksum))
        faults.raise_if_any()
        return self._with_key(spec, destinations)

    def finish(self, spec: JobSpec, digest: Digest, head: bytes) -> tuple[JobSpec, list[TransferPlan]]:
        """The specification with key and content type, and the plan of every transfer, when all bytes are there.

        head: the file's first bytes (`content_types.HEAD_BYTES` of them, if it has so many).

        Raises ChecksumMismatch when they are not those that the client announced, Invalid when they fit no plan.
        """
        check_digest(spec, digest)
        looked_at = spec.key is not None and spec.content_type is not None  # by `prepare`, which knew as much as we do
        if spec.key is None:
            key = keys.render(
                spec.key_template,
                job=spec.id,
                name=spec.name,
                created_ms=spec.created_ms,
                labels=spec.labels,
                sha256=digest.sha256,
                crc32c=digest.checksum.hex(),
            )
            spec = msgspec.structs.replace(spec, key=key)
        return self._planned(spec, digest.size, head, looked_at=looked_at)

    def early(self, spec: JobSpec, size: int | None, head: bytes) -> tuple[JobSpec, list[TransferPlan]] | None:
        """The same while the bytes are still coming, `head` among them; None when sending must wait for the last one.

        So it is when the size is not known, when the key or `on_conflict` asks what the bytes are, and when one call
        takes them all.
        """
        unready = size is None or spec.key is None or spec.on_conflict == "skip_same" or spec.source.kind != "body"
        if unready or self.settings.pipelining == "off":
            return None
        try:
            planned = self._planned(spec, size or 0, head, looked_at=spec.content_type is not None)
        except Invalid:
            return None  # `finish` says so
        return None if all(plan.whole for plan in planned[1]) else planned

    def _planned(self, spec: JobSpec, size: int, head: bytes, *, looked_at: bool) -> tuple[JobSpec, list[TransferPlan]]:
        destinations = [self._known(name) for name in spec.destinations]
        if spec.content_type is None:
            spec = msgspec.structs.replace(spec, content_type=content_types.sniffed(head))
        faults = Faults()
        if not looked_at:
            faults.add("/key", _fault_of_key(spec.key or "", destinations))
            self._check_objects(spec, spec.key or "", destinations, faults)
        plans = [self._plan(spec, destination, size, index, faults) for index, destination in enumerate(destinations)]
        faults.raise_if_any()
        return spec, [made for made in plans if made is not None]

    def unplanned(self, spec: JobSpec) -> list[TransferPlan]:
        """The transfers of a job whose source nobody has seen. Each waits for its turn at its key like any other.

        Raises Conflict when the source would be written over itself.
        """
        plans = [self._unplanned(spec, self._known(name)) for name in spec.destinations]
        self._check_not_itself(spec, plans)
        return plans

    def plans_for(self, spec: JobSpec, names: Sequence[str], size: int) -> list[TransferPlan]:
        """The transfers of a job whose bytes are known to further destinations.

        Raises Invalid where one could not have been named at submit, Conflict when it is the source itself.
        """
        faults = Faults()
        destinations = [self._known(name) for name in names]
        self._check_conflict(spec, destinations, faults)
        faults.add("/key", _fault_of_key(spec.key or "", destinations))
        self._check_objects(spec, spec.key or "", destinations, faults)
        plans = [self._plan(spec, one, size, index, faults) for index, one in enumerate(destinations)]
        for fault in faults.errors:
            fault["pointer"] = "/destinations"  # all else was said when the job was submitted
        faults.raise_if_any()
        found = [made for made in plans if made is not None]
        self._check_not_itself(spec, found)
        return found

    def _check_not_itself(self, spec: JobSpec, plans: Sequence[TransferPlan]) -> None:
        source = spec.source
        if source.kind == "destination" and spec.key is not None:
            here = self._known(source.destination).url_for(source.key)
            if any(plan.url == here for plan in plans):
                raise Conflict(f"{here} is the source: it cannot be the target as well.")

    def _unplanned(self, spec: JobSpec, destination: Destination) -> TransferPlan:
        plan = transfer_plan(spec, destination, self._fingerprints[destination.name], Plan(0, 1))
        nameless = {} if spec.key is not None else {"key": "", "claim": f"unnamed/{spec.id}"}
        return msgspec.structs.replace(plan, part_size=0, total=0, whole=False, window=1, **nameless)

    def _plan(
        self, spec: JobSpec, destination: Destination, size: int, index: int, faults: Faults
    ) -> TransferPlan | None:
        try:
            cut = plan_for(destination, size)
        except Unplannable as error:
            faults.add(f"/destinations/{index}", f"Too large for destination {destination.name!r}: {error}.")
            return None
        return transfer_plan(spec, destination, self._fingerprints[destination.name], cut)

    def _known(self, name: str) -> Destination:
        found = self.configuration.destinations.get(name)
        if found is None:
            raise Invalid(f"There is no destination {name!r} any more.", code="unknown_destination")
        return found

    def _destinations(self, options: SubmitOptions, faults: Faults) -> list[Destination]:
        names = options.destinations or [self.configuration.default]
        if len(names) > MAX_DESTINATIONS:
            detail = f"A job goes to at most {MAX_DESTINATIONS} destinations."
            raise Invalid(detail, errors=[{"pointer": "/destinations", "detail": detail}])
        unknown = []
        for index, name in enumerate(names):
            try:
                self.configuration.expand([name])
            except UnknownDestination as error:
                unknown.append({"pointer": f"/destinations/{index}", "detail": str(error)})
        if unknown:
            raise Invalid(unknown[0]["detail"], code="unknown_destination", errors=unknown)
        return [self.configuration.destinations[name] for name in self.configuration.expand(names)]

    def _check_size(self, size: int | None, destinations: Sequence[Destination], faults: Faults) -> None:
        if size is None:
            return
        limit = self.settings.max_size
        if limit is not None and size > limit:
            raise TooLarge(f"The file has {size} bytes; this server takes at most {limit} (BUCKETLINE_MAX_SIZE).")
        for index, destination in enumerate(destinations):
            try:
                plan_for(destination, size)
            except Unplannable as error:
                faults.add(f"/destinations/{index}", f"Too large for destination {destination.name!r}: {error}.")

    def _source(self, options: SubmitOptions, faults: Faults) -> Source:
        if options.source is None:
            return Source()
        given = options.source
        if set(given) == {"destination", "key"}:
            return stored_source(self.configuration, given["destination"], given["key"], faults)
        if "url" in given and set(given) <= {"url", "credentials"}:
            return web_source(self.configuration, self.settings, given, faults, named=bool(options.name))
        if set(given) != {"path"}:
            faults.add("/source", 'A source is {"path": …}, {"url": …} or {"destination": …, "key": …}.')
            return Source()
        path = given["path"]
        if not isinstance(path, str) or not path or "\0" in path:
            faults.add("/source/path", "A path is text, and not empty.")
            return Source()
        return self._path(path, faults)

    def _path(self, path: str, faults: Faults) -> Source:
        """A path counts only as what it really is, behind all links, and only below an allowed root."""
        real = Path(os.path.realpath(path))
        roots = [Path(os.path.realpath(root)) for root in self.settings.allowed_roots]
        if not os.path.isabs(path) or not any(real.is_relative_to(root) for root in roots):
            allowed = "none is configured" if not roots else "not below an allowed root"
            faults.add("/source/path", f"This path may not be read: {allowed} (BUCKETLINE_SOURCE_ROOTS on the server).")
            return Source()
        try:
            found = real.stat()
        except OSError as error:
            faults.add("/source/path", f"The file cannot be read: {error.strerror}.")
            return Source()
        if not stat.S_ISREG(found.st_mode) or not os.access(real, os.R_OK):
            faults.add("/source/path", "This is no regular file that the server may read.")
            return Source()
        return Source(kind="path", path=str(real), mtime_ns=found.st_mtime_ns, inode=found.st_ino)

    def _name(self, options: SubmitOptions, faults: Faults) -> str:
        name = options.name
        for member in ("path", "key"):
            if not name and options.source and isinstance(options.source.get(member), str):
                name = keys.last_segment(options.source[member])
        if not name and options.source and isinstance(options.source.get("url"), str):
            name = name_in_url(options.source["url"])
        if not name and options.key:
            name = keys.last_segment(options.key)
            name = None if keys.fault_of_name(name) else name
        name = name or "upload"
        faults.add("/name", keys.fault_of_name(name))
        return name

    def _content_type(self, options: SubmitOptions, name: str, source: Source, faults: Faults) -> str | None:
        given = options.content_type
        if given is None:
            return None if source.distant else content_types.by_name(name)  # where it is, it may have one
        faults.add("/content_type", fault_of_content_type(given))
        return given

    def _metadata(self, options: SubmitOptions, faults: Faults) -> dict[str, str]:
        total = 0
        for name, value in options.metadata.items():
            total += len(name.encode(errors="replace")) + len(value.encode(errors="replace"))
            if not _METADATA_NAME.fullmatch(name):
                faults.add("/metadata", "Metadata names are letters, digits, '-', '_' and '.', 128 at most.")
            elif name.lower().startswith("bucketline-"):
                faults.add(f"/metadata/{name}", "Names that begin with bucketline- are reserved.")
            elif keys.fault_of_text(value):
                faults.add(f"/metadata/{name}", keys.fault_of_text(value))
        if total > MAX_METADATA_BYTES:
            faults.add("/metadata", f"Metadata is at most {MAX_METADATA_BYTES} bytes, names and values together.")
        kept = {name.lower(): value for name, value in options.metadata.items()}
        if len(kept) < len(options.metadata):
            faults.add("/metadata", "Metadata names that differ only in case are the same name to a store.")
        return kept

    def _check_objects(self, spec: JobSpec, key: str, destinations: Sequence[Destination], faults: Faults) -> None:
        """What a provider would refuse about this object, or not keep, is refused now."""
        pointed = "/key" if spec.key is not None else "/key_template"
        for destination in destinations:
            for name, text in destination.object_faults(key, spec.properties):
                faults.add(pointed if name == "key" else f"/{name}", text)

    def _labels(self, options: SubmitOptions, faults: Faults) -> dict[str, str]:
        if len(options.labels) > MAX_LABELS:
            faults.add("/labels", f"A job has at most {MAX_LABELS} labels.")
        for name, value in options.labels.items():
            if not _LABEL_NAME.fullmatch(name):
                faults.add("/labels", "Label names are letters, digits, '-', '_' and '.', 64 at most.")
            elif len(value.encode(errors="replace")) > MAX_LABEL_BYTES:
                faults.add(f"/labels/{name}", f"A label has at most {MAX_LABEL_BYTES} bytes.")
            elif keys.fault_of_text(value):
                faults.add(f"/labels/{name}", keys.fault_of_text(value))
        return dict(options.labels)

    def _retain(self, options: SubmitOptions, faults: Faults) -> int:
        if options.retain_seconds is None:
            return self.settings.retain_seconds
        if not 0 <= options.retain_seconds <= MAX_RETAIN_SECONDS:
            faults.add("/retain_seconds", f"Between 0 and {MAX_RETAIN_SECONDS} seconds.")
        return options.retain_seconds

    def _webhook(self, url: str | None, faults: Faults) -> str | None:
        if url is None:
            return None
        if not self.configuration.webhooks.keys:
            faults.add("/webhook", "This server signs no webhooks: its plugins.toml has no secret in [webhooks].")
        try:
            rules = Rules.of(self.settings.webhook_ports, self.settings.webhook_allow, "BUCKETLINE_WEBHOOK")
            faults.add("/webhook", rules.fault_of(place_of(url)))
        except ValueError as fault:
            faults.add("/webhook", str(fault))
        return url

    def _actor(self, name: str | None, pointer: str, faults: Faults) -> str | None:
        known = self.configuration.actors
        if name is not None and name not in known:
            names = ", ".join(sorted(known)) or "none"
            faults.add(pointer, f"This server's plugins.toml allows no actor {name[:80]!r}; it allows: {names}.")
        return name

    def check_webhook(self, url: str) -> None:
        """Raises Invalid unless a job may name this webhook."""
        faults = Faults()
        self._webhook(url, faults)
        faults.raise_if_any()

    def _check_key(
        self, spec: JobSpec, options: SubmitOptions, destinations: Sequence[Destination], faults: Faults
    ) -> None:
        if options.key is not None and options.key_template is not None:
            faults.add("/key_template", "Give either a key or a template, not both.")
        if options.key is not None:
            faults.add("/key", _fault_of_key(options.key, destinations))
        else:
            faults.add("/key_template", keys.fault_of_template(spec.key_template, spec.labels))

    def _check_conflict(self, spec: JobSpec, destinations: Sequence[Destination], faults: Faults) -> None:
        if spec.on_conflict == "fail":
            for destination in destinations:
                if not destination.capabilities.create_only:
                    faults.add(
                        "/on_conflict",
                        f"Destination {destination.name!r} cannot promise to create only; "
                        "use replace, rename or skip_same.",
                    )

    def _with_key(self, spec: JobSpec, destinations: Sequence[Destination]) -> JobSpec:
        """Renders the key where it does not depend on the content, so that a bad one is refused before the body is
        read.
        """
        faults = Faults()
        if spec.key is None and (keys.needs_content(spec.key_template) or waits_for_name(spec)):
            self._check_objects(spec, STAND_IN, destinations, faults)
            faults.raise_if_any()
            return spec
        key = spec.key
        if key is None:
            key = keys.render(
                spec.key_template, job=spec.id, name=spec.name, created_ms=spec.created_ms, labels=spec.labels
            )
            faults.add("/key_template", _fault_of_key(key, destinations))
        self._check_objects(spec, key, destinations, faults)
        faults.raise_if_any()
        return msgspec.structs.replace(spec, key=key)


def fault_of_content_type(given: str) -> str | None:
    """Why this cannot be a content type, or None."""
    if len(given) <= 255 and given.isascii() and _CONTENT_TYPE.fullmatch(given):
        return None
    return "A content type is type/subtype, with parameters if need be, in printable ASCII."


def _further_properties(options: SubmitOptions, faults: Faults) -> dict[str, Any]:
    """The properties that only some stores have; whether these do is asked when the key is known."""
    found = {name: getattr(options, name) for name in FURTHER_PROPERTIES}
    for name, value in found.items():
        for text in [value or ""] if name != "tags" else [*value, *value.values()]:
            faults.add(f"/{name}", keys.fault_of_text(text))
            if len(text.encode(errors="replace")) > MAX_PROPERTY_BYTES:
                faults.add(f"/{name}", f"At most {MAX_PROPERTY_BYTES} bytes.")
    return found


def plan_for(destination: Destination, size: int) -> Plan:
    """The plan of a file for a destination; Unplannable when it cannot hold it."""
    return plan(size, destination.capabilities, destination.part_size)


def transfer_plan(spec: JobSpec, destination: Destination, fingerprint: str, cut: Plan) -> TransferPlan:
    """How a file that is cut like this goes to a destination."""
    key = spec.key or ""
    return TransferPlan(
        destination=destination.name,
        backend=destination.backend,
        key=destination.full_key(key),
        claim=destination.full_key(key),
        url=destination.url_for(key),
        fingerprint=fingerprint,
        part_size=cut.part_size,
        total=cut.total,
        window=destination.concurrency if destination.capabilities.parallel_parts else 1,
        whole=cut.total == 1,
        ordered=not destination.capabilities.parallel_parts,
        priority=spec.priority,
    )


def wanted_digests(spec: JobSpec) -> set[str]:
    """Digests that must be computed beside the CRC32C while the bytes arrive."""
    asked = (spec.checksum or "").startswith("sha256:") or "sha256" in keys.fields_of(
        spec.key_template if spec.key is None else ""
    )
    return {"sha256"} if asked else set()


def check_digest(spec: JobSpec, digest: Digest) -> None:
    """Raises ChecksumMismatch unless the bytes are those that the client announced."""
    if spec.checksum is None:
        return
    algorithm, _, value = spec.checksum.partition(":")
    found = digest.sha256 if algorithm == "sha256" else digest.crc32c_base64
    if found != value:
        raise ChecksumMismatch(
            f"The {algorithm} of the bytes received is {found}, announced was {value}; nothing was kept."
        )


def _fault_of_key(key: str, destinations: Sequence[Destination]) -> str | None:
    """Why this key cannot be used at these destinations, each of which puts its prefix before it; or None."""
    fault = keys.fault_of_key(key)
    if fault:
        return fault
    for destination in destinations:
        if len(destination.full_key(key).encode()) > keys.MAX_KEY_BYTES:
            return f"With the prefix of {destination.name!r} the key has more than {keys.MAX_KEY_BYTES} bytes."
    return None


def _template_of(destinations: Sequence[Destination]) -> str:
    """A job has one key: the first destination's template, else the default."""
    return next((one.key_template for one in destinations if one.key_template), keys.DEFAULT_TEMPLATE)


def _fault_of_checksum(checksum: str | None) -> str | None:
    if checksum is None:
        return None
    algorithm, colon, value = checksum.partition(":")
    if algorithm == "sha256" and re.fullmatch(r"[0-9a-f]{64}", value):
        return None
    if algorithm == "crc32c" and colon:
        try:
            if len(base64.b64decode(value, validate=True)) == 4:
                return None
        except (ValueError, binascii.Error):
            pass
    return "A checksum is sha256:<64 lower-case hex digits> or crc32c:<base64 of 4 big-endian bytes>."
