"""What requests may hold, as JSON schemas: the options in each of their forms, and the bodies."""

from __future__ import annotations

from typing import Any

from api.options import CHECKSUMS, CHOICES, MAY_BE_LEFT_OUT, RETAIN_MOST_SECONDS, SOURCES, TABLE, kind_of
from api.reference import OPTION_TEXTS

Json = dict[str, Any]

SHAPES = "#/components/schemas/"
_BINARY: Json = {"type": "string", "contentMediaType": "application/octet-stream"}


def parameters() -> Json:
    """Each option as a query parameter, and as a header."""
    return {f"{where}_{name}": _option_parameter(name, where) for where in ("query", "header") for name in TABLE}


def _option_parameter(name: str, where: str) -> Json:
    shown = name if where == "query" else "Bucketline-" + "-".join(map(str.capitalize, name.split("_")))
    found: Json = {"name": shown, "in": where, "description": _about(name), "schema": _flat(name)}
    if kind_of(name) == "list":
        found |= {"schema": _value(name), "style": "form" if where == "query" else "simple", "explode": False}
    elif kind_of(name) == "map":
        found["description"] += " Written `k=v, k2=v2`, percent-encoded."
    return found


def _about(name: str) -> str:
    return OPTION_TEXTS[name]


def _flat(name: str) -> Json:
    """An option as one text."""
    return _value(name) if kind_of(name) in ("text", "number") else {"type": "string"}


def _value(name: str) -> Json:
    """An option in JSON."""
    kind = kind_of(name)
    if kind == "number":
        return {"type": "integer", "minimum": 0, "maximum": RETAIN_MOST_SECONDS}
    if kind == "list":
        return {"type": "array", "items": {"type": "string", "minLength": 1}}
    if kind == "map":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if name in CHOICES:
        return {"enum": list(CHOICES[name])}
    if name == "checksum":
        return {
            "type": "string",
            "pattern": "|".join(f"^{word}:{digits.pattern}$" for word, digits in CHECKSUMS.items()),
        }
    return {"type": "string"}


def submission() -> Json:
    properties = {name: _value(name) | {"description": _about(name)} for name in TABLE}
    source = {"oneOf": [_source(members) for members in SOURCES.values()], "description": "Where the bytes are."}
    return _object({"source": source} | properties, ["source"])


def _source(members: tuple[str, ...]) -> Json:
    needed = [name for name in members if name != MAY_BE_LEFT_OUT]
    return _object({name: {"type": "string", "minLength": 1} for name in members}, needed)


def form() -> Json:
    fields = {name: _flat(name) | {"description": _about(name)} for name in TABLE}
    for name in TABLE:
        if kind_of(name) == "map":
            fields[name]["contentMediaType"] = "application/json"
    files = {"type": "array", "items": _BINARY, "minItems": 1, "description": "One or several files."}
    return _object({"file": files} | fields, ["file"])


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def body(kind: str) -> Json:
    file: Json = {"application/octet-stream": {"schema": _BINARY}}
    if kind == "file":
        return {"description": "The file, of any content type.", "required": True, "content": file}
    if kind == "chunk":
        return {"description": "A chunk.", "content": {"application/offset+octet-stream": {"schema": _BINARY}}}
    if kind == "destinations":
        more = {"schema": {"$ref": f"{SHAPES}MoreDestinations"}}
        return {"required": True, "content": {"application/json": more}}
    if kind == "token":
        return {"content": {"application/json": {"schema": {"$ref": f"{SHAPES}TokenWish"}}}}
    return {
        "description": "A form with files; JSON that names a source; or, with any other content type, the file itself.",
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"$ref": f"{SHAPES}Form"}},
            "application/json": {"schema": {"$ref": f"{SHAPES}SourceSubmission"}},
            **file,
        },
    }
