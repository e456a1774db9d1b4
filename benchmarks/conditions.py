"""What every run of a benchmark starts from and is told with: its file, its machine, its versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.figures import MIB


def make_file(path: Path, size: int) -> Path:
    """A file of random bytes: what nobody can compress, and warm in the page cache."""
    block = os.urandom(MIB)
    with path.open("wb") as target:
        for begin in range(0, size, MIB):
            target.write(block[: min(MIB, size - begin)])
    return path


def touch_memory(folder: Path, size: int) -> None:
    """Fill the page cache once and forget it: memory that a virtual machine never touched costs many times more, and
    whoever happens to get it would be charged for it."""
    make_file(folder / "touched", size).unlink()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), Python {platform.python_version()}"
