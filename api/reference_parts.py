"""What an operation of the reference is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]


class Answer(NamedTuple):
    """An answer that is no problem. `headers` are names of `HEADERS`."""

    about: str
    shape: Any = None
    """A type, or several."""
    headers: tuple[str, ...] = ()
    media: str = "application/json"


class Operation(NamedTuple):
    """One method of one address. `refused` names problem codes beside the common ones; `404 code` gives it a status."""

    tag: str
    method: str
    path: str
    title: str
    answers: dict[int, Answer]
    about: str = ""
    parameters: tuple[str, ...] = ()
    body: str = ""
    refused: str = ""
    head: bool = False


def parameter(name: str, where: str, about: str, schema: Json, *, required: bool = False) -> Json:
    return {"name": name, "in": where, "description": about, "required": required or where == "path", "schema": schema}


TEXT: Json = {"type": "string"}
