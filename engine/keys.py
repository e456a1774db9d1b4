"""Keys and names: what is allowed, and how a template becomes a key. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

MAX_KEY_BYTES = 1024
MAX_NAME_BYTES = 255
DEFAULT_TEMPLATE = "{id}/{name}"
FIELDS = ("yyyy", "mm", "dd", "id", "name", "stem", "ext", "sha256", "crc32c", "label.x")
CONTENT_FIELDS = frozenset({"sha256", "crc32c"})

_FIELD = re.compile(r"\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def fault_of_key(key: str) -> str | None:
    """Why this key cannot be used, or None. What is allowed is stored byte for byte: no normalisation, no expansion."""
    if not key:
        return "A key cannot be empty."
    if _SURROGATE.search(key):
        return "The key is not valid Unicode."
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"A key may have at most {MAX_KEY_BYTES} bytes in UTF-8."
    if _CONTROL.search(key):
        return "A key cannot have control characters or line separators."
    if key.startswith("/") or key.endswith("/"):
        return "A key neither begins nor ends with a slash."
    if "\\" in key:
        return "A key cannot have a backslash: what it means differs between stores."
    segments = key.split("/")
    if ".." in segments or "." in segments:
        return "A key cannot climb: '.' and '..' are not allowed as segments."
    if "" in segments:
        return "A key cannot have empty segments ('//')."
    if "::" in key:
        return "A key cannot have '::', which chains file systems."
    return None


def fault_of_name(name: str) -> str | None:
    """Why this file name cannot be used, or None."""
    if _SURROGATE.search(name):
        return "The name is not valid Unicode."
    if _CONTROL.search(name):
        return "A name cannot have control characters or line separators."
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"A name may have at most {MAX_NAME_BYTES} bytes in UTF-8."
    if name in (".", "..") or "/" in name or "\\" in name:
        return "A name is one segment, without slashes, and neither '.' nor '..'."
    return None


def fault_of_text(text: str) -> str | None:
    """Why this text cannot be a value of metadata or a label, or None."""
    if _SURROGATE.search(text):
        return "This is not valid Unicode."
    return "Control characters are not allowed here." if _CONTROL.search(text) else None


def last_segment(path: str) -> str:
    """The file name in a path of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def fields_of(template: str) -> list[str]:
    """The fields that a template asks for, in order."""
    return _FIELD.findall(template)


def needs_content(template: str) -> bool:
    """Whether the key can be rendered only when all bytes are there."""
    return not CONTENT_FIELDS.isdisjoint(fields_of(template))


def fault_of_template(template: str, labels: Mapping[str, str]) -> str | None:
    """Why this template cannot be used with these labels, or None."""
    for name in fields_of(template):
        if name.startswith("label.") and len(name) > 6:
            if name[6:] not in labels:
                return f"The template asks for {{{name}}}, but the job has no label {name[6:]!r}."
        elif name not in FIELDS[:-1]:
            near = difflib.get_close_matches(name, FIELDS, 1)
            hint = (
                f" Did you mean {{{near[0]}}}?"
                if near
                else f" There are {', '.join('{' + field + '}' for field in FIELDS)}."
            )
            return f"The template has an unknown field {{{name[:60]}}}.{hint}"
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        return "The template has a brace without its partner."
    return None


def render(
    template: str,
    *,
    job: str,
    name: str,
    created_ms: int,
    labels: Mapping[str, str],
    sha256: str | None = None,
    crc32c: str | None = None,
) -> str:
    """The key of a template that has no fault. Values are inserted as they are, never interpreted again. crc32c is hex
    here.
    """
    at = datetime.fromtimestamp(created_ms / 1000, UTC)
    path = PurePosixPath(name)
    values = {
        "yyyy": f"{at.year:04}", "mm": f"{at.month:02}", "dd": f"{at.day:02}", "id": job, "name": name,
        "stem": path.stem or name, "ext": path.suffix[1:], "sha256": sha256 or "", "crc32c": crc32c or "",
    }  # fmt: skip

    def value(match: re.Match[str]) -> str:
        field = match[1]
        return labels[field[6:]] if field.startswith("label.") else values[field]

    return _FIELD.sub(value, template)
