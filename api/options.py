"""The submit options: one table of names, read from queries, headers, form fields and JSON alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, get_args
from urllib.parse import unquote_to_bytes

from api.problems import invalid
from api.strict import escaped, nearest, query_pairs, read_json
from engine import content_types
from engine.models import OnConflict, Priority, SubmitOptions

HEADER_PREFIX = "bucketline-"
RETAIN_MOST_SECONDS = 10 * 365 * 86_400
_WHOLE_NUMBER = re.compile(r"[0-9]{1,12}")


# Each reader of a text form says what it takes; each reader of a JSON value checks the type (bool is not an int).
def _one_text(text: str, pointer: str) -> str:
    return text


def _list_text(text: str, pointer: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _number_text(text: str, pointer: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text.strip()):
        raise invalid(pointer, "A whole number of at most 12 digits is needed.")
    return int(text)


def _map_text(text: str, pointer: str) -> dict[str, str]:
    """`k=v, k2=v2`, each side percent-encoded."""
    pairs: dict[str, str] = {}
    for item in text.split(","):
        if not item.strip():
            continue
        name, equals, value = item.strip().partition("=")
        if not equals or not name:
            raise invalid(pointer, f"Pairs are written k=v, k2=v2 (percent-encoded); {item.strip()[:80]!r} is not one.")
        name, value = _percent(name, pointer), _percent(value, pointer)
        if name in pairs:
            raise invalid(pointer, f"The name {name[:80]!r} is given twice.")
        pairs[name] = value
    return pairs


def _percent(text: str, pointer: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise invalid(pointer, "Percent-encoded text must be UTF-8.") from None


def _json_map_text(text: str, pointer: str) -> dict[str, str]:
    """A map in a form field is a JSON object."""
    return _map_value(read_json(text.encode(), what="This field", pointer=pointer), pointer)


def _text_value(value: Any, pointer: str) -> str:
    if not isinstance(value, str):
        raise invalid(pointer, "A string is needed.")
    return value


def _list_value(value: Any, pointer: str) -> list[str]:
    if isinstance(value, str):
        return _list_text(value, pointer)
    if not isinstance(value, list):
        raise invalid(pointer, "A list of strings is needed.")
    return [_text_value(item, f"{pointer}/{index}") for index, item in enumerate(value)]


def _number_value(value: Any, pointer: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(pointer, "A whole number is needed.")
    if not 0 <= value <= RETAIN_MOST_SECONDS:
        raise invalid(pointer, f"A number from 0 to {RETAIN_MOST_SECONDS} is needed.")
    return value


def _map_value(value: Any, pointer: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise invalid(pointer, "An object of strings is needed.")
    return {name: _text_value(item, f"{pointer}/{escaped(name)}") for name, item in value.items()}


# What a source may have, by the member that says what it is.
SOURCES = {"path": ("path",), "url": ("url", "credentials"), "destination": ("destination", "key")}
_SOURCE_FORMS = '{"path": …}, {"url": …} or {"destination": …, "key": …}'
MAY_BE_LEFT_OUT = "credentials"


def _source_value(value: Any, pointer: str) -> dict[str, str]:
    source = _map_value(value, pointer)
    known = [name for names in SOURCES.values() for name in names]
    for name in source:
        if name not in known:
            hint = nearest(name, known)
            raise invalid(f"{pointer}/{escaped(name)}", f"A source has no {name[:80]!r}{hint}", code="unknown_option")
    kinds = [kind for kind in SOURCES if kind in source]
    if len(kinds) != 1:
        raise invalid(pointer, f"A source is one of {_SOURCE_FORMS}.")
    for name in source:
        if name not in SOURCES[kinds[0]]:
            raise invalid(f"{pointer}/{name}", f"A source with {kinds[0]!r} has no {name!r}.")
    for name in SOURCES[kinds[0]]:
        if not source.get(name) and (name in source or name != MAY_BE_LEFT_OUT):
            raise invalid(f"{pointer}/{name}", f"The {name} is needed.")
    return source


Reader = Callable[[str, str], Any]
_TEXT = (_one_text, _one_text, _text_value)
_LIST = (_list_text, _list_text, _list_value)
_MAP = (_map_text, _json_map_text, _map_value)
_NUMBER = (_number_text, _number_text, _number_value)
_KINDS: dict[str, object] = {"text": _TEXT, "list": _LIST, "map": _MAP, "number": _NUMBER}

# name → (reader of header and query text, reader of a form field, reader of a JSON value)
TABLE: dict[str, tuple[Reader, Reader, Callable[[Any, str], Any]]] = {
    "destinations": _LIST,
    "name": _TEXT,
    "key": _TEXT,
    "key_template": _TEXT,
    "content_type": _TEXT,
    "metadata": _MAP,
    "content_disposition": _TEXT,
    "cache_control": _TEXT,
    "storage_class": _TEXT,
    "acl": _TEXT,
    "encryption": _TEXT,
    "tags": _MAP,
    "labels": _MAP,
    "on_conflict": _TEXT,
    "checksum": _TEXT,
    "priority": _TEXT,
    "retain_seconds": _NUMBER,
    "webhook": _TEXT,
    "on_success": _TEXT,
    "on_failure": _TEXT,
}
CHOICES: dict[str, tuple[str, ...]] = {"on_conflict": get_args(OnConflict), "priority": get_args(Priority)}
CHECKSUMS = {"sha256": re.compile(r"[0-9a-f]{64}"), "crc32c": re.compile(r"[A-Za-z0-9+/]{6}==")}


def kind_of(name: str) -> str:
    """Whether an option is a text, a list, a map or a number."""
    return next(kind for kind, readers in _KINDS.items() if TABLE[name] is readers)


class Gathered:
    """The options of one request, collected from all the places where they may be given; each only once."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def query(self, query_string: bytes) -> None:
        """Query parameters; repeated lists and maps are joined."""
        for name, text in query_pairs(query_string):
            self._take(name, text, 0)

    def headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """`Bucketline-Name: value` headers."""
        for raw, value in headers:
            if raw[:11] == b"bucketline-":
                name = raw[11:].decode("latin-1").replace("-", "_")
                self._take(name, _header_text(value, name), 0)

    def field(self, name: str, text: str) -> None:
        """One text field of a form."""
        self._take(name, text, 1)

    def text(self, name: str, text: str) -> None:
        """One option as text, in the form of headers."""
        self._take(name, text, 0)

    def json(self, document: Any) -> None:
        """The members of a JSON body."""
        if not isinstance(document, dict):
            raise invalid("", "The body must be a JSON object.")
        for name, value in document.items():
            if name == "source":
                self._values["source"] = _source_value(value, "/source")
            elif name in TABLE:
                self._put(name, TABLE[name][2](value, f"/{name}"))
            else:
                _unknown(name)

    def default(self, name: str, value: Any) -> None:
        """A value that counts only where the client gave none."""
        if value is not None:
            self._values.setdefault(name, value)

    def default_type(self, told: str | None) -> None:
        """The content type that the request tells of the file beside the options."""
        self.default("content_type", told_type(told, self.get("name") or self.get("key")))

    def fix(self, name: str, value: Any) -> None:
        """A value that the address itself says; giving it again as an option is a contradiction."""
        if name in self._values:
            raise invalid(f"/{name}", f"The address already says the {name}; leave this option out.")
        self._values[name] = value

    def get(self, name: str) -> Any:
        """What is known so far."""
        return self._values.get(name)

    def options(self, **more: Any) -> SubmitOptions:
        """The options so far; `more` fills what is not given (a form's file name, a part's content type)."""
        values = {name: value for name, value in more.items() if value is not None} | self._values
        return SubmitOptions(**values)

    def _take(self, name: str, text: str, kind: int) -> None:
        if name not in TABLE:
            _unknown(name)
        self._put(name, TABLE[name][kind](text, f"/{name}"))

    def _put(self, name: str, value: Any) -> None:
        _check(name, value)
        known = self._values.get(name)
        if known is None:
            self._values[name] = value
        elif isinstance(value, list):
            self._values[name] = [*known, *value]
        elif isinstance(value, dict) and not known.keys() & value.keys():
            self._values[name] = {**known, **value}
        else:
            raise invalid(f"/{name}", "This option is given twice.")


