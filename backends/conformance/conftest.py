"""Binds the suite to the destinations named on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from backends.config import ConfigurationError, UnknownDestination, load
from backends.conformance.subject import Subject
from backends.registry import Destination


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        destinations = _destinations(metafunc.config)
        metafunc.parametrize("subject", destinations, ids=[item.name for item in destinations], indirect=True)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    refused = _named(request.config, [name for name in [request.config.getoption("--denied", None)] if name])
    with Subject(request.param, refused=refused[0] if refused else None) as subject:
        yield subject


def _destinations(config: pytest.Config) -> list[Destination]:
    names = config.getoption("--destination", None)
    if not names:
        _refuse("name what to test: --destination NAME --config plugins.toml")
    tested, denied = _named(config, names), config.getoption("--denied", None)
    if denied:
        if len(tested) > 1:
            _refuse("--denied goes with one --destination")
        _named(config, [denied])
    return tested


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
