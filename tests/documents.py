"""The documents as tests read them: their fenced blocks, the marks before them, their links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>[^>]*?) -->\n(?P=indent))?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block, without the indent that it has in a list. `mark` is the HTML comment right before it, by which
    a test finds it; empty without one.
    """

    mark: str
    language: str
    text: str
    page: str
    line: int


def documents() -> list[Path]:
    """Every Markdown file that we wrote."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    text = read(name)
    return [_block(found, name, text.count("\n", 0, found.start()) + 1) for found in _BLOCK.finditer(text)]


def _block(found: re.Match[str], page: str, line: int) -> Block:
    text = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
    return Block(found["mark"] or "", found["language"], text, page, line)


def every_block() -> list[Block]:
    """Those of all documents."""
    return [one for path in documents() for one in blocks(str(path.relative_to(ROOT)))]


def block(name: str, mark: str) -> str:
    """The text of the one block with this mark."""
    (found,) = [one for one in blocks(name) if one.mark == mark]
    return found.text


def without_blocks(text: str) -> str:
    return _BLOCK.sub("", text)


def links(path: Path) -> Iterator[str]:
    """Where the document leads to, as written."""
    yield from _LINK.findall(without_blocks(path.read_text(encoding="utf-8")))


def headings(path: Path) -> list[str]:
    return _HEADING.findall(without_blocks(path.read_text(encoding="utf-8")))


def anchor(heading: str) -> str:
    """The fragment that leads to a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
