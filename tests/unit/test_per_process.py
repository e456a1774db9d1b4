"""What each process has of its own, and credentials that are looked for again when they are refused."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from backends.grants import Grants
from backends.per_process import PerProcess


def test_many_threads_share_the_one_of_their_process() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    held = PerProcess(make)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: held.get(), range(64)))

    assert len(made) == 1
    assert set(map(id, found)) == {id(made[0])}


def test_a_child_makes_its_own() -> None:
    held = PerProcess(os.getpid)
    assert held.get() == os.getpid()

    child = os.fork()
    if child == 0:
        os._exit(0 if held.get() == os.getpid() else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert held.get() == os.getpid()


def test_only_the_one_that_is_meant_is_forgotten() -> None:
    held = PerProcess(object)
    first = held.get()
    held.forget(first)
    second = held.get()
    held.forget(first)  # somebody was quicker

    assert second is not first
    assert held.get() is second
    assert held.take() is second
    assert held.take() is None


def test_refused_credentials_are_looked_for_once() -> None:
    asked: list[bool] = []

    def find(renewed: bool, doing: str) -> object:
        asked.append(renewed)
        return object()

    grants = Grants(find)
    first = grants.get("look")
    assert grants.get("look") is first
    grants.doubt(first)
    second = grants.get("look")
    grants.doubt(first)  # of a request that was under way

    assert grants.get("look") is second
    assert asked == [False, True]
