"""The documents as tests read them: their fenced blocks, the marks before them, their links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block. `mark` is the HTML comment right before it, by which a test finds it; empty without one."""

    mark: str
    language: str
    text: str


def documents() -> list[Path]:
    """Every Markdown file that we wrote."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    return [Block(found["mark"] or "", found["language"], found["text"]) for found in _BLOCK.finditer(read(name))]


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
