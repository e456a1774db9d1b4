"""docs/command.md is what the parser says, and what the commands print."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketline import exits
from bucketline.cli import COMMANDS
from tests import documents
from tests.command.conftest import Outcome
from tests.command.reference import DOCUMENT, written_anew
from tests.command.test_init import Terminal
from tests.e2e.reading import begun_long_ago

TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_generated_parts_are_those_of_the_parser() -> None:
    assert written_anew(TEXT) == TEXT, "write them anew: python -m tests.command.reference"


def section(command: str) -> str:
    return TEXT.partition(f"\n## bucketline {command}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_section_with_its_options_and_an_example(command: str) -> None:
    assert f"<!-- options: {command} -->" in section(command)
    assert re.search(rf"^\$ .*bucketline {command}\b", section(command), re.MULTILINE)


def test_every_exit_code_has_its_line() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    table = TEXT.partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes == set(exits.MEANINGS)


def test_no_other_document_has_a_table_of_them() -> None:
    for path in documents.documents():
        assert path == DOCUMENT or not re.search(r"^\| 69 \|", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_the_file_of_init_is_the_one_in_the_document(command: Callable[..., Outcome], tmp_path: Path) -> None:
    (block,) = [one for one in documents.blocks("docs/command.md") if one.mark.startswith("init: ")]
    assert command("init", *block.mark.split()[1:]).code == 0
    assert (tmp_path / "plugins.toml").read_text() == block.text


def test_the_questions_of_init_are_those_in_the_document(
    command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example = documents.block("docs/command.md", "session: init").partition("\n")[2]
    typed = ("s3", "acme-archive", "uploads/")
    monkeypatch.setattr(sys, "stdin", Terminal("s3\n\nacme-archive\n\n\n\nuploads/\n\n"))
    # What is typed ends a line of the example, and is echoed by the terminal alone.
    questions = re.sub(rf"(?<=[\])?]) ({'|'.join(typed)})$", "", example, flags=re.MULTILINE)
    told = command("init").err.replace(str(tmp_path), "/srv/bucketline")
    assert told.split() == questions.split()


# -- what --json prints -----------------------------------------------------------------------------------------------


def members(command: str) -> list[list[str]]:
    """Of each object that the section shows as `{"a", "b"}`, the members."""
    told = section(command).rpartition("`--json`")[2]
    return [re.findall(r'"(\w+)"', span) for span in re.findall(r'`(\{"[^`]*\})`', told)]


def test_members_of_init_and_of_completion(command: Callable[..., Outcome]) -> None:
    assert [list(json.loads(command("init", "--yes", "--json").out))] == members("init")
    assert [list(json.loads(command("completion", "bash", "--json").out))] == members("completion")


def test_members_of_config(command: Callable[..., Outcome]) -> None:
    command("init", "--yes")
    found = json.loads(command("config", "--json").out)

    setting, table = members("config")
    assert {tuple(one) for one in found["settings"]} == {tuple(setting)}
    assert {tuple(sorted(one)) for one in found["tables"]} == {tuple(sorted(table))}
    assert {tuple(entry) for one in found["tables"] for entry in one["entries"]} <= {tuple(setting)}
    assert all(f"`{name}`" in section("config") for name in found)


def test_members_of_what_looks_at_redis(
    command: Callable[..., Outcome], redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", redis_url)
    command("init", "--yes")
    assert [list(json.loads(command("recover", "--json").out))] == members("recover")
    assert [list(one) for one in json.loads(command("check", "--json").out)["checks"][:1]] == members("check")
    key, revoked, imported = members("keys")
    made = json.loads(command("keys", "add", "photo site", "--json").out)
    assert [*sorted(made)] == sorted([*key, "key"])
    assert sorted(json.loads(command("keys", "list", "--json").out)) == sorted(key)
    (tmp_path / "keys.jsonl").write_text(command("keys", "export").out)
    with (tmp_path / "keys.jsonl").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert list(json.loads(command("keys", "import", "--json").out)) == imported
    assert list(json.loads(command("keys", "revoke", made["id"], "--json").out)) == revoked
    line = json.loads(command("audit", "--limit", "1", "--json").out)
    assert line.keys() <= {*re.findall(r"`(\w+)`", section("audit").rpartition("`--json`")[2]), *members("audit")[0]}
    begun_long_ago(tmp_path / "var" / "objects", "holiday.mp4")
    assert [list(json.loads(command("gc", "--dry-run", "--json").out))] == members("gc")
