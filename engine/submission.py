"""Turns what a client asks for into a job's specification, and refuses what can be known to fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import uuid_utils

from backends.addresses import Rules, place_of
from backends.config import Configuration, UnknownDestination
from backends.registry import Destination
from engine import keys
from engine.announced import fault_of_checksum
from engine.attributes import content_type_of, further_properties, labels_of, metadata_of
from engine.config import Settings
from engine.errors import Invalid, TooLarge
from engine.faults import Faults
from engine.models import JobSpec, SubmitOptions
from engine.named_sources import name_of, source_of, waits_for_name
from engine.planning import Planning, plan_or_fault
from engine.refusals import check_conflict, check_object, fault_of_key

MAX_DESTINATIONS = 32
MAX_RETAIN_SECONDS = 366 * 86_400

STAND_IN = "object"
"""Stands for a key that depends on the content, as long as that is not known."""


class Desk:
    """Where submissions are examined: the configuration and the settings of this process."""

    def __init__(
        self, configuration: Configuration, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self.configuration = configuration
        self.settings = settings
        self.clock = clock
        self.planning = Planning(configuration, settings)

    def prepare(self, options: SubmitOptions, *, size: int | None, owner: str, job: str | None = None) -> JobSpec:
        """The specification of a job, complete but for what depends on the content.

        size: of the body, when it is declared. Raises Invalid (with a pointer for every fault) or TooLarge.
        """
        faults = Faults()
        destinations = self._destinations(options)
        self._check_size(size, destinations, faults)
        source = source_of(self.configuration, self.settings, options, faults)
        name = name_of(options, faults)
        created_ms = int(self.clock() * 1000)
        spec = JobSpec(
            id=job or str(uuid_utils.uuid7()),
            created_ms=created_ms,
            name=name,
            key=options.key,
            key_template=options.key_template or _template_of(destinations),
            destinations=[destination.name for destination in destinations],
            content_type=content_type_of(options.content_type, name, source, faults),
            metadata=metadata_of(options.metadata, faults),
            **further_properties(options, faults),
            labels=labels_of(options.labels, faults),
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
        check_conflict(spec, destinations, faults)
        faults.add("/checksum", fault_of_checksum(options.checksum))
        faults.raise_if_any()
        return self._with_key(spec, destinations)

    def _destinations(self, options: SubmitOptions) -> list[Destination]:
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
            plan_or_fault(destination, size, index, faults)

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
            faults.add("/key", fault_of_key(options.key, destinations))
        else:
            faults.add("/key_template", keys.fault_of_template(spec.key_template, spec.labels))

    def _with_key(self, spec: JobSpec, destinations: Sequence[Destination]) -> JobSpec:
        """Renders the key where it does not depend on the content, so that a bad one is refused before the body is
        read.
        """
        faults = Faults()
        if spec.key is None and (keys.needs_content(spec.key_template) or waits_for_name(spec)):
            check_object(spec, STAND_IN, destinations, faults)
            faults.raise_if_any()
            return spec
        key = spec.key
        if key is None:
            key = keys.render(
                spec.key_template, job=spec.id, name=spec.name, created_ms=spec.created_ms, labels=spec.labels
            )
            faults.add("/key_template", fault_of_key(key, destinations))
        check_object(spec, key, destinations, faults)
        faults.raise_if_any()
        return msgspec.structs.replace(spec, key=key)


def _template_of(destinations: Sequence[Destination]) -> str:
    """A job has one key: the first destination's template, else the default."""
    return next((one.key_template for one in destinations if one.key_template), keys.DEFAULT_TEMPLATE)
