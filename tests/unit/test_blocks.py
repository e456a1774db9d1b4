"""Every fenced block of the documents is run, compared or checked by a test; none can be added unseen."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import subprocess
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from botocore.session import Session
from botocore.validate import ParamValidator

from api import description
from backends.config import load
from backends.gcs import GCSOptions
from tests import documents
from tests.documents import ROOT, Block
from tests.servers import program
from tests.unit.test_documents import ENVIRON

Json = dict[str, Any]
MARKED_HERE = re.compile(r"picture|request: \w+ /\S+")
"""Marks that say all there is to say: a drawing, which request a body is of."""


def each(*languages: str, mark: str = "") -> list[object]:
    return [
        pytest.param(one, id=f"{one.page}:{one.line}")
        for one in documents.every_block()
        if (not languages or one.language in languages) and re.match(mark, one.mark)
    ]


# -- none is unseen ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", documents.documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_fence_is_of_a_block(path: Path) -> None:
    """One that is written otherwise (in a quote, with blanks behind, with ~~~) would be passed over."""
    fences = re.findall(r"^[ \t>]*(?:```|~~~)", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert len(fences) == 2 * len(documents.blocks(str(path.relative_to(ROOT))))


@pytest.mark.parametrize("block", each())
def test_every_block_is_looked_at_by_a_test(block: Block) -> None:
    """TOML is by its language (below), what an example's files hold by being in them, all else by its mark."""
    if block.language == "toml" or MARKED_HERE.fullmatch(block.mark) or _stands_in_an_example(block):
        return
    assert block.mark, f"{block.page}:{block.line}: say by a mark which test runs it (tests/documents.py)"
    assert any(_names(words, block) for words in _words_of_tests()), f"no test names {block.page} and {block.mark!r}"


def _stands_in_an_example(block: Block) -> bool:
    """Word for word in a source of the example that the page is about; the example's own tests run it."""
    folder = (ROOT / block.page).parent
    sources = folder.rglob("*.py") if folder.is_relative_to(ROOT / "examples") else ()
    return any(block.text in path.read_text(encoding="utf-8") for path in sources)


class Words(NamedTuple):
    """What stands in a module of tests: every string, and those that are given to functions called `runs…`."""

    all: frozenset[str]
    run: frozenset[str]


@functools.cache
def _words_of_tests() -> list[Words]:
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))]
    return [_words_of(ast.parse(text)) for text in sources if "documents" in text or "reading" in text]


def _words_of(tree: ast.Module) -> Words:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    runs = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("runs")]
    return Words(frozenset(_strings(ast.walk(tree))), frozenset(_strings(word for node in runs for word in node.args)))


def _strings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _names(words: Words, block: Block) -> bool:
    """The page by its path or its name, the block by its mark; one that is run also by what stands behind `run: `."""
    page = block.page in words.all or Path(block.page).stem in words.all
    return page and (block.mark in words.all or block.mark in {f"run: {word}" for word in words.run})


@pytest.mark.parametrize("mark", ["!", "run: nobody!", "not run: it takes long!", "pictures!"])
def test_a_block_that_nobody_looks_at_is_found(mark: str) -> None:
    mark = mark.removesuffix("!")  # which is there so that this module does not name it
    with pytest.raises(AssertionError):
        test_every_block_is_looked_at_by_a_test(Block(mark, "sh", "make tea\n", "README.md", 1))


@pytest.mark.parametrize("page", sorted({one.page for one in documents.every_block()}))
def test_no_two_blocks_of_a_page_have_one_mark(page: str) -> None:
    marks = [one.mark for one in documents.blocks(page) if one.mark and not MARKED_HERE.fullmatch(one.mark)]

    assert len(marks) == len(set(marks))


# -- TOML -------------------------------------------------------------------------------------------------------------

BASE = 'default = "media"\n[destinations.media]\nbackend = "local"\nroot = "var/objects"\n'


