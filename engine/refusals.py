"""What destinations refuse of an object, known before anything is sent to them."""

from __future__ import annotations

from collections.abc import Sequence

from backends.registry import Destination
from engine import keys
from engine.faults import Faults
from engine.models import JobSpec


def fault_of_key(key: str, destinations: Sequence[Destination]) -> str | None:
    """Why this key cannot be used at these destinations, each of which puts its prefix before it; or None."""
    fault = keys.fault_of_key(key)
    if fault:
        return fault
    for destination in destinations:
        if len(destination.full_key(key).encode()) > keys.MAX_KEY_BYTES:
            return f"With the prefix of {destination.name!r} the key has more than {keys.MAX_KEY_BYTES} bytes."
    return None


def check_object(spec: JobSpec, key: str, destinations: Sequence[Destination], faults: Faults) -> None:
    """What a provider would refuse about this object, or not keep, is refused now."""
    pointed = "/key" if spec.key is not None else "/key_template"
    for destination in destinations:
        for name, text in destination.object_faults(key, spec.properties):
            faults.add(pointed if name == "key" else f"/{name}", text)


def check_conflict(spec: JobSpec, destinations: Sequence[Destination], faults: Faults) -> None:
    """A promise to create only is given where it can be kept."""
    if spec.on_conflict == "fail":
        for destination in destinations:
            if not destination.capabilities.create_only:
                faults.add(
                    "/on_conflict",
                    f"Destination {destination.name!r} cannot promise to create only; "
                    "use replace, rename or skip_same.",
                )
