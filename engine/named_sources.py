"""What can be known of a source that a request names, without asking anybody: at other destinations, on the web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.addresses import Rules, place_of
from backends.config import Configuration
from engine import keys
from engine.config import Settings
from engine.models import JobSpec, Source

if TYPE_CHECKING:
    from engine.submission import Faults


def stored_source(configuration: Configuration, destination: Any, key: Any, faults: Faults) -> Source:
    """An object at a destination. The key is behind that destination's prefix, and may not climb out of it."""
    known = configuration.destinations
    if not isinstance(destination, str) or destination not in known:
        faults.add(
            "/source/destination", f"There is no destination {destination!r}; there are {', '.join(sorted(known))}."
        )
    elif not isinstance(key, str):
        faults.add("/source/key", "A key is text.")
    else:
        faults.add("/source/key", keys.fault_of_key(key))
        return Source(kind="destination", destination=destination, key=key, fingerprint=known[destination].fingerprint)
    return Source()


def web_source(
    configuration: Configuration, settings: Settings, given: Mapping[str, Any], faults: Faults, *, named: bool
) -> Source:
    """A URL, as far as it speaks for itself; what it resolves to is looked at by the worker that connects.

    `named`: the client gave the file a name.
    """
    url, credentials = str(given["url"]), given.get("credentials")
    try:
        place = place_of(url)
    except ValueError as fault:
        faults.add("/source/url", str(fault))
        return Source()
    faults.add("/source/url", Rules.of(settings.import_ports, settings.import_allow).fault_of(place))
    if credentials is not None:
        known = configuration.credentials
        if credentials not in known:
            names = ", ".join(sorted(known)) or "none"
            faults.add("/source/credentials", f"There are no credentials {credentials!r}; known are: {names}.")
        elif place.origin not in known[credentials].origins:
            faults.add("/source/credentials", f"These credentials may not be sent to {place.origin}.")
    return Source(kind="url", url=url.partition("#")[0], credentials=credentials or "", named=named)


def waits_for_name(spec: JobSpec) -> bool:
    """Whether the key depends on a name that a web server may give."""
    asks = not {"name", "stem", "ext"}.isdisjoint(keys.fields_of(spec.key_template))
    return spec.source.kind == "url" and not spec.source.named and asks


def name_in_url(url: str) -> str | None:
    """The last segment of the path, where it can be a name."""
    try:
        name = place_of(url).name
    except ValueError:
        return None
    return name if name and keys.fault_of_name(name) is None else None