@pytest.mark.parametrize("block", each("toml"))
def test_toml_is_a_plugins_file_a_part_of_one_or_an_entry_point(block: Block, tmp_path: Path) -> None:
    tables = tomllib.loads(block.text)
    if "project" in tables:
        ((name, value),) = tables["project"]["entry-points"]["bucketline.backends"].items()
        module, _, attribute = value.partition(":")
        assert (module.isidentifier(), attribute.isidentifier(), name.isidentifier()) == (True, True, True)
        assert name in documents.read(block.page).partition(block.text)[2] or name in attribute.lower()
        return
    (tmp_path / "plugins.toml").write_text(block.text if "destinations" in tables else BASE + block.text)
    assert load(tmp_path / "plugins.toml", ENVIRON | {"PARTNER_TOKEN": "x"}).destinations


# -- JSON and YAML ----------------------------------------------------------------------------------------------------


@functools.cache
def reference() -> Json:
    return description.document()


def schema_of(method: str, path: str) -> Json:
    """What the reference says of the JSON body of a request."""
    body = reference()["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    return {**_strict(body), "components": _strict(reference()["components"])}


def _strict(schema: Any) -> Any:
    """Objects have no other members than those that are described."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(one) for name, one in schema.items()}
    return found | {"additionalProperties": False} if "properties" in found and found.get("type") == "object" else found


@pytest.mark.parametrize("block", each("json"))
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", each("json", mark="request: "))
def test_a_request_is_one_that_the_reference_knows(block: Block) -> None:
    method, path = block.mark.removeprefix("request: ").split()

    jsonschema.validate(json.loads(block.text), schema_of(method, path))


def test_an_answer_has_only_members_that_the_reference_knows() -> None:
    job = reference()["components"]["schemas"]["JobView"]
    schema = {**_strict(job), "components": _strict(reference()["components"])}
    shown = json.loads(documents.block("README.md", "answer: first"))
    faults = jsonschema.Draft202012Validator(schema).iter_errors(shown)

    # It is shortened: what is left out is no fault.
    assert [one.message for one in faults if one.validator != "required"] == []


def test_the_lifecycle_rule_for_s3_is_one_that_s3_takes() -> None:
    rule = json.loads(documents.block("docs/backends/s3.md", "lifecycle: s3"))
    operation = Session().get_service_model("s3").operation_model("PutBucketLifecycleConfiguration")

    faults = ParamValidator().validate({"Bucket": "b", "LifecycleConfiguration": rule}, operation.input_shape)

    assert not faults.has_errors(), faults.generate_report()


LIFECYCLE_OF_GCS = {"Delete": {"age", "matchesPrefix"}, "AbortIncompleteMultipartUpload": {"age", "matchesPrefix"}}
"""Actions and the conditions of theirs that we use, by Google's reference of the lifecycle configuration (2026-11)."""


def test_the_lifecycle_rules_for_gcs_are_of_words_that_google_knows() -> None:
    shown = json.loads(documents.block("docs/backends/gcs.md", "lifecycle: gcs"))

    assert shown.keys() == {"rule"}
    for rule in shown["rule"]:
        assert rule.keys() == {"action", "condition"}
        assert rule["condition"].keys() <= LIFECYCLE_OF_GCS[rule["action"]["type"]]
    assert shown["rule"][1]["condition"]["matchesPrefix"] == [GCSOptions(bucket="acme").parts_prefix]


def test_prometheus_reads_what_the_page_tells_it(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(documents.block("docs/metrics.md", "scrape"))

    done = subprocess.run(
        [program("promtool"), "check", "config", "--syntax-only", tmp_path / "prometheus.yml"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


# -- Python -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", each("python"))
def test_python_compiles_and_imports_only_what_there_is(block: Block) -> None:
    tree = ast.parse(textwrap.dedent(block.text) if not block.mark else block.text)

    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and _top(node.module) in OURS:
            module = importlib.import_module(node.module)
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []
        elif isinstance(node, ast.Import):
            for one in node.names:
                assert _top(one.name) not in OURS or importlib.import_module(one.name)


OURS = ("api", "backends", "bucketline", "engine")


def _top(module: str) -> str:
    return module.partition(".")[0]
