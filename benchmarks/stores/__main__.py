"""The command: every store in interleaved rounds, the table printed and saved as Markdown."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks import processes
from benchmarks.environment import ROOT, environment
from benchmarks.figures import GB, MB, MIB, Results, Sample, ratio, readable, table
from benchmarks.stores.servers import KINDS, Kind, Store

OURS = "Bucketline"
HALF, CLOSE = 0.5, 1.15
FIGURES = {"mb_per_s": "MB/s", "cpu_s_per_gb": "CPU-s/GB", "peak_mb": "peak MB"}
PACKAGES = ("bucketline", "fsspec", "s3fs", "gcsfs", "adlfs", "paramiko")
PLAIN = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
"""gcsfs asks first by gRPC what kind of bucket it has, which no emulator answers."""
TABLE = ROOT / "docs" / "backends" / "speed.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stores", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", metavar="WORD", help="stores with this word in their name")
    parser.add_argument("--table", type=Path, default=TABLE, help="the file to write (default: %(default)s)")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if not options.only or any(word in kind.name for word in options.only)]
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        with file.open("wb") as target:
            for _ in range(options.size_mib):
                target.write(os.urandom(MIB))
        for kind in kinds:
            _compare(kind, Path(folder), file, options.rounds, results)
    text = _report(kinds, results, options.size_mib, options.rounds)
    options.table.write_text(text)
    print(text)
    return 0


def _compare(kind: Kind, folder: Path, file: Path, rounds: int, results: Results) -> None:
    """Both senders in turn, a different one first in each round; one upload of each before that is not measured."""
    here = folder / kind.peer.replace(" ", "-")
    here.mkdir()
    with kind.start(here) as store:
        config = folder / f"{here.name}.toml"
        config.touch(mode=0o600)
        config.write_text(store.toml())
        commands = {OURS: _ours(config, file), kind.peer: _theirs(store, file)}
        for number in range(rounds + 1):
            for subject in sorted(commands, reverse=bool(number % 2)):
                sample = _run(kind, subject, commands[subject], file)
                if number:
                    results.add(sample)
                    print(f"{kind.name}: {subject}: {sample.figures}", file=sys.stderr, flush=True)


def _ours(config: Path, file: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.stores.ours", str(config), str(file), "ours"]


def _theirs(store: Store, file: Path) -> list[str]:
    words = [store.url, str(file), json.dumps(store.options), json.dumps(store.more)]
    return [sys.executable, "-m", "benchmarks.stores.theirs", *words]


def _run(kind: Kind, subject: str, command: list[str], file: Path) -> Sample:
    size = file.stat().st_size
    run = processes.run(command, environment(**PLAIN))
    reported = json.loads(run.output)
    figures = {
        "mb_per_s": size / MB / reported["seconds"],
        "cpu_s_per_gb": reported["cpu_seconds"] / (size / GB),
        "peak_mb": run.peak_bytes / MB,
    }
    return Sample(kind.name, subject, figures)


def _report(kinds: list[Kind], results: Results, size_mib: int, rounds: int) -> str:
    rows = []
    for kind in kinds:
        for subject in (OURS, kind.peer):
            figures = [readable(results.median(kind.name, subject, name)) for name in FIGURES]
            rows.append([kind.name if subject == OURS else "", subject, *figures, *_verdict(kind, subject, results)])
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return "\n\n".join(
        [
            "# One upload to each kind of store",
            "Written by `make bench-stores`; not by hand. *Of its CPU*, *of its time*: what Bucketline takes of that "
            "of the peer. Stores without checksums of their own are read back before an object gets its name, which "
            "their peers do not do.",
            f"{datetime.now(UTC):%Y-%m-%d}. {os.cpu_count()} cores, Python {platform.python_version()}. A file of "
            f"{size_mib} MiB; medians of {rounds} rounds, interleaved. The servers share the cores; CPU is that of the "
            f"sender alone. {versions}.",
            table(["store", "sender", *FIGURES.values(), "beside the peer", "bound", "verdict"], rows),
            "",
        ]
    )


def _verdict(kind: Kind, subject: str, results: Results) -> list[str]:
    if subject != OURS:
        return ["", "", ""]
    ours, theirs = (
        results.median(kind.name, who, "cpu_s_per_gb" if kind.native else "mb_per_s") for who in (OURS, kind.peer)
    )
    value = ratio(ours, theirs) if kind.native else ratio(theirs, ours)
    bound = HALF if kind.native else CLOSE
    what = "of its CPU" if kind.native else "of its time"
    verdict = "not measured" if value is None else "pass" if value <= bound else "**FAIL**"
    return [f"{readable(value)} × {what}", f"≤ {bound:g} ×", verdict]


if __name__ == "__main__":
    sys.exit(main())
