"""How the text of each kind of setting is read; ValueError says what to write instead."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from backends.addresses import network_of
from backends.sizes import parse_size


def whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text.strip()) or not least <= int(text) <= most:
            raise ValueError(f"takes a whole number from {least:,} to {most:,}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise ValueError("takes a number of seconds from 0 to 3600")
    return value


def size(text: str) -> int:
    value = parse_size(text)
    if value < 1:
        raise ValueError("takes a size of at least 1 byte")
    return value


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            near = difflib.get_close_matches(text, words, 1)
            raise ValueError(f"takes {' or '.join(words)}" + (f"; did you mean {near[0]}?" if near else ""))
        return text

    return parse


def _split(text: str, takes: str) -> SplitResult:
    """The parts of an address; ValueError with what it takes where there are none, or a port that is none."""
    try:
        found = urlsplit(text)
        found.port  # noqa: B018 - reading it is the check
    except ValueError:
        raise ValueError(f"{takes}, and this is no such address") from None
    return found


def redis_url(text: str) -> str:
    parts = _split(text, "takes redis://HOST:PORT/DB with a port up to 65535")
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("takes redis://HOST:PORT/DB, rediss://… (TLS) or unix:///PATH?db=DB")
    database = dict(parse_qsl(parts.query)).get("db", "" if parts.scheme == "unix" else parts.path.strip("/"))
    if database and not database.isdecimal():
        raise ValueError(f"names a database by number, as redis://HOST:6379/0, not {database!r}")
    return text


def http_url(text: str) -> str:
    parts = _split(text, "takes the address of a Bucketline, as http://127.0.0.1:8000")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("takes the address of a Bucketline, as http://127.0.0.1:8000")
    return text.rstrip("/")


def node(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("takes up to 64 letters, digits, dots, dashes and underscores")
    return text


def secret(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("takes printable ASCII characters without spaces")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Browsers send an origin in lower case, without the scheme's own port, and it is compared as sent."""
    found = tuple(_items(text))
    for one in found:
        parts = urlsplit(one)
        if one != "*" and (not parts.netloc or one != f"{parts.scheme}://{parts.netloc}".lower() or "@" in one):
            raise ValueError(
                f"takes sites as https://app.example.com, without a path, separated by commas; not {one!r}"
            )
        if (parts.scheme, one.rpartition(":")[2]) in (("https", "443"), ("http", "80")):
            raise ValueError(f"takes sites as browsers tell them, without the usual port: {one.rpartition(':')[0]}")
    return found


def hosts(text: str) -> tuple[str, ...]:
    """Host names, addresses and networks."""
    found = tuple(_items(text))
    for one in found:
        if network_of(one) is None and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", one):
            raise ValueError(f"takes host names, addresses and networks as 10.1.0.0/16, by commas; not {one!r}")
    return found


def ports(text: str) -> tuple[int, ...]:
    found = _items(text)
    if not found or not all(re.fullmatch(r"\d{1,5}", one) and 0 < int(one) < 65536 for one in found):
        raise ValueError("takes ports by commas, as 80,443,8443")
    return tuple(map(int, found))


def waits(text: str) -> tuple[float, ...]:
    found = _items(text)
    if not all(re.fullmatch(r"\d{1,5}(\.\d{1,3})?", one) for one in found):
        raise ValueError("takes seconds by commas, as 5,30,300")
    return tuple(map(float, found))


def path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("takes a path")
    return Path(text).expanduser().absolute()


def paths(text: str) -> list[Path]:
    found = [path(item) for item in text.split(os.pathsep) if item]
    missing = [str(one) for one in found if not one.is_dir()]
    if missing:
        raise ValueError(f"names directories that exist, separated by {os.pathsep!r}; not a directory: {missing[0]}")
    return found


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
