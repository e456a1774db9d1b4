"""The backend of the README passes the conformance suite as it stands there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import conformance
from backends.conformance.subject import Subject
from backends.registry import Destination
from tests import documents

globals().update(conformance.tests())


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module, from a file of its own on the import path: the suite also uses it in other processes."""
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "shelf.py").write_text(documents.block("README.md", "backend"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("shelf")
        sys.modules.pop("shelf")


@pytest.fixture
def subject(shelf: Any, tmp_path: Path) -> Iterator[Subject]:
    plugin, options = shelf.ShelfPlugin(), shelf.Options(tmp_path)
    with Subject(Destination("here", plugin, options, plugin.capabilities(options))) as subject:
        yield subject


def test_it_is_a_plug_in(shelf: Any) -> None:
    from backends.plugins import MEMBERS

    assert all(hasattr(shelf.ShelfPlugin, name) for name in MEMBERS)
    assert shelf.ShelfPlugin.name == "shelf"
