"""The command: every store and its library in interleaved rounds on one local server, as a table, Markdown and JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backends.base import DeletesObjects
from benchmarks import conditions, processes
from benchmarks.environment import environment
from benchmarks.figures import GB, MB, MIB, Results, Sample
from benchmarks.report import Conditions
from benchmarks.stores import page
from benchmarks.stores.contests import GENERIC, NATIVE, OURS, Contest
from benchmarks.stores.ours import built
from benchmarks.stores.targets import TARGETS

CONTESTS = {**NATIVE, **GENERIC}
PACKAGES = ("bucketline", "fsspec", "s3fs", "gcsfs", "adlfs", "paramiko", "sshfs", "smbprotocol", "webdav4")
TOUCHED = 8  # times the file
QUICK = {"size_mib": 32, "rounds": 1}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stores", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=256, help="size of the file (default 256)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each store (default 5)")
    parser.add_argument("--only", action="append", default=[], help="stores with this in their name; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a small run: shows that it works, not how fast it is")
    parser.add_argument("--page", type=Path, help="where to write the Markdown (docs/backends/speed.md is such a page)")
    parser.add_argument("--json", type=Path, help="where to write every sample")
    parsed = parser.parse_args(arguments)
    if parsed.quick:
        for name, value in QUICK.items():
            setattr(parsed, name, value)
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every target that was measured holds, 1 when one does not: a small run cannot tell, and ends with 0."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    begun, results = time.monotonic(), Results()
    with tempfile.TemporaryDirectory(prefix="bucketline-stores-") as folder:
        root = Path(folder)
        file = conditions.make_file(root / "large.bin", options.size_mib * MIB)
        for number, name in enumerate(CONTESTS):
            if not options.only or any(word in name for word in options.only):
                _contest(name, root / str(number), file, options.rounds, results)
    known = Conditions(
        datetime.now(UTC).date().isoformat(), options.size_mib, options.rounds, conditions.machine(),
        conditions.versions(PACKAGES), time.monotonic() - begun,
    )  # fmt: skip
    text = page.markdown(results, known)
    if options.page:
        options.page.write_text(text)
    if options.json:
        options.json.write_text(page.as_json(results, known))
    print(text)
    missed = any(target.holds(results) is False for target in TARGETS)
    return 1 if missed and not options.quick else 0


def _contest(name: str, root: Path, file: Path, rounds: int, results: Results) -> None:
    """All rounds at one server. Another subject begins each round, so that none always follows the same neighbour."""
    root.mkdir()
    conditions.touch_memory(root, TOUCHED * file.stat().st_size)
    try:
        with CONTESTS[name](root) as contest:
            subjects = contest.subjects
            for number in range(rounds):
                turn = number % len(subjects)
                for subject in subjects[turn:] + subjects[:turn]:
                    figures = _upload(contest, subject, file)
                    results.add(Sample(name, subject, figures))
                    told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
                    print(f"round {number + 1}: {name}: {subject}: {told}", file=sys.stderr, flush=True)
    except pytest.skip.Exception as missing:  # as the tests say it when a server is not installed
        print(f"{name}: not measured: {missing}", file=sys.stderr, flush=True)


def _upload(contest: Contest, subject: str, file: Path) -> dict[str, float]:
    """One upload in a process of its own. Raises RuntimeError when the object is not there at its full size."""
    size, key = file.stat().st_size, "file.bin"
    module = "ours" if subject in contest.ours else "peer"
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.stores.{module}", contest.settings(subject)]
    run = processes.run([*command, str(file), key], environment())
    told = json.loads(run.output.splitlines()[-1])
    backend = built(json.loads(contest.settings(OURS)))
    try:
        found = backend.stat(key)
        if found is None or found.size != size:
            raise RuntimeError(f"{subject}: {found and found.size} of {size} bytes arrived")
        if isinstance(backend, DeletesObjects):
            backend.delete(key)
    finally:
        backend.close()
    return {
        "mb_per_s": size / MB / told["seconds"],
        "cpu_s_per_gb": told["cpu_seconds"] / (size / GB),
        "peak_mb": run.peak_bytes / MB,
        **({} if told["sent_seconds"] is None else {"sent_s": told["sent_seconds"]}),
        "seconds": told["seconds"],
    }


if __name__ == "__main__":
    sys.exit(main())
