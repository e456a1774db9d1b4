"""The shell lines of the documents call what there is: our commands, requests, targets, services and extras."""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest
import yaml

from bucketline.cli import parse
from bucketline.exits import Failure
from tests import documents, shell
from tests.documents import ROOT, Block
from tests.servers import program
from tests.unit.test_blocks import Json, each, reference, schema_of

ELSEWHERE = {
    ".", "cut", "echo", "find", "grep", "head", "openssl", "pytest", "python3", "read", "sha256sum", "sleep",
    "systemctl", "useradd",
}  # fmt: skip
"""Programs that are not ours: nothing to check of their words. A block that is run proves them."""


@pytest.mark.parametrize("block", each("sh"))
def test_shell_lines_call_what_there_is(block: Block) -> None:
    for words in shell.commands(block.text):
        CHECKS.get(_program(words), _is_known)(words)


def _program(words: list[str]) -> str:
    return words[0].rpartition("/")[2]


def _is_known(words: list[str]) -> None:
    assert _program(words) in ELSEWHERE, f"nothing says what {words[0]} is"


def _bucketline(words: list[str]) -> None:
    parse(words[1:])  # Failure, where the parser does not take it


def _make(words: list[str]) -> None:
    makefile = documents.read("Makefile")
    for word in words[1:]:
        name, given, _ = word.partition("=")
        found = rf"\$\({name}\)" if given else rf"^{name}:"
        assert re.search(found, makefile, re.MULTILINE), f"the Makefile knows no {word}"


def _pip(words: list[str]) -> None:
    extras = {one for word in words for one in re.findall(r"bucketline\[(.*)\]", word)}
    known = tomllib.loads(documents.read("pyproject.toml"))["project"]["optional-dependencies"]
    assert {name for one in extras for name in one.split(",")} <= known.keys()


def _copy(words: list[str]) -> None:
    assert all((ROOT / word).exists() for word in words[1:-1] if not word.startswith("-")), words


def _compose(words: list[str]) -> None:
    """Its services and profiles are those of the file; that docker-compose has these options, it says itself."""
    composed = yaml.safe_load(documents.read("docker-compose.yml"))
    profiles = {name for one in composed["services"].values() for name in one.get("profiles", ())}
    rest = words[1:]
    if rest[0] == "--profile":
        assert rest[1] in profiles
        rest = rest[2:]
    command, *rest = rest
    if command == "exec":
        while rest[0].startswith("-"):
            assert rest.pop(0) in _options(command), words
        assert rest[0] in composed["services"], words
        CHECKS.get(rest[1], _is_known)(rest[1:])
        return
    for word in rest:
        name = word.partition("=")[0]
        assert word in _options(command) if word.startswith("-") else name in composed["services"], word


@functools.cache
def _options(command: str) -> str:
    words = [program("docker-compose"), command, "--help"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def _install(words: list[str]) -> None:
    """What is put somewhere else in the system is in the repository."""
    *sources, target = (word for word in words[1:] if re.match(r"deploy|/", word))
    assert target.startswith("/") and all(any(ROOT.glob(one)) for one in sources), words


METHODS = {"-T": "put", "--json": "post", "-d": "post", "-F": "post"}
"""What curl makes of these options, where -X does not say otherwise."""


def _curl(words: list[str]) -> None:
    """The reference has the path with this method, every parameter, and a body of this form."""
    (address,) = [urlsplit(word) for word in words if word.startswith("http")]
    assert address.netloc == "127.0.0.1:8000", "a server of ours, which a test can replace"
    options = dict(itertools.pairwise(words))
    method = options.get("-X", next((METHODS[word] for word in words if word in METHODS), "get")).lower()
    path = _template(address.path)
    operation = reference()["paths"][path][method]
    assert {name for name, _ in parse_qsl(address.query)} <= set(parameters(operation))
    body = options.get("--json", options.get("-d"))
    if body is not None:
        jsonschema.validate(json.loads(body), schema_of(method, path))


def _template(path: str) -> str:
    found = [one for one in reference()["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)]
    found += ["/v1/objects/{destination}/{key}"] if path.startswith("/v1/objects/") else []
    assert found, f"no operation has the path {path}"
    return str(found[0])


def parameters(operation: Json) -> Iterator[str]:
    """The names of what may stand in the query."""
    for way in operation.get("security", ()):
        yield from way.keys() & {"access_token"}
    shared = reference()["components"]["parameters"]
    for one in operation.get("parameters", ()):
        found = shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        if found["in"] == "query":
            yield str(found["name"])


CHECKS = {
    "bucketline": _bucketline, "make": _make, "pip": _pip, "cp": _copy, "docker-compose": _compose, "curl": _curl,
    "install": _install,
}  # fmt: skip


# -- it bites ---------------------------------------------------------------------------------------------------------

WRONG = [
    "curl http://127.0.0.1:8000/v1/job",
    "curl -T a 'http://127.0.0.1:8000/v1/objects/media/a?lable.x=1'",
    """curl --json '{"source": {"pat": "/a"}}' http://127.0.0.1:8000/v1/jobs""",
    "make tee",
    "bucketline put --tpo media a",
    'KEY=$(bucketline keys ad "x" --skope a)',
    "for a in $(bucketline jobz); do echo $a; done",
    "backetline up",
    "cp .env.sample .env",
    "docker-compose exec worker bucketline chekc",
    "docker-compose exec wroker bucketline check",
    "docker-compose up --built",
    "docker-compose up --scale wroker=2",
    'pip install "bucketline[otle]"',
    '/opt/bucketline/bin/pip install "bucketline[otle]"',
    "docker-compose exec -Q api bucketline check",
    "install -m 644 deploy/systemd/*.unit /etc/systemd/system/",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_a_shell_line_is_found(text: str) -> None:
    """The checks above do bite."""
    with pytest.raises((AssertionError, Failure, KeyError, jsonschema.ValidationError)):
        test_shell_lines_call_what_there_is(Block("", "sh", text, "page", 1))
