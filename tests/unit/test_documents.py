"""What the documents say of the code is what the code says of itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from api.problems import TABLE
from backends import conformance
from backends import errors as backend_errors
from backends.config import load
from engine import config as engine_config
from engine.errors import TITLES
from engine.measures import MEASURES
from engine.models import JOB_TRANSITIONS, TRANSFER_TRANSITIONS
from tests import documents, monitoring
from tests.documents import ROOT
from tests.unit.test_layering import EFFECTS, PURE

STATES = {"states: job": JOB_TRANSITIONS, "states: transfer": TRANSFER_TRANSITIONS}
"""By the mark of the block that shows them."""
VARIABLE = re.compile(r"BUCKETLINE_[A-Z_]*[A-Z]")


def each_document() -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents.documents()]


# -- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", STATES)
def test_the_documented_steps_are_the_legal_ones(what: str) -> None:
    documented = {}
    for line in documents.block("README.md", what).splitlines():
        before, arrow, after = line.partition("→")
        assert arrow, line
        documented[before.strip()] = frozenset(after.split())

    assert documented == STATES[what]


@pytest.mark.parametrize("what", STATES)
def test_the_drawing_names_the_states(what: str) -> None:
    section = documents.read("README.md").partition("## The life of a job")[2].partition("\n## ")[0]

    assert {state for state in STATES[what] if state not in section} == set()


# -- problems ---------------------------------------------------------------------------------------------------------


def codes() -> set[str]:
    """Every code that a client can meet: as an answer, or as the error of a job or a part."""
    known = {*TABLE, *TITLES}
    kinds = [backend_errors.BackendError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__ == "backends.errors":
            known.add(kind.code)
    return known | {code for package in ("api", "engine") for code in literal_codes(package)}


def literal_codes(package: str) -> set[str]:
    """The codes that the source gives to errors on the spot: `code="…"`, and the first word of a Problem."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            given = [word.value for word in node.keywords if word.arg == "code"]
            if isinstance(node.func, ast.Name) and node.func.id == "Problem":
                given += node.args[:1]
            found |= {one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


def documented_codes() -> list[str]:
    return [heading.strip("`") for heading in documents.headings(ROOT / "docs/problems.md") if heading.startswith("`")]


def test_every_problem_has_its_section() -> None:
    assert codes() - set(documented_codes()) == set()


def test_no_section_is_about_a_problem_that_is_none() -> None:
    assert set(documented_codes()) - codes() == set()
    assert len(documented_codes()) == len(set(documented_codes()))


def test_every_problem_section_says_what_to_do() -> None:
    for section in documents.read("docs/problems.md").split("\n### `")[1:]:
        assert "**Do:**" in section, section.partition("\n")[0]


def test_problem_sections_give_the_status_of_the_table() -> None:
    for section in documents.read("docs/problems.md").split("\n### `")[1:]:
        code, _, text = section.partition("`")
        told = re.search(r"HTTP (\d{3})", text.partition("\n### ")[0])
        if code in TABLE:
            assert told, f"{code} tells no status"
            assert int(told[1]) == TABLE[code].status, code


# -- settings ---------------------------------------------------------------------------------------------------------


def test_the_table_of_settings_is_that_of_the_module() -> None:
    def rows(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("| `BUCKETLINE_")]

    assert rows(documents.read("docs/operations.md")) == rows(str(engine_config.__doc__))


@pytest.mark.parametrize("path", each_document())
def test_only_variables_that_exist_are_named(path: Path) -> None:
    named = set(VARIABLE.findall(path.read_text(encoding="utf-8")))

    assert named <= set(engine_config.NAMES), path


@pytest.mark.parametrize("package", ["engine", "api"])
def test_every_log_line_is_explained(package: str) -> None:
    explained = documents.read("docs/operations.md").partition("## Log lines")[2]

    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if line := _logged(node):
                # What comes behind a semicolon or a placeholder may be left out.
                assert re.split(r"[;%]| cannot be read", line)[0].strip(": ") in explained, f"{path.name}: {line}"


def _logged(node: ast.AST) -> str | None:
    """The literal text of a call such as `log.warning("…")`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "log":
        first = node.args[0] if node.args else None
        if node.func.attr != "debug" and isinstance(first, ast.Constant) and isinstance(first.value, str):
            return first.value
    return None


# -- commands, files and links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", each_document())
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", documents.read("Makefile"), re.MULTILINE))

    assert set(re.findall(r"`?make ([a-z-]+)", "\n".join(_code(path)))) <= targets


def _code(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [*re.findall(r"`[^`\n]+`", text), *(one.text for one in documents.blocks(str(path.relative_to(ROOT))))]


@pytest.mark.parametrize("path", each_document())
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in documents.links(path):
        target, _, fragment = link.partition("#")
        if "://" in target:
            continue
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{link} is not there"
        assert found.is_relative_to(ROOT), f"{link} leads out of the project"
        if fragment:
            assert fragment in map(documents.anchor, documents.headings(found)), f"{link} has no such heading"


@pytest.mark.parametrize("path", each_document())
def test_files_of_ours_that_are_named_exist(path: Path) -> None:
    named = re.findall(r"`((?:bucketline|api|engine|backends|deploy|tests|docs)/[\w./-]*)`", path.read_text("utf-8"))

    assert {name for name in named if "NAME" not in name and not (ROOT / name).exists()} == set()


@pytest.mark.parametrize(("layer", "modules"), [("pure", PURE), ("effects", EFFECTS)])
def test_the_layers_of_the_engine_are_those_of_the_test(layer: str, modules: set[str]) -> None:
    (row,) = [line for line in documents.read("docs/architecture.md").splitlines() if line.startswith(f"| {layer} |")]

    assert set(re.findall(r"`(\w+)`", row)) == modules


def test_the_tree_in_the_readme_has_every_package() -> None:
    section = documents.read("README.md").partition("## Where things are")[2]

    for folder in ("bucketline", "api", "engine", "backends", "tests", "benchmarks", "deploy", "docs"):
        assert f"`{folder}/`" in section


# -- configuration ----------------------------------------------------------------------------------------------------

ENVIRON = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x") | {"S3_ENDPOINT_URL": "http://s3.test"}
ENVIRON |= {"GOOGLE_APPLICATION_CREDENTIALS": "key.json", "AZURE_STORAGE_KEY": "c2VjcmV0"}
ENVIRON |= {"WEBHOOK_SECRET": "whsec_" + "c2Vj" * 8, "SHOP_BROKER_URL": "redis://:x@redis.test:6379/2"}
ENVIRON |= dict.fromkeys(("PARTNER_PASSWORD", "NAS_PASSWORD", "DAV_PASSWORD", "FTP_PASSWORD"), "x")


def configurations() -> list[object]:
    """Every complete plugins.toml in the documents."""
    return [
        pytest.param(one.text, id=f"{path.relative_to(ROOT)}-{index}")
        for path in documents.documents()
        for index, one in enumerate(documents.blocks(str(path.relative_to(ROOT))))
        if one.language == "toml" and "[destinations." in one.text and "shelf" not in one.text
    ]


@pytest.mark.parametrize("text", configurations())
def test_every_example_of_a_configuration_is_accepted(text: str, tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_text(text)

    assert load(tmp_path / "plugins.toml", ENVIRON).destinations


# -- the conformance suite --------------------------------------------------------------------------------------------


def test_the_suite_is_called_as_its_own_text_says() -> None:
    """That command is run by tests/backends/test_conformance_command.py."""
    command = documents.block("README.md", "run: suite").strip()

    assert command.replace("NAME", "archive") in str(conformance.__doc__)


# -- decisions --------------------------------------------------------------------------------------------------------


def test_decisions_are_numbered_and_have_their_three_parts() -> None:
    found = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [path.name[:4] for path in found] == [f"{number:04}" for number in range(1, len(found) + 1)]
    for path in found:
        assert {"Context", "Decision", "Consequences"} <= set(documents.headings(path)), path.name


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_the_documented_metrics_are_those_there_are() -> None:
    documented = {}
    for line in documents.read("docs/metrics.md").splitlines():
        if line.startswith("| `bucketline_"):
            name, kind, labels = (cell.strip() for cell in line.split("|")[1:4])
            documented[name.strip("`")] = (kind, tuple(re.findall(r"`(\w+)`", labels)))

    assert documented == {one.name: (one.kind, one.labels) for one in MEASURES.values()}


def test_the_documented_alerts_are_those_there_are() -> None:
    assert set(re.findall(r"`(Bucketline[A-Z]\w+)`", documents.read("docs/metrics.md"))) == {
        rule["alert"] for rule in monitoring.rules()
    }
