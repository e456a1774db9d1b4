"""What a client says about its file beside where it goes: content type, metadata, labels, further properties."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backends.base import FURTHER_PROPERTIES
from engine import content_types, keys
from engine.faults import Faults
from engine.models import Source, SubmitOptions

MAX_METADATA_BYTES = 2048
MAX_LABELS = 64
MAX_LABEL_BYTES = 256
MAX_PROPERTY_BYTES = 1024

_METADATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CONTENT_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+([ \t]*;[ -~]*)?")


def content_type_of(given: str | None, name: str, source: Source, faults: Faults) -> str | None:
    """The content type of a file: what was given, else what its name says; None when its source may know better."""
    if given is None:
        return None if source.distant else content_types.by_name(name)  # where it is, it may have one
    faults.add("/content_type", fault_of_content_type(given))
    return given


def fault_of_content_type(given: str) -> str | None:
    """Why this cannot be a content type, or None."""
    if len(given) <= 255 and given.isascii() and _CONTENT_TYPE.fullmatch(given):
        return None
    return "A content type is type/subtype, with parameters if need be, in printable ASCII."


def metadata_of(given: Mapping[str, str], faults: Faults) -> dict[str, str]:
    """The metadata as stores keep it: names in lower case."""
    total = 0
    for name, value in given.items():
        total += len(name.encode(errors="replace")) + len(value.encode(errors="replace"))
        if not _METADATA_NAME.fullmatch(name):
            faults.add("/metadata", "Metadata names are letters, digits, '-', '_' and '.', 128 at most.")
        elif name.lower().startswith("bucketline-"):
            faults.add(f"/metadata/{name}", "Names that begin with bucketline- are reserved.")
        elif keys.fault_of_text(value):
            faults.add(f"/metadata/{name}", keys.fault_of_text(value))
    if total > MAX_METADATA_BYTES:
        faults.add("/metadata", f"Metadata is at most {MAX_METADATA_BYTES} bytes, names and values together.")
    kept = {name.lower(): value for name, value in given.items()}
    if len(kept) < len(given):
        faults.add("/metadata", "Metadata names that differ only in case are the same name to a store.")
    return kept


def labels_of(given: Mapping[str, str], faults: Faults) -> dict[str, str]:
    """The labels, each within its limits."""
    if len(given) > MAX_LABELS:
        faults.add("/labels", f"A job has at most {MAX_LABELS} labels.")
    for name, value in given.items():
        if not _LABEL_NAME.fullmatch(name):
            faults.add("/labels", "Label names are letters, digits, '-', '_' and '.', 64 at most.")
        elif len(value.encode(errors="replace")) > MAX_LABEL_BYTES:
            faults.add(f"/labels/{name}", f"A label has at most {MAX_LABEL_BYTES} bytes.")
        elif keys.fault_of_text(value):
            faults.add(f"/labels/{name}", keys.fault_of_text(value))
    return dict(given)


def further_properties(options: SubmitOptions, faults: Faults) -> dict[str, Any]:
    """The properties that only some stores have; whether these do is asked when the key is known."""
    found = {name: getattr(options, name) for name in FURTHER_PROPERTIES}
    for name, value in found.items():
        for text in [value or ""] if name != "tags" else [*value, *value.values()]:
            faults.add(f"/{name}", keys.fault_of_text(text))
            if len(text.encode(errors="replace")) > MAX_PROPERTY_BYTES:
                faults.add(f"/{name}", f"At most {MAX_PROPERTY_BYTES} bytes.")
    return found
