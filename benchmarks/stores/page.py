"""The results as the page docs/backends/speed.md, and as JSON for programs."""

from __future__ import annotations

from benchmarks import report
from benchmarks.figures import Results, readable, table
from benchmarks.report import Conditions
from benchmarks.stores.contests import GENERIC
from benchmarks.stores.targets import TARGETS, proof


def markdown(results: Results, conditions: Conditions) -> str:
    """What was measured and how, the targets, then every store."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(conditions.versions.items()))
    sections = [
        "# How fast the backends are",
        "Each backend beside the upload of its own library, on one server of this machine. Written by "
        "`make bench-stores ARGS='--page docs/backends/speed.md'`; run it again to see your machine's figures.",
        f"{conditions.date}. {conditions.machine}. A file of {conditions.size_mib:,} MiB, {conditions.rounds} rounds, "
        f"interleaved; medians, in brackets the smallest and the largest; {conditions.seconds:,.0f} s in all. "
        f"{versions}.",
        METHOD,
        "## Targets",
        table(
            ["target", "measured", "bound", "verdict"],
            [target.row(results) for target in TARGETS if target.measure(results) is not None],
        ),
        NOTES,
        "## What the proof costs",
        table(["generic backend", "time in all, read back, × put_file"], _proofs(results)),
    ]
    for scenario in results.scenarios():
        sections += [f"## {scenario}", report.medians(results, scenario)]
    return "\n\n".join(sections) + "\n"


def _proofs(results: Results) -> list[list[str]]:
    measured = {contest: proof(contest)(results) for contest in GENERIC}
    return [[contest, f"{readable(value)} ×"] for contest, value in measured.items() if value is not None]


METHOD = """\
Every upload runs in a process of its own, which first connects and imports what it needs; then the clock starts. CPU is
user and system time of that process alone, all its threads together. The servers share the machine's cores with it, so
throughput says more of them than of the client: CPU per GB is the figure to look at. Ours is used as a worker uses it:
begin, parts of 16 MiB from a file with known CRC32Cs in 8 threads, complete, with all that each of them verifies; in
one call where a store takes a file only as one part (WebDAV). The libraries get parts of 16 MiB and 8 at once where
they have such options (gcsfs sends one after the other). What arrived is looked at after each upload. The strict server
is the one of our tests: no emulator speaks Google's XML API."""

NOTES = """\
The generic backend gives no file its name before it has read all of it back and compared it with the CRC32Cs of its
parts: none of these servers can tell what it stored. With `verify = "size"` it compares only the size. Each is held to
the `put_file` that does the same: followed by reading back, or looked at by nobody. What the proof costs is a table of
its own: the bytes travel twice, and both ends of every connection share this machine's cores. A directory by `file://`
is copied inside the kernel by `put_file`, which computes no checksum on the way."""


def as_json(results: Results, conditions: Conditions) -> str:
    return report.as_json(results, conditions, TARGETS)
