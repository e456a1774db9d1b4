"""Keys are stored byte for byte, or refused; none reaches another place than its own."""

from __future__ import annotations

from collections.abc import Callable

from backends.base import ObjectInfo, PutsWhole
from backends.conformance.subject import Subject
from backends.errors import BackendError, PermanentError

HARMLESS = [
    "plain",
    "folder/file",
    "two words",
    "ünïcødé",
    "日本語",
    "a+b=c&d;e,f@g",
    "100%",
    "UPPER",
    "upper",
    ".hidden",
]

HOSTILE = [
    "..", "../escape", "../../escape", "a/../../escape", "./same", "a//b", "a/", "/absolute", ".", "a/.", "a/..",
    "back\\slash", "..\\escape", "nul\0", "line\nfeed", "carriage\rreturn", "header\r\nX-Evil: 1", "tab\t", "bell\a",
    "what?", "#hash", "%2e%2e%2fescape", "%00", "{}", "{job.__class__}", "${HOME}", "$(id)", "`id`", "*", "[a]", "~",
    "a::b", "s3://other/x", "file:///etc/x", "-rf", "CON", "a;b|c", "'quoted'", '"quoted"', "<tag>", "\u202eevil",
    "caf\u00e9", "cafe\u0301", "lone \ud800 surrogate", " ", "trailing ", "x" * 256, "x" * 1100, "y/" * 400 + "z",
]  # fmt: skip


HOSTILE_IN_PARTS = [
    "../escape", "../../escape", "a//b", "/absolute", "nul\0", "header\r\nX-Evil: 1", "what?", "#hash",
    "%2e%2e%2fescape", "*", "s3://other/x", "caf\u00e9", "cafe\u0301", "lone \ud800 surrogate", "x" * 256,
]  # fmt: skip
"""Fewer, since every upload takes several calls."""


def test_ordinary_keys_are_stored_under_their_own_name(subject: Subject) -> None:
    folder = subject.key("")
    stored = {folder + name: name.encode() for name in HARMLESS}
    for key, data in stored.items():
        subject.keep(subject.remember(key), data)
    for key, data in stored.items():
        subject.assert_holds(key, data)


def test_hostile_keys_are_stored_byte_for_byte_or_refused_in_one_call(subject: Subject) -> None:
    subject.able(PutsWhole)
    _assert_each_is_its_own(subject, HOSTILE, subject.put_whole)


def test_hostile_keys_are_stored_byte_for_byte_or_refused_in_parts(subject: Subject) -> None:
    _assert_each_is_its_own(subject, HOSTILE_IN_PARTS, subject.store)


def test_looking_at_hostile_keys_finds_nothing_or_is_refused(subject: Subject) -> None:
    folder = subject.key("one/two/")
    for name in HOSTILE:
        answer = subject.tolerate(subject.backend.stat, folder + name)
        assert answer is None or isinstance(answer, PermanentError), f"{name!r}: {answer!r}"


def test_the_empty_key_is_refused(subject: Subject) -> None:
    assert isinstance(subject.refusal(subject.begin, "", 1), PermanentError)


def _assert_each_is_its_own(subject: Subject, names: list[str], store: Callable[[str, bytes], ObjectInfo]) -> None:
    """Every key is kept or refused, none overwrites another, and none climbs out of its folder."""
    outer = subject.key("one/")
    folder, stored = outer + "two/", {}
    for name in names:
        key, data = folder + name, name.encode(errors="surrogatepass")
        if _is_kept(subject.tolerate(store, key, data), key):
            stored[subject.remember(key)] = data
    for key, data in stored.items():
        subject.assert_holds(key, data)
    for place in (outer + "escape", outer.removesuffix("one/") + "escape", folder + "absolute", folder + "escape"):
        assert place in stored or subject.backend.stat(place) is None, f"a key climbed to {place!r}"


def _is_kept(answer: ObjectInfo | BackendError, key: str) -> bool:
    if isinstance(answer, BackendError):
        assert isinstance(answer, PermanentError), f"{key!r} was refused as if it could work later: {answer!r}"
        return False
    assert answer.key == key, f"{key!r} was stored as {answer.key!r}"
    return True
