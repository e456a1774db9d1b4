"""A plug-in or backend that is not shaped as the contract says is told so, before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import registry
from backends.base import Capabilities
from backends.config import ConfigurationError, load
from backends.memory import MemoryBackend, MemoryPlugin
from backends.memory_faults import MemoryOptions
from backends.plugins import backend_faults, claim_faults, failure, plugin_faults


class Options(msgspec.Struct, frozen=True, kw_only=True):
    url: str = ""
    password: str = ""


class Plugin:
    name, Options, secrets, endpoint = "shelf", Options, frozenset({"password"}), "url"

    def capabilities(self, options: Options) -> Any:
        return Capabilities()

    def url(self, options: Options, key: str) -> Any:
        return f"shelf:{key}"

    def build(self, options: Options) -> Any:
        return MemoryBackend(MemoryOptions())


class Named(Options, frozen=True, kw_only=True):
    prefix: str = ""


class Plain:
    url: str


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"Options": Plain}, "Options is no subclass of msgspec.Struct"),
        ({"Options": Named}, "Options has prefix, which every destination has already"),
        ({"secrets": frozenset({"pasword"})}, "secrets names 'pasword', which Options does not have"),
        ({"secrets": "password"}, "secrets is no set of names"),
        ({"endpoint": "adress"}, "endpoint names 'adress', which Options does not have"),
        ({"url": lambda self, key: key}, "url cannot be called as backends.base says: too many positional arguments"),
        ({"build": None}, "it lacks build"),
    ],
)
def test_a_plug_in_is_judged_by_its_shape(changes: dict[str, Any], problem: str | None) -> None:
    kind = type("Changed", (Plugin,), {name: value for name, value in changes.items() if value is not None})
    if None in changes.values():
        kind = type("Lacking", (), {name: value for name, value in vars(Plugin).items() if name not in changes})
    assert plugin_faults(kind()) == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        (Capabilities(), None),
        ({"max_part": 5}, "capabilities gives dict, not Capabilities"),
        (Capabilities(max_part="8 MiB"), "capabilities are wrong: Expected `int`, got `str` - at `$.max_part`"),  # type: ignore[arg-type]
        (Capabilities(checksums="crc32c"), "capabilities are wrong: Expected `array`, got `str` - at `$.checksums`"),  # type: ignore[arg-type]
        (Capabilities(checksums=("CRC32C",)), "capabilities.checksums has 'CRC32C'; known are crc32c, sha256"),
        (Capabilities(min_part=9, max_part=8), "capabilities have no part size: 0 < min_part <= max_part"),
    ],
)
def test_claims_are_judged_before_plans_are_made_with_them(claims: object, problem: str | None) -> None:
    assert claim_faults(claims) == ([problem] if problem else [])


def test_a_property_that_nobody_knows_is_named() -> None:
    [problem] = claim_faults(Capabilities(properties=("acl", "cache")))
    assert problem.startswith("capabilities.properties has 'cache'; known are content_disposition, ")


def test_a_backend_is_judged_by_its_verbs_and_by_how_its_methods_are_called() -> None:
    class Strange(MemoryBackend):
        abort = None  # type: ignore[assignment]

        def begin(self, key: str, *, length: int) -> Any: ...  # type: ignore[override]

        def read_range(self, key: str) -> Any: ...  # type: ignore[override]

    assert backend_faults(MemoryBackend(MemoryOptions())) == []
    found = backend_faults(Strange(MemoryOptions()))
    assert [fault.replace(" keyword-only", "") for fault in found] == [  # which Python 3.12 and later say
        "Strange is no backend: it lacks abort",
        "begin cannot be called as backends.base says: missing a required argument: 'length'",
        "read_range cannot be called as backends.base says: too many positional arguments",
    ]
    assert backend_faults(None)[0].startswith("NoneType is no backend: it lacks begin, put_part, complete, ")


def test_an_error_of_a_plug_in_is_told_with_its_place_and_without_a_secret() -> None:
    try:
        raise KeyError("swordfish")
    except KeyError as error:
        told = failure(error, Plugin(), Options(password="swordfish"))
    assert told.startswith("KeyError: '***' (test_plugins.py, line ")


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"capabilities": lambda self, options: {}}, "capabilities gives dict, not Capabilities"),
        ({"capabilities": lambda self, options: 1 / 0}, "ZeroDivisionError: division by zero (test_plugins.py, line "),
        ({"url": lambda self, options, key: None}, "url gives no text"),
        ({"object_faults": lambda self, options, key, properties: [1]}, "TypeError: cannot unpack"),
    ],
)
def test_a_bug_of_a_plug_in_is_a_fault_of_the_file_that_names_it(
    broken: dict[str, Any], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = type("Broken", (MemoryPlugin,), broken)()
    monkeypatch.setattr(registry, "plugin", lambda name: made)
    (tmp_path / "plugins.toml").write_text('[destinations.here]\nbackend = "memory"')
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path / "plugins.toml", {})
    assert f"plugins.toml: [destinations.here] backend: backend 'memory': {problem}" in str(raised.value)
