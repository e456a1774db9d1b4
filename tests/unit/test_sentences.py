"""What sentences of the documents name in `code` is there: commands and options, requests, methods, members."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from bucketline import Client
from bucketline.cli import build
from tests import documents, shell
from tests.documents import ROOT
from tests.unit.test_blocks import reference, schema_of
from tests.unit.test_shell_blocks import CHECKS, parameters

REQUEST = re.compile(r"((?:[A-Z]+, )*[A-Z]{3,}) (/[\w/{}.-]*)(?:\?(\S*))?")
OF_THE_EXAMPLE = ("POST /upload/page/",)
"""What the Django site of the example answers, not we."""


def code_of(path: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", documents.without_blocks(path.read_text(encoding="utf-8")))


def each_with(pattern: str) -> list[object]:
    return [
        pytest.param(code, id=f"{path.relative_to(ROOT)}: {code}")
        for path in documents.documents()
        for code in dict.fromkeys(code_of(path))
        if re.match(pattern, code) and code not in OF_THE_EXAMPLE
    ]


@pytest.mark.parametrize("code", each_with(r"bucketline "))
def test_a_command_is_made_of_words_that_there_are(code: str) -> None:
    """It is shortened: `bucketline put --resumable FILE…` names a command and an option, and no file."""
    words = code.split()[1:]
    parser, parsers = build()
    named = [word for word in words if not word.startswith("-") and word != "COMMAND"][:1]
    assert not named or named[0] in parsers
    known = {word for one in [parser, *(parsers[name] for name in named)] for word in one._option_string_actions}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("code", each_with(r"(pip install|docker-compose (up|exec)) [^…]+$"))
def test_a_command_of_others_names_what_we_have(code: str) -> None:
    for command in shell.commands(code):
        CHECKS[command[0]](command)


@pytest.mark.parametrize("code", each_with(rf"(?:{REQUEST.pattern})$"))
def test_a_request_is_in_the_reference(code: str) -> None:
    found = REQUEST.fullmatch(code)
    assert found is not None
    methods, path, query = found.groups()
    paths = {re.sub(r"{\w+}", "{}", one): item for one, item in reference()["paths"].items()}
    for method in methods.lower().split(", "):
        operation = paths[re.sub(r"{\w+}|\bID\b", "{}", path)][method]
        assert {part.partition("=")[0] for part in (query or "").split("&")} - {""} <= set(parameters(operation))


@pytest.mark.parametrize("code", each_with(r"client\.\w+\("))
def test_a_method_of_the_client_is_there(code: str) -> None:
    assert callable(getattr(Client, code.partition("(")[0].removeprefix("client.")))


@pytest.mark.parametrize("code", each_with(r'{"source": {"[^…]*$'))
def test_a_submission_is_one_that_the_reference_knows(code: str) -> None:
    jsonschema.validate(json.loads(code), schema_of("post", "/v1/jobs"))