def told_type(told: str | None, name: str | None) -> str | None:
    """What a request says of its file's type; None where that is no more than "bytes" (browsers, curl and HTTP
    libraries say so of what they do not know) and the name says it better.
    """
    plain = (told or "").partition(";")[0].strip().lower()
    return None if plain == content_types.UNKNOWN and content_types.by_name(name or "") else told


def _check(name: str, value: Any) -> None:
    choices = CHOICES.get(name)
    if choices and value not in choices:
        raise invalid(f"/{name}", f"One of {', '.join(choices)} is needed{nearest(value, choices)}")
    if name == "checksum":
        algorithm, colon, text = value.partition(":")
        form = CHECKSUMS.get(algorithm) if colon else None
        if form is None:
            raise invalid("/checksum", "Known are sha256:<hex> and crc32c:<base64>.", code="bad_checksum")
        if not form.fullmatch(text):
            raise invalid(
                "/checksum",
                "sha256 takes 64 lower-case hexadecimal digits, crc32c the base64 of 4 bytes.",
                code="bad_checksum",
            )


def _unknown(name: str) -> NoReturn:
    pointer = f"/{escaped(name[:200])}"
    if name == "source":
        raise invalid(pointer, "A source is given in an application/json body.")
    raise invalid(pointer, f"There is no option {name[:80]!r}{nearest(name, TABLE)}", code="unknown_option")


def _header_text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid(f"/{escaped(name)}", "Header values must be UTF-8.") from None
