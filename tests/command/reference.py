"""The generated parts of docs/command.md: each command's words and options, as the parser has them.

    .venv/bin/python -m tests.command.reference

writes them anew.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from bucketline.cli import COMMANDS, build
from bucketline.exits import MEANINGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "command.md"
PART = re.compile(r"<!-- options: (?P<command>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
# Options that mean the same wherever they are; told once, above the commands.
EVERYWHERE = ("--help",)


def options(command: str) -> str:
    """The table of one command."""
    parser = build()[1][command]
    return "\n".join(["| | |", "|---|---|", *_rows(parser)])


def _rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if set(action.option_strings) & set(EVERYWHERE) or action.help == argparse.SUPPRESS:
            continue
        word = ", ".join(action.option_strings)
        metavar = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest)
        takes = "" if action.nargs == 0 else str(metavar) if not word or action.metavar else action.dest.upper()
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        yield f"| `{' '.join(filter(None, [word, takes]))}` | {text.replace('|', chr(92) + '|')} |"


def commands() -> str:
    """The table of all commands."""
    rows = [f"| [`{name}`](#bucketline-{name}) | {line} |" for name, (_, line) in COMMANDS.items()]
    return "\n".join(["| command | |", "|---|---|", *rows])


def exits() -> str:
    """The table of the exit codes."""
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| {code} | {text} |" for code, text in MEANINGS.items())])


def written_anew(text: str) -> str:
    """The document with its generated parts as they have to be."""

    def part(match: re.Match[str]) -> str:
        command = match["command"]
        table = {"all": commands, "exits": exits}.get(command, lambda: options(command))()
        return f"<!-- options: {command} -->\n{table}\n<!-- end -->"

    return PART.sub(part, text)


if __name__ == "__main__":
    DOCUMENT.write_text(written_anew(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
