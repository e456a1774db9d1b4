"""The conformance suite: what every backend must do, run against any destination, ours or a third party's.

    pytest --pyargs backends.conformance --destination archive --config plugins.toml

It writes below `<prefix>conformance/` at the destination and removes what it wrote, where the backend can delete. What
a check needs it asks of the capabilities and abilities; no check knows a backend by name. A check that does not apply
is skipped and says why.

A backend's own tests can run it too, over any number of configurations: `tests()` gives the checks, each of which takes
the fixture `subject`.

    globals().update(conformance.tests())

    @pytest.fixture
    def subject() -> Iterator[Subject]:
        with Subject(destination) as subject:
            yield subject
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

pytest.register_assert_rewrite(f"{__name__}.subject")


def modules() -> list[ModuleType]:
    """The modules of the suite, in order."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("test_")]
    for name in names:
        pytest.register_assert_rewrite(f"{__name__}.{name}")
    return [importlib.import_module(f"{__name__}.{name}") for name in names]


def tests() -> dict[str, Callable[[Any], None]]:
    """All checks by name. Each takes a `Subject` and raises when the backend under test is wrong."""
    return {name: check for module in modules() for name, check in vars(module).items() if name.startswith("test_")}
