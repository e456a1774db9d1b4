"""Binds the suite to the destinations named on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from backends.config import ConfigurationError, UnknownDestination, load
from backends.conformance.subject import Subject
from backends.errors import BackendError
from backends.plugins import backend_faults, failure
from backends.registry import Destination


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        destinations = _once(metafunc.config)
        metafunc.parametrize("subject", destinations, ids=[item.name for item in destinations], indirect=True)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    refused = _named(request.config, [name for name in [request.config.getoption("--denied", None)] if name])
    with Subject(request.param, refused=refused[0] if refused else None) as subject:
        yield subject


_FOUND = pytest.StashKey[list[Destination]]()


def _once(config: pytest.Config) -> list[Destination]:
    """What is tested. What cannot be is told by the first module that asks, and no more."""
    if _FOUND not in config.stash:
        config.stash[_FOUND] = []
        config.stash[_FOUND] = _destinations(config)
    return config.stash[_FOUND]


def _destinations(config: pytest.Config) -> list[Destination]:
    names = config.getoption("--destination", None)
    if not names:
        _refuse("name what to test: --destination NAME --config plugins.toml")
    tested, denied = _named(config, names), config.getoption("--denied", None)
    if denied:
        if len(tested) > 1:
            _refuse("--denied goes with one --destination")
        _named(config, [denied])
    for destination in tested:
        _check(destination)
    return tested


def _check(destination: Destination) -> None:
    """What lacks a verb would fail everywhere: it is told once, and nothing is run."""
    try:
        backend = destination.build()
        found = backend_faults(backend)
        if not found:
            backend.close()
    except BackendError as error:
        found = [error.detail]
    except Exception as error:
        found = [failure(error, destination.plugin, destination.options)]
    if found:
        _refuse("\n".join(f"destination {destination.name!r} cannot be tested: {text}" for text in found))


def _named(config: pytest.Config, names: list[str]) -> list[Destination]:
    try:
        configuration = load(Path(config.getoption("--config")))
        for name in names:
            if name in configuration.routes:
                _refuse(f"{name!r} is a route; name one destination")
        return [configuration.destinations[name] for name in configuration.expand(names)]
    except (ConfigurationError, UnknownDestination) as error:
        _refuse(str(error))


def _refuse(text: str) -> NoReturn:
    """Stop the collection with this text and no traceback."""
    raise pytest.Collector.CollectError(text)
