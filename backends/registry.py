"""Finds backends by name and binds one to a configured destination, without importing any SDK before it is built."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import msgspec

from backends.base import FURTHER_PROPERTIES, Backend, Capabilities, ChecksObjects, Plugin, Properties
from backends.errors import PermanentError
from backends.faults import suggestion
from backends.plugins import plugin_faults
from backends.rehearsal import RehearsalFaults, rehearse
from backends.structs import prepare_structs

GROUP = "bucketline.backends"
BUILT_IN = {
    "local": "backends.local:LocalPlugin",
    "memory": "backends.memory:MemoryPlugin",
    "s3": "backends.s3:S3Plugin",
    "gcs": "backends.gcs:GCSPlugin",
    "azure": "backends.azure:AzurePlugin",
    "fsspec": "backends.generic:FsspecPlugin",
}
"""The same as our entry points; listed here too, so that a source tree that was never installed works."""


_EXTRAS = ("s3", "gcs", "azure")
"""Backends that are the name of an extra; what fsspec lacks, it says itself."""


class RegistryError(Exception):
    """A backend cannot be used; the text says why. `hint` says what to do, when that is known."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


@dataclass(frozen=True)
class Destination:
    """One `[destinations.NAME]` of plugins.toml: where, how, and within which limits. Printing it shows no secret."""

    name: str
    plugin: Plugin = field(repr=False)
    options: msgspec.Struct = field(repr=False)
    capabilities: Capabilities = field(repr=False)
    """What the backend claims, narrowed by the file. The built backend knows only its own claim: plan with this one."""
    prefix: str = ""
    key_template: str | None = None
    part_size: int | None = None
    """Bytes per part that the operator asked for; None leaves it to the planner."""
    properties: Properties = field(default_factory=Properties)
    """What objects here are stored with, where a job says nothing else."""
    concurrency: int = 8
    """How many parts of one transfer may be on their way at once."""
    faults: RehearsalFaults | None = None
    """What is made to go wrong here, to rehearse it."""

    @property
    def backend(self) -> str:
        """The backend's name, for example `s3`."""
        return self.plugin.name

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when objects or sessions would be elsewhere than before. No secret goes into it."""
        definition = {
            "backend": self.backend,
            "prefix": self.prefix,
            "options": {key: value for key, value in _plain(self.options).items() if key not in self.plugin.secrets},
        }
        return hashlib.sha256(msgspec.json.encode(definition, order="sorted")).hexdigest()[:16]

    def full_key(self, key: str) -> str:
        """The key at the provider: the prefix, then the job's key, byte for byte."""
        return self.prefix + key

    def url_for(self, key: str) -> str:
        """The address to show for the job's `key` here, such as `s3://bucket/prefix/key`."""
        return self.plugin.url(self.options, self.full_key(key))

    def object_faults(self, key: str, properties: Properties) -> list[tuple[str, str]]:
        """(name of the option, what is wrong with it): why a job's object cannot be stored here like this."""
        asked = [name for name in FURTHER_PROPERTIES if getattr(properties, name)]
        if not self.capabilities.metadata and properties.metadata:
            asked.append("metadata")
        found = [
            (name, f"Destination {self.name!r} cannot keep it.")
            for name in asked
            if name not in self.capabilities.properties
        ]
        if (plugin := self._checks_objects) is not None:
            wanted = properties.over(self.properties)
            found += [
                (name, f"Destination {self.name!r}: {text}")
                for name, text in plugin.object_faults(self.options, self.full_key(key), wanted)
            ]
        return found

    @cached_property
    def _checks_objects(self) -> ChecksObjects | None:
        return self.plugin if isinstance(self.plugin, ChecksObjects) else None

    def build(self) -> Backend:
        """A new backend, to be made in the process that uses it, after any fork, and closed there.

        Raises `PermanentError` where the library that it needs is not installed.
        """
        try:
            made = self.plugin.build(self.options)
        except ImportError as error:
            told = f"Destination {self.name!r} needs a library that is not installed here: {str(error).rstrip('.')}."
            extra = f' Try: pip install "bucketline[{self.backend}]".' if self.backend in _EXTRAS else ""
            raise PermanentError(told + extra) from error
        if self.faults is not None:
            made = rehearse(made, self.faults)
        prepare_structs()  # its sessions are decoded by many threads
        return made


def names() -> list[str]:
    """The names of all installed backends, without importing them."""
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})


@cache
def plugin(name: str) -> Plugin:
    """The backend of that name, imported now. Raises `RegistryError` if there is none, or two, or it is unusable."""
    values = {entry.value for entry in entry_points(group=GROUP, name=name)}
    if name in BUILT_IN:
        values.add(BUILT_IN[name])
    if not values:
        raise RegistryError(f"there is no backend {name!r}", suggestion(name, names()))
    if len(values) > 1:
        found = " and ".join(sorted(values))
        raise RegistryError(f"two backends are called {name!r}: {found}", "uninstall one of the packages")
    return _load(EntryPoint(name, values.pop(), GROUP))


def _load(entry: EntryPoint) -> Plugin:
    try:
        loaded: Any = entry.load()
    except Exception as error:
        hint = f'try: pip install "bucketline[{entry.name}]"' if entry.name in BUILT_IN else ""
        raise RegistryError(f"backend {entry.name!r} cannot be imported: {error}", hint) from error
    made: Plugin = _made(loaded, entry)
    if found := plugin_faults(made):
        raise RegistryError(f"backend {entry.name!r} ({entry.value}) is no plug-in: {'; '.join(found)}")
    if made.name != entry.name:
        raise RegistryError(
            f"backend {entry.name!r} ({entry.value}) calls itself {made.name!r}", "the names must agree"
        )
    return made


def _made(loaded: Any, entry: EntryPoint) -> Any:
    try:
        return loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise RegistryError(
            f"backend {entry.name!r} ({entry.value}) is no plug-in: {type(error).__name__}: {error}",
            "the entry point names a class without constructor arguments, or an object",
        ) from error


def _plain(options: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(options, enc_hook=_path_text)
    return plain


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"options of type {type(value).__name__} cannot be part of a definition")
