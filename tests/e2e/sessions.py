"""Sessions at a terminal as docs/command.md shows them: what is typed, what comes, and whether that is so here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests import documents

PAGE = "docs/command.md"
_JOB = r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
_IDS = re.compile(rf"{_JOB}|\b[0-9a-f]{{32}}\b|(?<![0-9a-f])[0-9a-f]{{12}}(?![0-9a-f])")
SECRET = r"bl_\w+…?"


class Command(NamedTuple):
    """What was typed, and the lines that came."""

    typed: str
    shown: list[str]


def session(mark: str) -> list[Command]:
    found: list[Command] = []
    for line in documents.block(PAGE, mark).splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        else:
            found[-1].shown.append(line)
    return found


def shape(lines: list[str]) -> list[str]:
    """Lines without what differs from time to time: ids, times, sizes, numbers, and where columns stand."""
    text = "\n".join(lines)
    text = re.sub(SECRET, "SECRET", text)
    text = _IDS.sub("ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?Z)?", "MOMENT", text)
    text = re.sub(r"(?<![\w.])\d+(\.\d+)? (s|min|h|d)\b", "TIME", text)
    text = re.sub(r"(?<![\w.])\d+(\.\d+)? (B|KiB|MiB|GiB)\b", "SIZE", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    text = re.sub(r"(?<=verified by )\w+", "WHAT THE STORE TELLS", text)
    text = re.sub(r"(?<=crc32c )\S{8}", "SUM", text)
    text = re.sub(r"(?<![\w./])\d+(\.\d+)?\b(?=( |$| %))", "N", text)
    return [re.sub(r"(?<=\S) +", " ", line.rstrip()) for line in text.splitlines()]


def agree(shown: list[str], came: list[str]) -> bool:
    """Line for line; `…` alone on a line is for any number of lines."""
    if not shown:
        return not came
    if shown[0].strip() == "…":
        return any(agree(shown[1:], came[start:]) for start in range(len(came) + 1))
    return bool(came) and shown[0] == came[0] and agree(shown[1:], came[1:])


class Terminal:
    """Where sessions are typed. Absolute paths of the document lie below `root`; ids become those that came."""

    def __init__(self, folder: Path, environ: dict[str, str], root: Path, shell: str = "bash") -> None:
        self._folder, self._environ, self._root, self._shell = folder, environ, root, shell
        self._instead: dict[str, str] = {}

    def follows(self, mark: str) -> None:
        """Type it all; each command has to print what the document shows."""
        for one in session(mark):
            came = self.prints(one)
            shown, seen = shape(one.shown), shape(came)
            assert agree(shown, seen), "\n".join([f"$ {one.typed}", "shows", *shown, "but it prints", *seen])

    def prints(self, command: Command) -> list[str]:
        """What comes, on both ways out together. The ids in it are those of the document from now on."""
        came = self.types(command.typed)
        ids = zip(_IDS.findall("\n".join(command.shown)), _IDS.findall("\n".join(came)), strict=False)
        self._instead.update(ids)
        return came

    def types(self, line: str) -> list[str]:
        line = re.sub(r"(?<![\w/.:])/(srv|etc|run)/", rf"{self._root}/\1/", line)
        for there, here in self._instead.items():
            line = line.replace(there, here)
        # At a terminal, what goes out on both ways comes in the order in which it was said.
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", **self._environ}
        done = subprocess.run(
            [self._shell, "-c", line], cwd=self._folder, env=environ, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100,
        )  # fmt: skip
        return done.stdout.replace(str(self._root), "").splitlines()
