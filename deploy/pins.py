"""Writes deploy/requirements/: what the image needs of constraints.txt, for itself and for each extra that it may hold.

    .venv/bin/python deploy/pins.py

It asks the installed packages what they need, and nothing of the network.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# What the image needs {}, of constraints.txt. Written by deploy/pins.py; installed by the Dockerfile.\n"
NOT_IN_IT = {"test", "lint", "bench", "docs", "dev"}
"""The extras of pyproject.toml that are for those who work on Bucketline; all others can be in the image."""
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux"}


def extras() -> list[str]:
    """Those that bring a store, `otel`, and `fast`, which every image has."""
    return [extra for extra in _project()["optional-dependencies"] if extra not in NOT_IN_IT]


def files() -> dict[str, str]:
    """What every file has to hold, by name: `base.txt`, then for each extra what it needs beside that."""
    project, pins = _project(), dict(_pins())
    base = _needed(project["dependencies"])
    found = {"base.txt": HEAD.format("in any case") + "".join(pins[name] for name in sorted(base))}
    for extra in extras():
        more = _needed(project["optional-dependencies"][extra]) - base
        found[f"{extra}.txt"] = HEAD.format(f"for {extra}") + "".join(pins[name] for name in sorted(more))
    return found


def _project() -> dict[str, dict[str, list[str]]]:
    project: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _pins() -> Iterator[tuple[str, str]]:
    """Each package of constraints.txt, with its lines."""
    for block in re.split(r"\n(?=[a-z0-9])", (ROOT / "constraints.txt").read_text()):
        if found := re.match(r"([\w.-]+)(?:\[[^]]*\])?==", block):
            yield canonicalize_name(found[1]), block.rstrip("\n") + "\n"


def _needed(asked: Iterable[str]) -> set[str]:
    """The names of all packages that these requirements come to."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in asked]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        found.add(name)
        for extra in {"", *one.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                theirs = map(Requirement, _requires(name))
                waiting += [it for it in theirs if it.marker is None or it.marker.evaluate({**IMAGE, "extra": extra})]
    return found


def _requires(name: str) -> list[str]:
    """What an installed package needs; what only an older Python has is not here, and needs nothing."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


if __name__ == "__main__":
    target = ROOT / "deploy" / "requirements"
    target.mkdir(exist_ok=True)
    for file, text in files().items():
        (target / file).write_text(text)
