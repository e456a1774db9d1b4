"""What can be known of a source that a request names, without asking anybody: on this machine, at other destinations,
on the web.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.addresses import Rules, place_of
from backends.config import Configuration
from engine import keys
from engine.config import Settings
from engine.faults import Faults
from engine.models import JobSpec, Source, SubmitOptions
from engine.named_files import opened


def source_of(configuration: Configuration, settings: Settings, options: SubmitOptions, faults: Faults) -> Source:
    """The source that a request names; the body of the request, when it names none."""
    if options.source is None:
        return Source()
    given = options.source
    if set(given) == {"destination", "key"}:
        return stored_source(configuration, given["destination"], given["key"], faults)
    if "url" in given and set(given) <= {"url", "credentials"}:
        return web_source(configuration, settings, given, faults, named=bool(options.name))
    if set(given) != {"path"}:
        faults.add("/source", 'A source is {"path": …}, {"url": …} or {"destination": …, "key": …}.')
        return Source()
    return path_source(settings.allowed_roots, given["path"], faults)


def path_source(allowed_roots: Sequence[Path], path: Any, faults: Faults) -> Source:
    """A file of this machine. A path counts only as what it really is, behind all links, and only below an allowed
    root.
    """
    if not isinstance(path, str) or not path or "\0" in path:
        faults.add("/source/path", "A path is text, and not empty.")
        return Source()
    try:
        real = Path(os.path.realpath(path))
        roots = [Path(os.path.realpath(root)) for root in allowed_roots]
        if not os.path.isabs(path) or not any(real.is_relative_to(root) for root in roots):
            allowed = "none is configured" if not roots else "not below an allowed root"
            faults.add("/source/path", f"This path may not be read: {allowed} (BUCKETLINE_SOURCE_ROOTS on the server).")
            return Source()
        with opened(real) as file:
            found = os.fstat(file)
    except OSError as error:  # of realpath, too, when a link goes while it looks
        faults.add("/source/path", f"The file cannot be read: {error.strerror}.")
        return Source()
    return Source(kind="path", path=str(real), mtime_ns=found.st_mtime_ns, inode=found.st_ino)


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


def name_of(options: SubmitOptions, faults: Faults) -> str:
    """The name of the file: what was given, else the last word of the source or the key."""
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
