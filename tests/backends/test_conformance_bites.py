"""The suite itself: what it says of the intact memory backend, and that every broken copy is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from secrets import token_hex
from typing import Any

import msgspec
import pytest

from backends import conformance
from backends.conformance import test_trouble
from backends.conformance.subject import Subject
from backends.memory import MemoryBackend
from backends.memory_faults import MemoryOptions
from backends.registry import Destination
from tests.backends.distant import DistantOptions, DistantPlugin, door
from tests.backends.mutants import LARGEST, MUTANTS, Mutant

DID_NOT_RAISE = pytest.fail.Exception
CHECKS = conformance.tests()
NOT_FOR_MEMORY = {
    "test_session_and_receipts_work_in_another_process": "does not claim any_process",
    "test_a_presigned_address_needs_no_credentials": "has no Presigns",
}
"""The checks that memory cannot be held to, and why the suite skips them."""


class Building(DistantPlugin):
    """Builds another class than the plug-in it stands for."""

    def __init__(self, kind: type[MemoryBackend]) -> None:
        self._kind = kind

    def build(self, options: MemoryOptions) -> MemoryBackend:
        return self._kind(options)

    def url(self, options: MemoryOptions, key: str) -> str:
        told: Callable[[MemoryOptions, str], str] = getattr(self._kind, "url", super().url)
        return told(options, key)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with door("open sesame") as address:
        yield address


@pytest.fixture
def destination(endpoint: str) -> Destination:
    options = DistantOptions(space=token_hex(4), endpoint=endpoint, password="open sesame")
    plugin = DistantPlugin()
    claims = msgspec.structs.replace(plugin.capabilities(options), max_part=LARGEST)
    return Destination("trial", plugin, options, claims, prefix="some/prefix/")


@pytest.fixture
def intact(destination: Destination) -> Iterator[Subject]:
    with Subject(destination) as subject:
        yield subject


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_broken_backend_is_caught(
    mutant: Mutant, destination: Destination, intact: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_trouble, "LONGEST_SECONDS", 5.0)
    check = CHECKS[mutant.check]
    check(intact)
    broken = Subject(replace(destination, plugin=Building(mutant.kind)))
    with pytest.raises((mutant.shows, DID_NOT_RAISE)) as caught:
        check(broken)
    assert mutant.shows is AssertionError or caught.type is mutant.shows


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_catches_something(check: str) -> None:
    if check not in NOT_FOR_MEMORY:
        assert check in {mutant.check for mutant in MUTANTS}


def test_a_check_that_does_not_apply_is_skipped(intact: Subject) -> None:
    for check, why in NOT_FOR_MEMORY.items():
        with pytest.raises(pytest.skip.Exception, match=why):
            CHECKS[check](intact)


def test_nothing_is_left_behind(destination: Destination) -> None:
    with Subject(destination) as subject:
        for name, check in CHECKS.items():
            if name not in NOT_FOR_MEMORY:
                check(subject)
        backend: Any = subject.backend
    assert backend.list_sessions() == []
    assert backend._space.objects == {}
