"""The two clients are one: the same methods with the same parameters, over the same words without connections."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from api.options import TABLE
from bucketline import AsyncClient, Client
from bucketline.sending import Options
from tests.documents import read
from tests.unit.test_layering import ROOT, imports, top

WORDS = ["bodies", "calls", "exchange", "faults", "following", "resumable", "results", "sending", "sse"]
CONNECTIONS = {"httpx", "asyncio", "socket", "threading"}
LARGEST = 300


def methods(client: type) -> dict[str, Callable[..., Any]]:
    return {
        name: member
        for name, member in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_both_have_the_same_methods() -> None:
    assert methods(Client).keys() == methods(AsyncClient).keys()


@pytest.mark.parametrize("name", sorted(methods(Client).keys() | methods(AsyncClient).keys()))
def test_a_method_takes_and_gives_the_same_in_both(name: str) -> None:
    blocking, waiting = (inspect.signature(methods(client)[name]) for client in (Client, AsyncClient))

    assert _parameters(waiting) == _parameters(blocking)
    assert str(waiting.return_annotation).replace("AsyncIterator", "Iterator") == str(blocking.return_annotation)


def _parameters(signature: inspect.Signature) -> list[tuple[Any, ...]]:
    return [
        (each.name, each.kind, each.default, str(each.annotation).replace("AsyncBaseTransport", "BaseTransport"))
        for each in signature.parameters.values()
    ]


@pytest.mark.parametrize("name", sorted(methods(Client).keys() - {"__init__", "events"}))
def test_every_method_of_the_one_is_awaited_in_the_other(name: str) -> None:
    assert inspect.iscoroutinefunction(methods(AsyncClient)[name])
    assert not inspect.iscoroutinefunction(methods(Client)[name])


def test_a_method_that_one_of_them_lacks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "shout", lambda self, loud: loud, raising=False)

    with pytest.raises(AssertionError):
        test_both_have_the_same_methods()


@pytest.mark.parametrize("module", WORDS)
def test_what_both_say_knows_no_connection(module: str) -> None:
    path = ROOT / "bucketline" / f"{module}.py"
    used = {top(found.module) for found in imports(path)}

    assert not used & CONNECTIONS
    assert not {node.__class__ for node in ast.walk(ast.parse(path.read_text()))} & {ast.Await, ast.AsyncFunctionDef}


@pytest.mark.parametrize("module", [*WORDS, "connection", "client", "async_client"])
def test_no_module_of_the_client_is_too_long_to_read(module: str) -> None:
    assert (ROOT / "bucketline" / f"{module}.py").read_text().count("\n") < LARGEST


def test_the_client_has_every_option_of_a_submit() -> None:
    assert set(Options.__annotations__) == set(TABLE)


def test_the_document_has_every_method_and_option() -> None:
    said = read("docs/client.md")

    for name, method in methods(Client).items():
        words = [word for word in inspect.signature(method).parameters if word not in ("self", "options")]
        if name != "__init__":
            told = re.search(rf"`{name}\(([^`]*)\)", said)
            assert told, name
            assert re.findall(r"\w+", told[1].removesuffix(", **options")) == words
    assert {name for name in TABLE if f"`{name}`" not in said} == set()
