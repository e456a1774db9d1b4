"""docs/command.md is what the parser says, and what the commands print."""

from __future__ import annotations

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
        assert path == DOCUMENT or "| 69 |" not in path.read_text(encoding="utf-8"), path


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
