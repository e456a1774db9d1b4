"""Strict reading of what clients write: JSON, queries, and names that have to be known."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import unquote_plus

import msgspec

from api.problems import Problem, invalid


def read_json(data: bytes, *, what: str = "The body", pointer: str = "") -> Any:
    """Strict JSON: UTF-8, no byte order mark, no NaN, no lone surrogates, no name twice in one object."""
    try:
        msgspec.json.decode(data)  # strict where the standard library is lenient
        return json.loads(data.decode(), object_pairs_hook=_without_doubles)
    except RecursionError:
        detail = f"{what} is nested too deeply."
    except (ValueError, UnicodeError) as error:
        detail = f"{what} is not JSON: {str(error)[:200]}."
    raise invalid(pointer, detail, code="bad_json")


def _without_doubles(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return document


def query_pairs(query_string: bytes) -> list[tuple[str, str]]:
    """The decoded parameters of a query, in order; text that is not UTF-8 is refused."""
    pairs = []
    try:
        for item in query_string.decode("ascii").split("&"):
            if item:
                name, _, value = item.partition("=")
                pairs.append((unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")))
    except UnicodeError:
        raise Problem("bad_request", "The query must be percent-encoded UTF-8.") from None
    return pairs


def unknown_parameter(name: str, known: Iterable[str]) -> NoReturn:
    """Refuse a query parameter that means nothing here."""
    raise invalid(
        f"/{escaped(name[:200])}",
        f"There is no parameter {name[:80]!r}{nearest(name, known)}",
        code="unknown_option",
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: what may have been meant, or its full stop."""
    close = difflib.get_close_matches(str(word)[:80].lower(), list(known), n=1, cutoff=0.55)
    return f"; did you mean {close[0]}?" if close else "."


def escaped(name: str) -> str:
    """A name as one step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
